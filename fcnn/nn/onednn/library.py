"""The C library oneDNN as a Python object: found, loaded and declared once, or the reason why it can't be."""

import ctypes
import functools
import importlib.metadata
import os
import platform
import sys
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_int64, c_size_t, c_uint, c_void_p
from typing import Any

WHEEL = "onednn-cpu-gomp"
SWITCH = "FCNN_CPU_CONV"
"""An environment variable: `lax` leaves every convolution to XLA."""

DIMS = c_int64 * 12
"""dnnl_dims_t, whatever the rank."""


class ExecArg(ctypes.Structure):
    """dnnl_exec_arg_t: which argument of a primitive a memory object is."""

    _fields_ = (("arg", c_int), ("memory", c_void_p))


class _Version(ctypes.Structure):
    _fields_ = (
        ("major", c_int),
        ("minor", c_int),
        ("patch", c_int),
        ("hash", c_char_p),
        ("cpu_runtime", c_uint),
        ("gpu_runtime", c_uint),
    )


# The C functions in use, by their arguments; each gives a status, 0 for success. dnnl.h of oneDNN 3.2.
_OUT, _DIMS = POINTER(c_void_p), POINTER(c_int64)
_DECLARED: dict[str, tuple[Any, ...]] = {
    "engine_create": (_OUT, c_int, c_size_t),
    "stream_create": (_OUT, c_void_p, c_uint),
    "memory_create": (_OUT, c_void_p, c_void_p, c_void_p),
    "memory_set_data_handle": (c_void_p, c_void_p),
    "memory_desc_create_with_strides": (_OUT, c_int, _DIMS, c_int, _DIMS),
    "memory_desc_create_with_tag": (_OUT, c_int, _DIMS, c_int, c_int),
    "primitive_attr_create": (_OUT,),
    "primitive_attr_set_scratchpad_mode": (c_void_p, c_int),
    "primitive_attr_set_post_ops": (c_void_p, c_void_p),
    "post_ops_create": (_OUT,),
    "post_ops_append_binary": (c_void_p, c_int, c_void_p),
    "post_ops_append_eltwise": (c_void_p, c_int, c_float, c_float),
    "post_ops_append_sum": (c_void_p, c_float, c_int32, c_int),
    "primitive_create": (_OUT, c_void_p),
    "primitive_desc_query": (c_void_p, c_int, c_int, c_void_p),
    "reorder_primitive_desc_create": (_OUT, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
    "convolution_forward_primitive_desc_create": (
        *(_OUT, c_void_p, c_int, c_int, c_void_p, c_void_p, c_void_p, c_void_p),
        *(_DIMS, _DIMS, _DIMS, _DIMS, c_void_p),
    ),
    "convolution_backward_data_primitive_desc_create": (
        *(_OUT, c_void_p, c_int, c_void_p, c_void_p, c_void_p),
        *(_DIMS, _DIMS, _DIMS, _DIMS, c_void_p, c_void_p),
    ),
    "convolution_backward_weights_primitive_desc_create": (
        *(_OUT, c_void_p, c_int, c_void_p, c_void_p, c_void_p, c_void_p),
        *(_DIMS, _DIMS, _DIMS, _DIMS, c_void_p, c_void_p),
    ),
    "matmul_primitive_desc_create": (_OUT, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
    "batch_normalization_forward_primitive_desc_create": (
        *(_OUT, c_void_p, c_int, c_void_p, c_void_p),
        *(c_float, c_uint, c_void_p),
    ),
    "batch_normalization_backward_primitive_desc_create": (
        *(_OUT, c_void_p, c_int, c_void_p, c_void_p, c_void_p),
        *(c_float, c_uint, c_void_p, c_void_p),
    ),
    "primitive_execute": (c_void_p, c_void_p, c_int, POINTER(ExecArg)),
}
_LONG = ("primitive_create", "primitive_execute")
_CPU = 1  # dnnl_engine_kind_t


class Unavailable(Exception):
    """oneDNN can't be used here; the text says why.

    `surprising` unless someone wanted it so or there is no oneDNN for such a machine.
    """

    def __init__(self, reason: str, *, surprising: bool = True) -> None:
        super().__init__(reason)
        self.surprising = surprising


class Failed(Exception):
    """oneDNN refused a call: most often it has no implementation for what was asked."""


class Library:
    """oneDNN's C interface: `call("engine_create", ...)` is dnnl_engine_create."""

    def __init__(self, path: str) -> None:
        # Two views of one library: a call through CDLL lets other Python threads run meanwhile, which is right for the
        # work; a call through PyDLL doesn't, which is right for what takes less than a microsecond: to be let in again
        # can take milliseconds while another thread computes in Python.
        short, long = ctypes.PyDLL(path), ctypes.CDLL(path)
        short.dnnl_version.restype = POINTER(_Version)
        found = short.dnnl_version().contents
        self.version = f"{found.major}.{found.minor}.{found.patch}"
        if found.major != 3:
            raise Unavailable(f"oneDNN {self.version} is installed, and 3.x was expected")
        self.functions: dict[str, Any] = {}
        for name, arguments in _DECLARED.items():
            function = getattr(long if name in _LONG else short, f"dnnl_{name}")
            function.argtypes, function.restype = arguments, c_int
            self.functions[name] = function
        self.bytes_of = short.dnnl_memory_desc_get_size
        self.bytes_of.argtypes, self.bytes_of.restype = (c_void_p,), c_size_t
        self.equal = short.dnnl_memory_desc_equal
        self.equal.argtypes, self.equal.restype = (c_void_p, c_void_p), c_int
        self.query = short.dnnl_primitive_desc_query_md
        self.query.argtypes, self.query.restype = (c_void_p, c_int, c_int), c_void_p
        self.engine = self.create("engine_create", _CPU, 0)

    def call(self, name: str, *args: Any) -> None:
        """Calls a function of `_DECLARED`.

        Raises:
          Failed: it gave a status other than 0 (success).
        """
        if status := self.functions[name](*args):
            raise Failed(f"oneDNN: {name} failed with status {status}")

    def create(self, name: str, *args: Any) -> c_void_p:
        """Calls a function whose first argument receives a handle, and returns the handle."""
        handle = c_void_p()
        self.call(name, ctypes.byref(handle), *args)
        return handle


@functools.cache
def load() -> Library:
    """The library of the wheel `onednn-cpu-gomp`.

    Raises:
      Unavailable: switched off, not installed, not loadable, or of another major version.
    """
    if (choice := os.environ.get(SWITCH, "onednn")) != "onednn":
        raise Unavailable(f"{SWITCH}={choice}", surprising=False)
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable(f"there is no oneDNN for {sys.platform} on {platform.machine()}", surprising=False)
    try:
        return Library(_path())
    except OSError as error:
        raise Unavailable(f"oneDNN can't be loaded: {error}") from error


def _path() -> str:
    """Where the wheel put the library."""
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        raise Unavailable(f"the package {WHEEL} is not installed") from None
    for file in files:
        if file.name == "libdnnl.so.3":
            return str(file.locate())
    raise Unavailable(f"the package {WHEEL} holds no libdnnl.so.3")
