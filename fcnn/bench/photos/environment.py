"""What a result depends on beside its cell: the versions of the libraries, and the device.

`python -m fcnn.bench.photos.environment` prints them: a process of its own, as JAX keeps a GPU's memory as long as its
process lasts.
"""

import contextlib
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

from fcnn.bench.photos.process import last_line
from fcnn.utils.errors import UserError
from fcnn.utils.version import VERSION


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """What everybody's trainings run on."""

    device: str
    """JAX's default backend: "cpu", "gpu" or "tpu"."""
    versions: dict[str, str]
    """Of "fcnn", "jax" and, if it is installed, "torch"."""


def find_environment() -> Environment:
    """Returns the environment of the processes that train; UserError if PyTorch can't use the device that JAX uses."""
    found = last_line(["-m", "fcnn.bench.photos.environment"], Path(tempfile.gettempdir()))
    return checked(Environment(device=found["device"], versions=found["versions"]), found["cuda"])


def checked(environment: Environment, cuda: bool) -> Environment:
    """Returns the environment if PyTorch, where it is installed, trains on the same kind of device as JAX; else
    UserError. `cuda` is what `torch.cuda.is_available` says."""
    device = environment.device
    if "torch" in environment.versions and device != "cpu" and not (device == "gpu" and cuda):
        raise UserError(
            f"JAX trains on a {device.upper()}, which this PyTorch can't use; set JAX_PLATFORMS=cpu to compare them on "
            "the CPU, or install a PyTorch that can"
        )
    return environment


def main() -> None:
    """Prints {"device", "versions", "cuda"} as JSON."""
    import jax

    torch: Any = None
    with contextlib.suppress(ImportError):
        import torch
    versions = {"fcnn": VERSION, "jax": jax.__version__} | ({"torch": str(torch.__version__)} if torch else {})
    cuda = bool(torch and torch.cuda.is_available())
    print(json.dumps({"device": jax.default_backend(), "versions": versions, "cuda": cuda}))


if __name__ == "__main__":
    main()
