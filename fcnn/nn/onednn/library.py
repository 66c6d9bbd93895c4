"""The C library oneDNN as a Python object: found and loaded once, or the reason why it can't be."""

import ctypes
import functools
import importlib.metadata
import os
import platform
import sys
from ctypes import POINTER, c_int, c_int64, c_size_t, c_void_p
from typing import Any

WHEEL = "onednn-cpu-gomp"
SWITCH = "FCNN_CPU_CONV"
"""An environment variable: `lax` leaves every convolution to XLA."""

DIMS = c_int64 * 12
"""dnnl_dims_t, whatever the rank."""


class ExecArg(ctypes.Structure):
    """dnnl_exec_arg_t: which argument of a primitive a memory object is."""

    _fields_ = (("arg", c_int), ("memory", c_void_p))


# Result and arguments of functions that are called in every step, or that return something else than a status.
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "memory_set_data_handle": (c_int, c_void_p, c_void_p),
    "primitive_execute": (c_int, c_void_p, c_void_p, c_int, POINTER(ExecArg)),
    "memory_desc_get_size": (c_size_t, c_void_p),
    "memory_desc_equal": (c_int, c_void_p, c_void_p),
    "primitive_desc_query_md": (c_void_p, c_void_p, c_int, c_int),
    "version": (POINTER(c_int * 3),),
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
    """oneDNN refused a call: most often it has no implementation for the shape."""


class Library:
    """oneDNN's C interface: `call("engine_create", ...)` is dnnl_engine_create.

    An argument is a handle, an array, None for a null pointer, an int for a C int, or a number of another ctypes type.
    """

    def __init__(self, path: str) -> None:
        # Two views of one library: a call through CDLL lets other Python threads run meanwhile, which is right for the
        # work; a call through PyDLL doesn't, which is right for what takes less than a microsecond: to be let in again
        # can take milliseconds while another thread computes in Python.
        self._short, self._long = ctypes.PyDLL(path), ctypes.CDLL(path)
        for name, (result, *arguments) in _SIGNATURES.items():
            function = self.function(name)
            function.restype, function.argtypes = result, arguments
        self.version = ".".join(map(str, self.function("version")().contents))
        if not self.version.startswith("3."):
            raise Unavailable(f"oneDNN {self.version} is installed, and 3.x was expected")
        self.bytes_of, self.equal = self.function("memory_desc_get_size"), self.function("memory_desc_equal")
        self.engine = self.create("engine_create", _CPU, c_size_t(0))

    def function(self, name: str) -> Any:
        """Returns the C function, which returns a status where `_SIGNATURES` doesn't say otherwise."""
        return getattr(self._long if name in _LONG else self._short, f"dnnl_{name}")

    def call(self, name: str, *args: Any) -> None:
        """Calls a function that returns a status.

        Raises:
          Failed: the status isn't 0 (success).
        """
        if status := self.function(name)(*args):
            raise Failed(f"oneDNN: {name} failed with status {status}")

    def create(self, name: str, *args: Any) -> c_void_p:
        """Calls a function whose first argument receives a handle, and returns the handle."""
        handle = c_void_p()
        self.call(name, ctypes.byref(handle), *args)
        return handle


@functools.cache
def load() -> Library:
    """Returns the library of the wheel `onednn-cpu-gomp`.

    Raises:
      Unavailable: switched off, not installed, not loadable, or of another major version.
    """
    if (choice := os.environ.get(SWITCH, "onednn")) != "onednn":
        raise Unavailable(f"{SWITCH}={choice}", surprising=False)
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable(f"there is no oneDNN for {sys.platform} on {platform.machine()}", surprising=False)
    try:
        files = importlib.metadata.files(WHEEL) or []
        path = next(str(file.locate()) for file in files if file.name == "libdnnl.so.3")
        return Library(path)
    except importlib.metadata.PackageNotFoundError:
        raise Unavailable(f"the package {WHEEL} is not installed") from None
    except StopIteration:
        raise Unavailable(f"the package {WHEEL} holds no libdnnl.so.3") from None
    except OSError as error:
        raise Unavailable(f"oneDNN can't be loaded: {error}") from error
