"""What XLA calls for an operation of oneDNN's: its C call frame read with ctypes, so that nothing has to be compiled.

The layouts are those of xla/ffi/api/c_api.h in `jax.ffi.include_dir()`, versions 0.3 to 0.5.
"""

import atexit
import ctypes
import functools
import json
import math
from collections.abc import Callable, Sequence
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any

import jax

from fcnn.nn.onednn import pages
from fcnn.nn.onednn.convolution_plan import Geometry, convolution_plan
from fcnn.nn.onednn.ending import Ending
from fcnn.nn.onednn.library import Unavailable
from fcnn.nn.onednn.norm_plan import norm_gradient_plan, norm_plan
from fcnn.nn.onednn.plan import Plan
from fcnn.nn.onednn.winograd_plan import winograd_plan

TARGET = "fcnn_onednn"
_VERSIONS = {(0, minor) for minor in (3, 4, 5)}
_EXECUTE, _METADATA, _INTERNAL, _FLOAT32 = 3, 1, 13, 11


def _structure(name: str, *fields: tuple[str, Any]) -> type[ctypes.Structure]:
    """A struct that begins, as nearly all do, with its size and a list of extensions."""
    head = (("struct_size", c_size_t), ("extension_start", c_void_p))
    return type(name, (ctypes.Structure,), {"_fields_": head + fields})


_Version = _structure("XLA_FFI_Api_Version", ("major", c_int), ("minor", c_int))
_Buffer = _structure(
    "XLA_FFI_Buffer", ("dtype", c_int), ("data", c_void_p), ("rank", c_int64), ("dims", POINTER(c_int64))
)
_Buffers = _structure(
    "XLA_FFI_Args", ("size", c_int64), ("types", POINTER(c_int)), ("buffers", POINTER(POINTER(_Buffer)))
)


class _ByteSpan(ctypes.Structure):
    _fields_ = (("start", c_void_p), ("size", c_size_t))


_Attributes = _structure(
    "XLA_FFI_Attrs",
    *(("size", c_int64), ("types", c_void_p), ("names", c_void_p), ("values", POINTER(POINTER(_ByteSpan)))),
)
_ErrorArguments = _structure("XLA_FFI_Error_Create_Args", ("message", c_char_p), ("code", c_int))
_CreateError = CFUNCTYPE(c_void_p, POINTER(_ErrorArguments))
_Api = _structure("XLA_FFI_Api", ("version", _Version), ("internal", c_void_p), ("create_error", _CreateError))
_Frame = _structure(
    "XLA_FFI_CallFrame",
    *(("api", POINTER(_Api)), ("context", c_void_p), ("stage", c_int)),
    *(("arguments", _Buffers), ("results", _Buffers), ("attributes", _Attributes)),
)


class _Metadata(ctypes.Structure):
    _fields_ = (("struct_size", c_size_t), ("version", _Version), ("traits", c_uint32), ("state_type", c_int64))


class _Extension(ctypes.Structure):
    _fields_ = (
        *(("struct_size", c_size_t), ("type", c_int32), ("next", c_void_p)),
        ("metadata", POINTER(_Metadata)),  # where the type is _METADATA
    )


def _ending(fields: Any) -> Ending | None:
    return Ending(*fields) if fields else None


# What a program names in the custom call, beside the arguments of the function that makes its plan.
_MAKERS: dict[str, Callable[..., Plan]] = {
    "convolution": lambda want, geometry, ending: convolution_plan(want, Geometry(*geometry), _ending(ending)),
    "winograd": lambda want, geometry, ending: winograd_plan(want, Geometry(*geometry), _ending(ending)),
    "norm": norm_plan,
    "norm_gradient": norm_gradient_plan,
}
_calls: dict[bytes, tuple[Plan, list[tuple[int, int]]]] = {}
"""What a call's text stands for: a plan, and its large results by number, with their bytes."""


def _answer(frame: Any) -> int | None:
    """Answers a call: None if all went well, else an error of XLA's. No exception may leave it."""
    frame = frame.contents
    try:
        if frame.extension_start:
            _introduce(frame)
        elif frame.stage == _EXECUTE:
            _execute(frame)
    except BaseException as error:  # this is called by C++, which can't catch an exception: XLA raises its message
        message = f"{type(error).__name__}: {error}".encode()
        arguments = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, message, _INTERNAL)
        return frame.api.contents.create_error(ctypes.byref(arguments))
    return None


def _introduce(frame: Any) -> None:
    """XLA asks, when the handler is registered, for which version it was written."""
    extension = ctypes.cast(frame.extension_start, POINTER(_Extension)).contents
    if extension.type == _METADATA:
        theirs = frame.api.contents.version
        if (theirs.major, theirs.minor) not in _VERSIONS:
            raise Unavailable(f"XLA's interface for custom calls has version {theirs.major}.{theirs.minor}")
        version = extension.metadata.contents.version
        version.major, version.minor = theirs.major, theirs.minor
        extension.metadata.contents.traits = 0


def _execute(frame: Any) -> None:
    span = frame.attributes.values[0].contents
    text = ctypes.string_at(span.start, span.size)
    inputs, outputs = frame.arguments, frame.results
    found = _calls.get(text)
    if found is None:  # the first time; a program from a cache on disk may come before any was lowered
        maker, *arguments = _frozen(json.loads(text))
        sizes = [_bytes(outputs.buffers[i].contents) for i in range(outputs.size)]
        large = [(i, size) for i, size in enumerate(sizes) if size >= pages.LARGE]
        found = _calls[text] = _MAKERS[maker](*arguments), large
    plan, large = found
    for i, size in large:
        pages.ask(outputs.buffers[i].contents.data, size)
    plan.run(
        *(inputs.buffers[i].contents.data for i in range(inputs.size)),
        *(outputs.buffers[i].contents.data for i in range(outputs.size)),
    )


def _bytes(buffer: Any) -> int:
    return math.prod(buffer.dims[: buffer.rank]) * (4 if buffer.dtype == _FLOAT32 else 1)


_handler = CFUNCTYPE(c_void_p, POINTER(_Frame))(_answer)  # must live as long as XLA may call it


@functools.cache
def register() -> None:
    """Makes the handler known to XLA, once.

    Raises:
      Unavailable: XLA's interface isn't one that this file knows.
    """
    try:
        jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(_handler), platform="cpu")
    except Exception as error:  # whatever another version of JAX makes of it, there is always lax
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


def call(
    operands: Sequence[jax.Array], results: Sequence[jax.ShapeDtypeStruct], maker: str, *arguments: Any
) -> Sequence[jax.Array]:
    """The custom call, for a program that is lowered for one CPU.

    Args:
      results: all that the plan writes to, its room to work in too.
      maker, arguments: a function of `_MAKERS` and what it makes the plan from; they travel as JSON.
    """
    return jax.ffi.ffi_call(TARGET, list(results))(*operands, plan=json.dumps([maker, *arguments]))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
