"""Folders that fcnn writes to: where, how large, whether it may, and how much space is left."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fcnn.doctor.report import Report, size

LOW_SPACE = 2e9
FIXES = {
    "compiled": "set XDG_CACHE_HOME or JAX_COMPILATION_CACHE_DIR to a folder that can be written",
    "data sets": "set TFDS_DATA_DIR to a folder that can be written",
    "weights": "set FCNN_CACHE to a folder that can be written",
    "current folder": "work in a folder that can be written, or pass --workdir",
}


def folders(report: Report) -> None:
    """Add the folders that the probe named, and the current one."""
    probe: Any = report.values.get("probe", {})
    places = {"compiled": (probe.get("devices") or {}).get("compiled"), **(probe.get("folders") or {})}
    if probe.get("devices") and places["compiled"] is None:
        report.fact("compiled", "compiled programs are not kept: the compilation cache is turned off")
    full: dict[int, str] = {}
    for name, place in [*places.items(), ("current folder", str(Path.cwd()))]:
        if place is not None and "://" not in place:
            full |= _folder(report, name, Path(place))
    for place in full.values():
        report.problem(f"less than 2 GB are free where {place} lies", "delete what isn't needed")


def _folder(report: Report, name: str, folder: Path) -> dict[int, str]:
    """Add one folder; return its disk, by number, if that is nearly full."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    content = f"{_content(folder)}, " if folder.is_dir() and name != "current folder" else ""
    missing = "" if folder.exists() else "not there yet, "
    report.fact(name, f"{folder}: {content}{missing}{size(free)} free")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        report.problem(f"{name}: {there} can't be written: {error.strerror}", FIXES[name])
    return {os.stat(there).st_dev: str(there)} if free < LOW_SPACE else {}


def _content(folder: Path) -> str:
    sizes = [(Path(parent) / name).lstat().st_size for parent, _, names in os.walk(folder) for name in names]
    return f"{len(sizes):,} files, {size(sum(sizes))}"
