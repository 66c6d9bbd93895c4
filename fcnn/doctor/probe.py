"""What has to be imported and computed to be known, step by step, in a process that may crash: `python -m
fcnn.doctor.probe` writes a line when a step begins and one when it ends."""

import json
import traceback
from collections.abc import Callable
from typing import Any

MARK = "fcnn-doctor "
"""Lines without it are a library's."""


def devices() -> dict[str, Any]:
    """Return JAX's devices, as a command of fcnn's would get them."""
    from fcnn.runtime.ready import get_ready

    get_ready()
    import jax

    config: Any = jax.config  # whose attributes pyright does not know
    folder = config.jax_compilation_cache_dir if config.jax_enable_compilation_cache else None
    names = [f"{device.platform}:{device.id} ({device.device_kind})" for device in jax.devices()]
    return {"backend": jax.default_backend(), "devices": names, "compiled": folder}


def convolutions() -> str:
    """Return what computes convolutions on a CPU, and why."""
    from fcnn.nn import cpu_convolutions

    return cpu_convolutions()


def product() -> float:
    """Return how far a convolution on the default device is off NumPy's, relative to the largest result."""
    import jax
    import numpy as np

    from fcnn.nn.fast_conv import conv_general_dilated

    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 8, 8, 16), (3, 3, 16, 8)))
    layout = ("NHWC", "HWIO", "NHWC")
    convolve = jax.jit(lambda x, w: conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=layout))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    wanted = np.einsum("bhwcij,ijco->bhwo", windows, kernel)
    return float(np.abs(np.asarray(convolve(x, kernel)) - wanted).max() / np.abs(wanted).max())


def folders() -> dict[str, str]:
    """Return where prepared data sets and downloaded weights lie."""
    from fcnn import zoo
    from fcnn.data.cache import data_dir

    return {"data sets": str(data_dir()), "weights": str(zoo.folder())}


STEPS: dict[str, Callable[[], Any]] = {
    "devices": devices,
    "convolutions": convolutions,
    "product": product,
    "folders": folders,
}


def main() -> None:
    """Take each step; one that fails doesn't keep the next ones from being taken."""
    for name, step in STEPS.items():
        print(MARK + json.dumps({"step": name}), flush=True)
        try:
            found = {"step": name, "result": step()}
        except Exception as error:  # a broken installation raises anything
            last = traceback.extract_tb(error.__traceback__)[-1]
            what = str(error) or f"{last.filename}:{last.lineno}: {last.line}"
            found = {"step": name, "error": f"{type(error).__name__}: {what}"}
        print(MARK + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
