"""What XLA calls for an operation of oneDNN's: its C call frame read with ctypes, so that nothing has to be compiled.

The layouts are those of xla/ffi/api/c_api.h in `jax.ffi.include_dir()`, versions 0.3 to 0.5.
"""

import atexit
import ctypes
import functools
import itertools
import json
import math
import weakref
from collections.abc import Callable, Sequence
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any

import jax

from fcnn.nn.geometry import Windows
from fcnn.nn.onednn.convolution_plan import Geometry, convolution_plan
from fcnn.nn.onednn.library import Unavailable
from fcnn.nn.onednn.norm_plan import norm_gradient_plan, norm_plan
from fcnn.nn.onednn.plan import ExecutionPlan, PostOps
from fcnn.nn.onednn.pool_plan import max_pool_gradient_plan, max_pool_plan
from fcnn.nn.onednn.winograd_plan import winograd_plan

TARGET = "fcnn_onednn"
LARGE_PAGE = 2 << 20
"""Bytes, of x86-64."""
_VERSIONS = {(0, minor) for minor in (3, 4, 5)}
_EXECUTE, _METADATA, _INTERNAL, _FLOAT32 = 3, 1, 13, 11
_HUGEPAGE = 14  # MADV_HUGEPAGE, linux/mman.h


def _structure(name: str, headed: bool = True, **fields: Any) -> type[ctypes.Structure]:
    """A struct, which begins, as nearly all do, with its size and a list of extensions if it's `headed`."""
    head = {"struct_size": c_size_t, "extension_start": c_void_p} if headed else {}
    return type(name, (ctypes.Structure,), {"_fields_": (*head.items(), *fields.items())})


_Version = _structure("XLA_FFI_Api_Version", major=c_int, minor=c_int)
_Buffer = _structure("XLA_FFI_Buffer", dtype=c_int, data=c_void_p, rank=c_int64, dims=POINTER(c_int64))
_Buffers = _structure("XLA_FFI_Args", size=c_int64, types=POINTER(c_int), buffers=POINTER(POINTER(_Buffer)))
_ByteSpan = _structure("XLA_FFI_ByteSpan", headed=False, start=c_void_p, size=c_size_t)
_Attributes = _structure(
    "XLA_FFI_Attrs", size=c_int64, types=c_void_p, names=c_void_p, values=POINTER(POINTER(_ByteSpan))
)
_ErrorArguments = _structure("XLA_FFI_Error_Create_Args", message=c_char_p, code=c_int)
_CreateError = CFUNCTYPE(c_void_p, POINTER(_ErrorArguments))
_Api = _structure("XLA_FFI_Api", version=_Version, internal=c_void_p, create_error=_CreateError)
_Frame = _structure(
    "XLA_FFI_CallFrame",
    api=POINTER(_Api), context=c_void_p, stage=c_int, arguments=_Buffers, results=_Buffers, attributes=_Attributes,
)  # fmt: skip
_Metadata = _structure(
    "XLA_FFI_Metadata", headed=False, struct_size=c_size_t, version=_Version, traits=c_uint32, state_type=c_int64
)
_Extension = _structure(  # whose metadata is there where the type is _METADATA
    "XLA_FFI_Metadata_Extension",
    headed=False, struct_size=c_size_t, type=c_int32, next=c_void_p, metadata=POINTER(_Metadata),
)  # fmt: skip


def _for_convolution(plan: Callable[..., ExecutionPlan]) -> Callable[..., ExecutionPlan]:
    """The function that makes a convolution's plan, of what JSON leaves of its arguments."""
    return lambda want, geometry, ops: plan(want, Geometry(*geometry), PostOps(*ops) if ops else None)


# What a program names in the custom call, beside the arguments of the function that makes its plan.
_PLANS: dict[str, Callable[..., ExecutionPlan]] = {
    "convolution": _for_convolution(convolution_plan),
    "winograd": _for_convolution(winograd_plan),
    "norm": norm_plan,
    "norm_gradient": norm_gradient_plan,
    "max_pool": lambda shape, windows: max_pool_plan(shape, Windows(*windows)),
    "max_pool_gradient": lambda shape, windows: max_pool_gradient_plan(shape, Windows(*windows)),
}
_calls: dict[bytes, tuple[Callable[..., None], list[tuple[int, int]]]] = {}
"""For a call's text what runs its plan, and its large results by number, with their bytes."""


def _handle(frame: Any) -> int | None:
    """Handles a call: None if all went well, else an error of XLA's. No exception may leave it."""
    frame = frame.contents
    try:
        if frame.extension_start:
            _declare_version(frame)
        elif frame.stage == _EXECUTE:
            _execute(frame)
    except BaseException as error:  # this is called by C++, which can't catch an exception: XLA raises its message
        message = f"{type(error).__name__}: {error}".encode()
        arguments = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, message, _INTERNAL)
        return frame.api.contents.create_error(ctypes.byref(arguments))
    return None


def _declare_version(frame: Any) -> None:
    """XLA asks, when the handler is registered, for which version it was written."""
    extension = ctypes.cast(frame.extension_start, POINTER(_Extension)).contents
    if extension.type == _METADATA:
        of_xla, version = frame.api.contents.version, extension.metadata.contents.version
        if (of_xla.major, of_xla.minor) not in _VERSIONS:
            raise Unavailable(f"XLA's interface for custom calls has version {of_xla.major}.{of_xla.minor}")
        version.major, version.minor = of_xla.major, of_xla.minor
        extension.metadata.contents.traits = 0


def _execute(frame: Any) -> None:
    span = frame.attributes.values[0].contents
    text = ctypes.string_at(span.start, span.size)
    inputs, outputs = frame.arguments, frame.results
    call = _calls.get(text)
    if call is None:  # the first time; a program from a cache on disk may come before any was lowered
        kind, *arguments = _frozen(json.loads(text))
        sizes = [_bytes(outputs.buffers[i].contents) for i in range(outputs.size)]
        call = _calls[text] = _PLANS[kind](*arguments).run, _large(sizes)
    run, large = call
    for i, size in large:
        _use_large_pages(outputs.buffers[i].contents.data, size)
    run(
        *(inputs.buffers[i].contents.data for i in range(inputs.size)),
        *(outputs.buffers[i].contents.data for i in range(outputs.size)),
    )


def _large(sizes: Sequence[int]) -> list[tuple[int, int]]:
    return [(i, size) for i, size in enumerate(sizes) if size >= LARGE_PAGE]


def _bytes(buffer: Any) -> int:
    return math.prod(buffer.dims[: buffer.rank]) * (4 if buffer.dtype == _FLOAT32 else 1)


def _use_large_pages(address: int, size: int) -> None:
    """Asks the kernel for large pages for memory that is about to be written; whether it has any is its own affair.

    XLA takes fresh memory in each step, and each page of 4 KiB that is touched for the first time costs an interrupt.
    They took a fifth of the CPU time of a ResNet-20's step (60,000 pages); with large pages half of that is gone.
    """
    # Up to the ends of the outermost pages: one is large only if all of it belongs to one allocation.
    start = address // LARGE_PAGE * LARGE_PAGE
    end = -(-(address + size) // LARGE_PAGE) * LARGE_PAGE
    _madvise()(start, end - start, _HUGEPAGE)


@functools.cache
def _madvise() -> Any:
    function = ctypes.PyDLL(None).madvise
    function.argtypes = c_void_p, c_size_t, c_int
    return function


_handler = CFUNCTYPE(c_void_p, POINTER(_Frame))(_handle)  # must live as long as XLA may call it


@functools.cache
def register() -> None:
    """Makes the handler known to XLA, once.

    Raises:
      Unavailable: XLA's interface isn't one that this file knows.
    """
    try:
        jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(_handler), platform="cpu")
    except Exception as error:  # whatever another version of JAX does, there is always lax
        raise Unavailable(f"XLA doesn't take oneDNN's handler: {error}") from error
    atexit.register(_leave)


def _leave() -> None:
    """Lets Python end while programs run.

    An XLA thread that asks to run Python when the interpreter is on its way out is ended on the spot, and XLA's client,
    when it is deleted, would wait for that thread for ever. So wait for what somebody still holds a result of, and keep
    the client from being deleted; the process ends without that.
    """
    jax.block_until_ready([array for array in jax.live_arrays("cpu") if not array.is_deleted()])
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(jax.local_devices(backend="cpu")[0].client))


def call(operands: Sequence[Any], results: Sequence[Any], kind: str, *arguments: Any) -> Sequence[jax.Array]:
    """The custom call, for a program that is lowered for one CPU.

    Args:
      results: all that the plan writes to, its room to work in too.
      kind, arguments: which function of `_PLANS` makes the plan, and from what; they travel as JSON.
    """
    return jax.ffi.ffi_call(TARGET, list(results))(*operands, plan=json.dumps([kind, *arguments]))


def call_function(
    operands: Sequence[Any], results: Sequence[Any], function: Callable[..., None], *, owner: Any
) -> Sequence[jax.Array]:
    """The custom call of `function(*operands, *results)`, of addresses; for a program that isn't run any more when
    `owner` is gone."""
    text = json.dumps(["function", next(_numbers)])
    sizes = [math.prod(result.shape) * result.dtype.itemsize for result in results]
    _calls[text.encode()] = function, _large(sizes)
    weakref.finalize(owner, _calls.pop, text.encode(), None).atexit = False  # a program may still run
    return jax.ffi.ffi_call(TARGET, list(results))(*operands, plan=text)


_numbers = itertools.count()


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
