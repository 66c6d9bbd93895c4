"""Plans one after another as one: intermediate results in one workspace, and what depends on constants alone computed
beforehand, such as weights in the arrangement that oneDNN likes best."""

import dataclasses
import hashlib
from collections.abc import Sequence
from ctypes import c_void_p
from typing import Any

import numpy as np

from fcnn.nn.onednn.library import load
from fcnn.nn.onednn.one_thread import in_one_thread
from fcnn.nn.onednn.plan import ALIGNMENT, DST, SCRATCHPAD, ExecutionPlan, Step


@dataclasses.dataclass(eq=False)
class Buffer:
    """Memory in which arrays lie: of the caller, of a constant, or, if it's neither, a part of the workspace."""

    size: int = 0
    """In bytes."""
    constant: np.ndarray | None = None
    digest: bytes = b""
    """Of a constant: what it holds, so that the same from the same is kept once."""
    first: int = -1
    """The number of the step that first touches it, and of the last."""
    last: int = -1


class NetworkMemory:
    """What a network's sequences, one for each number of images, keep: constants, the same for several once, and a
    workspace for all."""

    def __init__(self) -> None:
        self._computed: dict[bytes, list[tuple[c_void_p, Buffer]]] = {}
        self._workspace = _aligned(0)
        self.interrupts: list[KeyboardInterrupt] = []
        """What ended a call: XLA passes on only its text."""

    def run(self, plan: ExecutionPlan, *buffers: int) -> None:
        """Runs a plan, `plan.run(*buffers, workspace)`, in the one thread."""
        try:
            in_one_thread(self._run, plan, *buffers)
        except KeyboardInterrupt as interrupt:
            self.interrupts.append(interrupt)
            raise

    def _run(self, plan: ExecutionPlan, *buffers: int) -> None:
        if self._workspace.nbytes < plan.workspace_bytes:  # not anew for each call: its pages would be cleared again
            self._workspace = _aligned(plan.workspace_bytes)
        plan.run(*buffers, self._workspace.ctypes.data)

    def constant(self, array: Any) -> Buffer:
        """A constant of float32."""
        array = np.ascontiguousarray(array, np.float32)
        return Buffer(constant=array, digest=hashlib.blake2b(array.data).digest())

    def compute(self, step: Step, arrays: Sequence[tuple[c_void_p, Buffer, int]]) -> Buffer:
        """The result of a step whose operands are constants.

        Args:
          arrays: those of the plan, with the buffers in which they lie.
        """
        (result,) = (arrays[at][0] for number, at in step[1] if number == DST)
        reads = [arrays[at] for number, at in step[1] if number not in (DST, SCRATCHPAD)]
        digest = hashlib.blake2b(b"".join(b"%d " % offset + buffer.digest for _, buffer, offset in reads)).digest()
        library = load()
        known = self._computed.setdefault(digest, [])
        for descriptor, buffer in known:
            if library.equal(descriptor, result):
                return buffer
        buffer = Buffer(constant=_aligned(library.bytes_of(result)), digest=digest)
        touched, numbered, addresses = [], [], []
        for number, at in step[1]:
            descriptor, source, offset = arrays[at]
            if number == SCRATCHPAD:
                source, offset = Buffer(constant=_aligned(library.bytes_of(descriptor))), 0
            source, offset = (buffer, 0) if number == DST else (source, offset)
            numbered.append((number, len(touched)))
            touched.append((descriptor, len(touched), offset))
            addresses.append(_address(source))
        in_one_thread(ExecutionPlan(touched, [(step[0], numbered)], 0).run, *addresses)
        known.append((result, buffer))
        return buffer


class PlanSequence:
    """Collects plans; `plan` makes one of them.

    Args:
      memory: the network's.
    """

    def __init__(self, memory: NetworkMemory) -> None:
        self._memory = memory
        self._arrays: list[tuple[c_void_p, Buffer, int]] = []
        self._steps: list[Step] = []
        self._buffers: dict[Buffer, None] = {}

    def add(self, plan: ExecutionPlan, operands: Sequence[Buffer], result_bytes: int) -> Buffer:
        """Appends a plan, `run(*operands, result, workspace)`; returns its result's buffer."""
        result, room = Buffer(result_bytes), Buffer(plan.workspace_bytes)
        buffers = [*operands, result, room, *map(self._memory.constant, plan.constants)]
        arrays = [(descriptor, buffers[buffer], offset) for descriptor, buffer, offset in plan.arrays]
        for step in plan.steps:
            reads = [arrays[at][1] for number, at in step[1] if number not in (DST, SCRATCHPAD)]
            if any(buffer.constant is None for buffer in reads):
                self._append(step, arrays)
                continue
            computed = self._memory.compute(step, arrays)
            (place,) = (arrays[at][1:] for number, at in step[1] if number == DST)
            arrays = [(one[0], computed, 0) if one[1:] == place else one for one in arrays]
        return result

    def _append(self, step: Step, arrays: Sequence[tuple[c_void_p, Buffer, int]]) -> None:
        first = len(self._arrays)
        for _, at in step[1]:
            buffer = arrays[at][1]
            buffer.first = len(self._steps) if buffer.first < 0 else buffer.first
            buffer.last = len(self._steps)
            self._buffers[buffer] = None
        self._arrays += [arrays[at] for _, at in step[1]]
        self._steps.append((step[0], [(number, first + i) for i, (number, _) in enumerate(step[1])]))

    def plan(self, operands: Sequence[Buffer], results: Sequence[Buffer]) -> ExecutionPlan:
        """All of them as one plan: `run(*operands, *results, workspace)`."""
        outer = [*operands, *results]
        place = {buffer: (at, 0) for at, buffer in enumerate(outer)}
        inner = [one for one in self._buffers if one.constant is None and one not in place]
        offsets, workspace_bytes = placed(inner)
        place |= {buffer: (len(outer), offset) for buffer, offset in offsets.items()}
        fixed = [one for one in self._buffers if one.constant is not None]
        place |= {buffer: (len(outer) + 1 + at, 0) for at, buffer in enumerate(fixed)}
        arrays = []
        for descriptor, buffer, offset in self._arrays:
            at, start = place[buffer]
            arrays.append((descriptor, at, start + offset))
        constants = [one.constant for one in fixed if one.constant is not None]
        return ExecutionPlan(arrays, self._steps, workspace_bytes, constants)


def placed(buffers: Sequence[Buffer]) -> tuple[dict[Buffer, int], int]:
    """Where each buffer begins in a workspace in which those that are needed at once don't overlap, and its bytes."""
    places: dict[Buffer, int] = {}
    end = 0
    for buffer in sorted(buffers, key=lambda one: -one.size):
        size, start = -(-buffer.size // ALIGNMENT) * ALIGNMENT, 0
        beside = (one for one in places if one.first <= buffer.last and buffer.first <= one.last)
        for low, high in sorted((places[one], places[one] + one.size) for one in beside):
            if start + size <= low:
                break
            start = max(start, -(-high // ALIGNMENT) * ALIGNMENT)
        places[buffer] = start
        end = max(end, start + size)
    return places, end


def _address(buffer: Buffer) -> int:
    assert buffer.constant is not None
    return buffer.constant.ctypes.data


def _aligned(size: int) -> np.ndarray:
    """Memory that begins where oneDNN wants it."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]
