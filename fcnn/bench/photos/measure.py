"""Trains what isn't trained yet, one after the other, and keeps each result as a line of a file."""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fcnn import zoo
from fcnn.bench.photos.environment import Environment, find_environment
from fcnn.bench.photos.job import GRID, WEIGHTS, Cell, Job
from fcnn.bench.photos.process import last_line, remove_caches
from fcnn.bench.photos.split import identity, link_photos, split_photos, subsample
from fcnn.bench.photos.summary import best_point
from fcnn.data.manifest import Manifest
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
      A record for each cell: the fields of `Cell`, "top1", "loss", "count" of the test images, "seconds", what
      else its contender says (`jax_side`, `torch_loop`), and the fields of `Environment`.

    Raises:
      UserError: the photographs can't be used, or a training ended with an error.
    """
    parts = _parts(photos, seeds, sizes)  # all of them before the first training: what is impossible is said now
    zoo.obtain(zoo.TABLE[WEIGHTS])  # not while a training is timed
    environment = find_environment()
    remove_caches(out)
    if len(seeds) > 1 and len({tuple(parts[seed, sizes[0]].paths("test")) for seed in seeds}) == 1:
        log(f"{photos} has test images of its own, the same for all seeds")
    records: list[dict[str, Any]] = []
    for (seed, size), part in parts.items():
        tried = [r for r in records if (r["contender"], r["images_per_class"]) == ("torch", size)]
        points = [best_point(tried)] if tried else GRID  # all on the first split, then what is best there
        points = points if "torch" in environment.versions else ()
        for cell in cells(size, seed, minutes, identity(part), points):
            record = find(out, cell, environment, log)
            if record is None:
                log(name(cell))
                root = out / f"images-{cell.images}"
                link_photos(photos, part, root)
                record = dataclasses.asdict(cell) | dataclasses.asdict(environment)
                record |= _train(cell, root, out, environment.device)
                _append(out, record)
            log(f"{name(cell)}: {100 * record['top1']:.1f} % in {record['seconds']:.0f} s")
            records.append(record)
    return records


def _parts(photos: Path, seeds: Sequence[int], sizes: Sequence[int | None]) -> dict[tuple[int, int | None], Manifest]:
    """Returns the images of each seed and number of images; UserError if one of them can't be."""
    manifests = {seed: split_photos(photos, seed) for seed in seeds}
    return {(seed, size): subsample(manifests[seed], size, seed) for seed in seeds for size in sizes}


def cells(size: int | None, seed: int, minutes: float, images: str, points: Sequence[dict[str, Any]]) -> Iterator[Cell]:
    """Yields the cells of a number of images and a split, in the order in which they are measured: the others take the
    size of the images and the validation images from fcnn's run. `points` are PyTorch's."""
    common: dict[str, Any] = {"images_per_class": size, "seed": seed, "minutes": minutes, "images": images}
    yield Cell(contender="fcnn", **common)
    yield Cell(contender="logistic regression", **common)
    for point in points:
        yield Cell(contender="torch", **point, **common)


def name(cell: Cell) -> str:
    """Returns what a cell is, in a few words."""
    size = "all images" if cell.images_per_class is None else f"{cell.images_per_class} images a class"
    point = ""
    if cell.rate is not None:
        point = f", rate {cell.rate:g}, batch norm {'frozen' if cell.freeze_batch_norm else 'not frozen'}"
    return f"{cell.contender}, {size}, seed {cell.seed}{point}"


def find(out: Path, cell: Cell, environment: Environment, log: Callable[[str], None]) -> dict[str, Any] | None:
    """Returns the record of a cell if it was measured before in this environment; logs that it is measured again if it
    was in another one."""
    path, wanted, changes = out / RESULTS, dataclasses.asdict(cell), ""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:  # the last one, of a process that was killed
            continue
        is_cell = {key: record.get(key) for key in wanted} == wanted
        if is_cell and not (changes := _changes(record, environment)):
            return record
    if changes:
        log(f"{name(cell)}: measured before, and now again: {changes}")
    return None


def _changes(record: dict[str, Any], environment: Environment) -> str:
    """Returns in what a record's environment differs from this one, as far as its contender knows it; "" if in
    nothing."""
    library = "torch" if record["contender"] == "torch" else "jax"
    before, now = record.get("versions", {}), environment.versions
    pairs = [(name, before.get(name), now.get(name)) for name in ("fcnn", library)]
    pairs.append(("device", record.get("device"), environment.device))
    return ", ".join(f"{name} was {old or 'not noted'} and is {new}" for name, old, new in pairs if old != new)


def _append(out: Path, record: dict[str, Any]) -> None:
    """Adds a record as a line; a last line that was cut short stays, on its own."""
    path = out / RESULTS
    start = "" if not path.is_file() or path.read_bytes().endswith(b"\n") else "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{start}{json.dumps(record)}\n")


def _train(cell: Cell, root: Path, out: Path, device: str) -> dict[str, Any]:
    """Returns what a contender's processes say."""
    run = out / f"run-{cell.images}-seed{cell.seed}-{cell.minutes:g}"

    def work() -> dict[str, Any]:
        job = Job(cell=cell, root=str(root), run=str(run), device=device, began=time.time())
        return last_line(["-m", "fcnn.bench.photos.worker", json.dumps(dataclasses.asdict(job))], out)

    if cell.contender != "fcnn":
        if not run.is_dir():
            raise UserError(
                f"{run} is missing, whose splits the others need; remove {out / RESULTS} to measure it again"
            )
        return work()
    if run.exists():  # interrupted: going on would not take the time that is measured
        shutil.rmtree(run)
    command = ["-m", "fcnn", "train", str(root), "--minutes", f"{cell.minutes:g}", "--seed", str(cell.seed)]
    began = time.time()
    own = last_line([*command, "--workdir", str(run), "--json"], out)
    seconds = time.time() - began
    record = work()
    if round(abs(record["top1"] - own["top1"]) * record["count"]) > 2:  # another program may round two draws otherwise
        raise UserError(
            f"{run / 'model.safetensors'} gets {record['top1']:.4f} of the test images, the run {own['top1']}"
        )
    return record | {"seconds": seconds, "epochs": own["epoch"]}
