"""What a training step would need on a TPU slice, found by compiling it: without a TPU, and without any array.

The compiler comes with the package libtpu, which is loaded here and nowhere else. It knows a slice by its name and
gives descriptions of its chips, for which the step of a run is lowered and compiled as it would be there. What the
program takes of memory, how much it computes and moves, and what the chips send each other is then read off it.
"""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Callable
from typing import Any

import jax
from flax.traverse_util import flatten_dict

from fcnn.config import Config
from fcnn.data import outline
from fcnn.distributed import sharding
from fcnn.models.summary import summarize
from fcnn.training.pretrained import source_of
from fcnn.training.setup import TrainSetup, make_setup, trace_train_step
from fcnn.utils.errors import UserError, install, unknown


@dataclasses.dataclass(frozen=True)
class Chip:
    """What its maker publishes of a chip, for dense products of bfloat16."""

    flops: float
    """Operations a second at the peak."""
    bandwidth: float
    """Bytes a second between its memory and its cores."""
    memory: float
    """Bytes that the compiler lets a program have, a little less than there are."""
    tile: int
    """Rows and columns of a matrix unit, which works on channels in groups of so many."""
    slices: tuple[str, ...]
    """The arrangements of chips that can be had."""


_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")
GB, GIB = 1e9, 2**30

# https://cloud.google.com/tpu/docs/v5e, v6e and v5p, "System architecture". Memory is 16, 32 and 95 GB there; here it's
# what libtpu 0.0.42 says is "available" when a program takes too much.
CHIPS = {
    "v5e": Chip(197e12, 819 * GB, 15.75 * GIB, 128, _FLAT),
    "v6e": Chip(918e12, 1640 * GB, 31.25 * GIB, 256, _FLAT),
    "v5p": Chip(459e12, 2765 * GB, 95.74 * GIB, 128, _CUBES),
}
_SHAPE = re.compile(r"\b(pred|bf16|[suf]\d+)\[([\d,]*)\]")
KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s64": 8, "u64": 8, "f64": 8}


@dataclasses.dataclass(frozen=True)
class Collective:
    """An operation in which chips exchange arrays."""

    kind: str
    arrays: int
    bytes: int
    """Of its results on one chip."""
    gradients: bool
    """Whether it carries kernels: arrays of two axes or more."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A compiled step; bytes and operations are those of one chip."""

    target: str
    chips: int
    batch: int
    """Images a step on each chip."""
    needed: float
    """Bytes of memory at the peak: state, batch, temporaries and the program."""
    temporaries: float
    available: float
    """Bytes of memory that a program may take."""
    flops: float
    """Operations a step."""
    moved: float
    """Bytes a step between memory and cores."""
    compute_seconds: float
    """What the operations take at the chip's peak."""
    memory_seconds: float
    """What the bytes take at the chip's bandwidth."""
    images_per_second: float
    """Of the slice, were there nothing but the longer of the two: an upper bound, as far as the compiler counts bytes
    rightly (it takes what stays on the chip for moved), and no forecast."""
    collectives: tuple[Collective, ...]
    padding: float
    """Share of the matrix units' work that would be for channels that are there to fill a tile."""
    padded: tuple[tuple[str, float], ...]
    """The layers that waste most of it: names and shares of all the work."""


class TooLarge(Exception):
    """The program takes more memory than a chip has; says how much, as the compiler does."""


def parse_target(target: str) -> tuple[Chip, str]:
    """The chip of `v5e:2x4` and the arrangement, "2x4"; UserError with those known if it isn't."""
    name, _, shape = target.partition(":")
    if name not in CHIPS:
        raise UserError(unknown("chip", name, CHIPS) + f"; a target is {' or '.join(map(_example, CHIPS))}")
    if shape not in CHIPS[name].slices:
        raise UserError(f"unknown slice {target!r}; known: {', '.join(f'{name}:{s}' for s in CHIPS[name].slices)}")
    return CHIPS[name], shape


def _example(name: str) -> str:
    return f"{name}:{CHIPS[name].slices[2]}"


def devices(target: str) -> list[Any]:
    """Descriptions of the chips of a slice, as JAX takes devices.

    Raises:
      UserError: libtpu isn't installed.
    """
    _, shape = parse_target(target)
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(f"fcnn plan needs the TPU compiler (not a TPU): {install('tpu')}")
    # Else libtpu asks the network for the TPU that it's on, complains that there is none, and locks out all others that
    # load it, since it can't know that it will only compile.
    for name, value in {
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-8",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_STDERR_LOG_LEVEL": "3",
    }.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    alone: dict[str, Any] = {"chips_per_host_bounds": (1, 1, 1)} if shape == "1x1" else {}
    return topologies.get_topology_desc(platform="tpu", topology_name=target, **alone).devices


def build_setup(config: Config, target: str) -> TrainSetup:
    """Builds the setup of a config on a slice, with blank images of the data set's shape.

    Raises:
      UserError: the config doesn't fit the slice, or `parallel.mode` is pmap, which makes arrays in order to compile.
    """
    if config.parallel.mode != "jit":
        raise UserError("fcnn plan needs --parallel.mode jit; pmap computes the same")
    mesh = sharding.make_mesh(devices(target))
    dataset = outline(config.data, config.train.batch_size)
    if (
        config.data.mean is None and (about := source_of(config)) is not None
    ):  # which may give gray images three channels
        dataset = dataset.normalized_by(about.mean, about.std)
    return make_setup(config, dataset, mesh)


def plan(config: Config, target: str) -> Plan:
    """Compiles the training step for a slice, as it is for images that are streamed: minutes for a deep network.

    A set that lives on the devices takes its own bytes in addition. The compiler counts the body of a loop
    once; that of micro-batches (`train.grad-accum-steps`) is nearly all of the step and is counted as often as it runs.

    Raises:
      UserError: as in `build_setup`.
      TooLarge: it doesn't fit.
    """
    chip, _ = parse_target(target)
    setup = build_setup(config, target)
    try:
        compiled: Any = trace_train_step(setup, setup.abstract_state(), setup.train_pipeline()).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "Ran out of memory" not in str(error):
            raise
        raise TooLarge(re.sub(r"^\w+: ", "", str(error).strip().partition("\n")[0])) from None
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    turns, chips = config.train.grad_accum_steps, setup.mesh.size
    flops, moved = turns * cost["flops"], turns * cost["bytes accessed"]
    padding, padded = padding_waste(setup, chip.tile)
    compute, memory_seconds = flops / chip.flops, moved / chip.bandwidth
    return Plan(
        target=target,
        chips=chips,
        batch=config.train.batch_size // chips,
        needed=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        available=chip.memory,
        flops=flops,
        moved=moved,
        compute_seconds=compute,
        memory_seconds=memory_seconds,
        images_per_second=config.train.batch_size / max(compute, memory_seconds),
        collectives=collectives(compiled.as_text()),
        padding=padding,
        padded=padded,
    )


def fit(config: Config, target: str, log: Callable[[str], None]) -> Plan:
    """The plan of the largest batch that fits, to an eighth: doubled or halved from the config's, then bisected.

    What the rate should be at another batch is left to the reader.

    Raises:
      UserError: as in `build_setup`, or not even one image on each chip fits.
    """
    best, fits, fails = None, 0, 0  # images a chip
    chips = len(devices(target))
    size = max(config.train.batch_size // chips, 1)
    while size and (not fails or fails - fits > max(fails // 8, 1)):
        train = dataclasses.replace(config.train, batch_size=size * chips)
        try:
            best = plan(dataclasses.replace(config, train=train), target)
            fits = size
        except TooLarge:
            fails = size
        log(f"{size} images a chip: {'fits' if fits == size else 'does not fit'}")
        size = 2 * fits if not fails else (fits + fails) // 2 if fits else fails // 2
    if best is None:
        raise UserError(f"not even one image on each chip of {target} fits")
    return best


def collectives(program: str) -> tuple[Collective, ...]:
    """What the devices exchange in a compiled program, from its text; what is in a loop is there once."""
    collectives = []
    pattern = rf"= (.*?) ({'|'.join(KINDS)})(-start)?\("
    for results, kind, started in re.findall(pattern, program):
        shapes = [(kind_, [int(n) for n in dims.split(",") if n]) for kind_, dims in _SHAPE.findall(results)]
        if started and kind != "all-reduce":  # its results are operands and results, one after the other
            shapes = shapes[len(shapes) // 2 :]
        size = sum(BYTES.get(name, 4) * math.prod(dims) for name, dims in shapes)
        wide = any(len([n for n in dims if n > 1]) > 1 for _, dims in shapes)
        collectives.append(Collective(kind, len(shapes), size, kind == "all-reduce" and wide))
    return tuple(collectives)


def padding_waste(setup: TrainSetup, tile: int) -> tuple[float, tuple[tuple[str, float], ...]]:
    """How much work is for channels that fill up tiles, if each kernel's channels, in and out, are rounded up to them.

    An estimate by the kernels' shapes. In front of an image, with its 3 channels or so, a kernel's positions are taken
    as more of them, as a compiler would do.

    Returns:
      (share of the multiply-adds, padding included; the five layers that have most of it, with theirs).
    """
    kernels: dict[tuple[str, ...], Any] = dict(flatten_dict(setup.abstract_state().params))
    shapes = {"/".join(path[:-1]): leaf.shape for path, leaf in kernels.items() if path[-1] == "kernel"}
    wasted, total = {}, 0.0
    for row in summarize(setup.classifier, setup.dataset.image_shape):
        if row.multiply_adds and row.name in shapes:
            *window, inputs, outputs = shapes[row.name]
            inputs *= math.prod(window) if inputs <= 4 else 1
            useful = math.prod(n / (tile * -(-n // tile)) for n in (inputs, outputs))
            wasted[row.name] = row.multiply_adds / useful - row.multiply_adds
            total += row.multiply_adds / useful
    worst = sorted(wasted, key=lambda name: -wasted[name])[:5]
    return sum(wasted.values()) / total, tuple((name, wasted[name] / total) for name in worst)
