"""What JAX computes on, and whether it computes what it should."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from fcnn.doctor.probe import MARK
from fcnn.doctor.report import Report
from fcnn.utils.errors import install

TIMEOUT = 120
"""Seconds; the start of a GPU or TPU can take half a minute."""
TOLERANCE = 0.02
"""Of a convolution on a device that multiplies with 8 bits of mantissa."""
REINSTALL = "install fcnn into a new virtual environment"


def devices(report: Report) -> None:
    """Add the devices, what computes convolutions, and whether one comes out right."""
    found, errors, end = _probe()
    report.values["probe"] = found
    if "devices" in errors:
        errors.pop("product", None)  # without a device there is none
    for step, error in errors.items():
        report.problem(f"{step}: {error}", _fix(error))
    if end:
        report.problem(end, f"{REINSTALL}; if that doesn't help, report this text")
    if jax := found.get("devices"):
        report.fact("devices", f"{', '.join(jax['devices'])}; used: {jax['backend']}")
        _judge_backend(report, jax["backend"])
    if convolutions := found.get("convolutions"):
        report.fact("convolutions", f"on a CPU by {convolutions}")
        on_linux = (sys.platform, platform.machine()) == ("linux", "x86_64")
        if convolutions.startswith("XLA") and on_linux and "FCNN_CPU_CONV" not in os.environ:
            report.problem(
                f"oneDNN is not used: {convolutions}; training on a CPU takes twice as long or longer",
                f"{Path(sys.executable).name} -m pip install --force-reinstall onednn-cpu-gomp",
            )
    if (error := found.get("product")) is not None:
        report.fact("convolutions", f"relative error of one: {error:.1e}")
        if not error < TOLERANCE:  # NaN, too
            report.problem(f"a convolution is wrong, by {error:.1e} of the largest result", REINSTALL)


def _probe() -> tuple[dict[str, Any], dict[str, str], str]:
    """Return the probe's results and errors by step, and how it ended if it didn't end well."""
    end = ""
    root = str(Path(__file__).parent.parent.parent)  # wherever the user is: fcnn may not be installed
    paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", ""), root]))
    environment = os.environ | {"PYTHONPATH": paths, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # a GPU may be in use
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "fcnn.doctor.probe"],
            capture_output=True, timeout=TIMEOUT, env=environment, check=False,
        )  # fmt: skip
        out, err, code = ended.stdout, ended.stderr, ended.returncode
    except subprocess.TimeoutExpired as late:
        out, err, code = late.stdout or b"", late.stderr or b"", None
    lines = [line for line in out.decode(errors="replace").splitlines() if line.startswith(MARK)]
    steps = [json.loads(line.removeprefix(MARK)) for line in lines]
    if code != 0:
        last = steps[-1]["step"] if steps else "start"
        how = f"did not end within {TIMEOUT} s" if code is None else f"ended with code {code}"
        said = err.decode(errors="replace").strip().splitlines()[-1:]
        end = f"the process that tries JAX {how}, in the step {last!r}" + "".join(f": {line}" for line in said)
    results, errors = ({step["step"]: step[key] for step in steps if key in step} for key in ("result", "error"))
    return results, errors, end


def _judge_backend(report: Report, backend: str) -> None:
    """Add a problem where there is a faster device than the one that is used."""
    if backend != "cpu" or os.environ.get("JAX_PLATFORMS") == "cpu":
        return
    if Path("/dev/nvidia0").exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1"):
        report.problem("there is an NVIDIA GPU, and JAX doesn't use it", f"{install('cuda')}; see TPU.md")


def _fix(error: str) -> str:
    """Return what to do about an error of a step."""
    if error.startswith("UserError"):
        return "correct what the message names"
    if (wish := os.environ.get("JAX_PLATFORMS", "cpu")) != "cpu":
        return f"unset JAX_PLATFORMS ({wish}), or install JAX for that device, such as {install('cuda')}"
    return REINSTALL
