"""Trains what isn't trained yet, one after the other, and keeps each result as a line of a file."""

import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fcnn.bench.photos.job import GRID, Cell, Job
from fcnn.bench.photos.split import identity, link_photos, split_photos, subsample
from fcnn.bench.photos.summary import best_point
from fcnn.utils.errors import UserError

RESULTS = "results.jsonl"


def measure(
    photos: Path,
    out: Path,
    *,
    minutes: float,
    seeds: Sequence[int],
    sizes: Sequence[int | None],
    log: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Measures every contender with every number of images, on every split.

    Args:
      photos: a folder of images by class.
      out: the folder of the results, whose finished cells are taken from there.
      minutes: of each training.
      seeds: of splits and trainings.
      sizes: images per class for training and validation; None for all.

    Returns:
      A record for each cell: the fields of `Cell`, "top1", "loss", "count" of the test images, "seconds", and what else
      its contender says (`jax_side`, `torch_loop`).

    Raises:
      UserError: the photographs can't be used, or a training ended with an error.
    """
    records: list[dict[str, Any]] = []
    for seed in seeds:
        manifest = split_photos(photos, seed)
        for size in sizes:
            part = subsample(manifest, size, seed)
            root = out / f"images-{identity(part)}"
            tried = [r for r in records if (r["contender"], r["images_per_class"]) == ("torch", size)]
            points = [best_point(tried)] if tried else GRID  # all on the first split, then what is best there
            for cell in cells(size, seed, minutes, identity(part), points):
                record = find(out, cell)
                if record is None:
                    log(name(cell))
                    link_photos(photos, part, root)
                    record = dataclasses.asdict(cell) | _train(cell, root, out)
                    _append(out, record)
                log(f"{name(cell)}: {100 * record['top1']:.1f} % in {record['seconds']:.0f} s")
                records.append(record)
    return records


def cells(size: int | None, seed: int, minutes: float, images: str, points: Sequence[dict[str, Any]]) -> Iterator[Cell]:
    """Yields the cells of a number of images and a split, in the order in which they are measured: the others take the
    size of the images and the validation images from fcnn's run. Without PyTorch its points are left out."""
    common: dict[str, Any] = {"images_per_class": size, "seed": seed, "minutes": minutes, "images": images}
    yield Cell(contender="fcnn", **common)
    yield Cell(contender="logistic regression", **common)
    if importlib.util.find_spec("torch") is not None:
        for point in points:
            yield Cell(contender="torch", **point, **common)


def name(cell: Cell) -> str:
    """Returns what a cell is, in a few words."""
    size = "all images" if cell.images_per_class is None else f"{cell.images_per_class} images a class"
    point = ""
    if cell.rate is not None:
        point = f", rate {cell.rate:g}, batch norm {'frozen' if cell.freeze_batch_norm else 'not frozen'}"
    return f"{cell.contender}, {size}, seed {cell.seed}{point}"


def find(out: Path, cell: Cell) -> dict[str, Any] | None:
    """Returns the record of a cell if it was measured before."""
    path, wanted = out / RESULTS, dataclasses.asdict(cell)
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:  # the last one, of a process that was killed
            continue
        if {key: record.get(key) for key in wanted} == wanted:
            return record
    return None


def _append(out: Path, record: dict[str, Any]) -> None:
    """Adds a record as a line; a last line that was cut short stays, on its own."""
    path = out / RESULTS
    start = "" if not path.is_file() or path.read_bytes().endswith(b"\n") else "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{start}{json.dumps(record)}\n")


def _train(cell: Cell, root: Path, out: Path) -> dict[str, Any]:
    """Returns what a contender's processes say."""
    run = out / f"run-{cell.images}-{cell.minutes:g}"
    if cell.contender != "fcnn":
        if not run.is_dir():
            raise UserError(
                f"{run} is missing, whose splits the others need; remove {out / RESULTS} to measure it again"
            )
        return _work(Job(cell=cell, root=str(root), run=str(run), began=time.time()))
    if run.exists():  # interrupted: going on would not take the time that is measured
        shutil.rmtree(run)
    command = ["-m", "fcnn", "train", str(root), "--minutes", f"{cell.minutes:g}", "--seed", str(cell.seed)]
    began = time.time()
    own = _last_line([*command, "--workdir", str(run), "--json"])
    seconds = time.time() - began
    record = _work(Job(cell=cell, root=str(root), run=str(run), began=time.time()))
    if abs(record["top1"] - own["top1"]) * record["count"] > 2:  # another program may round two draws otherwise
        raise UserError(
            f"{run / 'model.safetensors'} gets {record['top1']:.4f} of the test images, the run {own['top1']}"
        )
    return record | {"seconds": seconds, "epochs": own["epoch"]}


def _work(job: Job) -> dict[str, Any]:
    return _last_line(["-m", "fcnn.bench.photos.worker", json.dumps(dataclasses.asdict(job))])


def _last_line(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs Python, and returns the JSON object in the last line that it prints; UserError with its last word if it
    fails. What it says about itself is not shown."""
    result = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        words = result.stderr.strip().splitlines()[-1:] or ["without a message"]
        raise UserError(f"{' '.join(arguments[1:4])} ended with exit code {result.returncode}: {words[0]}")
    return json.loads(result.stdout.strip().splitlines()[-1])
