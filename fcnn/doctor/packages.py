"""Versions, and whether what is installed is what was asked for."""

import importlib.metadata
import platform
import sys
from pathlib import Path

from fcnn.doctor.report import Report
from fcnn.utils.version import VERSION

SHOWN = (
    "jax", "jaxlib", "flax", "optax", "chex", "orbax-checkpoint", "tensorflow-datasets", "grain", "numpy", "scipy",
    "onednn-cpu-gomp", "tyro",
)  # fmt: skip
OPTIONAL = ("jax-cuda13-plugin", "jax-cuda12-plugin", "libtpu", "tensorflow", "torch", "onnxruntime")
REQUIRING = ("fcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets")
"""Packages whose requirements are checked."""


def versions(report: Report) -> None:
    """Add the versions of fcnn, Python and the packages that matter."""
    report.fact("fcnn", f"{VERSION} in {Path(__file__).parent.parent}")
    environment = "virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    implementation = "" if platform.python_implementation() == "CPython" else f" {platform.python_implementation()}"
    report.fact("Python", f"{platform.python_version()}{implementation}, {sys.executable} ({environment})")
    found = [f"{name} {version}" for name in (*SHOWN, *OPTIONAL) if (version := _version(name))]
    report.fact("packages", ", ".join(found))


def requirements(report: Report) -> None:
    """Add a problem for each package that is missing or has a version that another one can't use."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        report.problem("the package packaging is missing, so versions can't be checked", _install("packaging"))
        return
    for name in REQUIRING:
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            if name == "fcnn":
                report.fact("fcnn", "not installed: it runs from its folder, and its requirements were not checked")
            continue
        for requirement in map(Requirement, required):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            version, wanted = _version(requirement.name), f"{requirement.name}{requirement.specifier}"
            if version is None:
                report.problem(f"{name} needs {wanted}, which is not installed", _install(wanted))
            elif not requirement.specifier.contains(version, prereleases=True):
                report.problem(f"{name} needs {wanted}, and {version} is installed", _install(wanted))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _install(wanted: str) -> str:
    return f"{Path(sys.executable).name} -m pip install {wanted!r}"
