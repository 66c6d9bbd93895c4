"""`fcnn bench data`: the speed of the input pipeline."""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.bench.job import Job
from fcnn.cli.parse import parse
from fcnn.config import presets
from fcnn.runtime.ready import get_ready
from fcnn.utils.errors import UserError
from fcnn.utils.text import table

CIFAR = (50_000, 32, 32, 3)
FILES = 1000
STEP = Job(model="resnet18", batch=32, image_size=224)
"""The training step that the files' images are for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchDataArgs:
    """Measure how much time the input pipeline and augmentation add to a training step with images on the device, and
    how fast JPEGs are read, decoded and cropped, compared with PyTorch's DataLoader if it is installed."""

    folder: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[folder:PATH]")] = None
    """A folder of JPEGs; by default 1,000 crops of two photographs."""
    rounds: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    """Number of rounds; in each, every implementation runs once."""
    json: bool = False
    """Print the results as one JSON object on standard output; everything else goes to standard error."""


def bench_data_command(args: list[str]) -> int:
    """`fcnn bench data [folder:PATH] [options]`."""
    parsed = parse(BenchDataArgs, args, "fcnn bench data")
    if parsed.rounds < 1:
        raise UserError("--rounds must be at least 1")
    root = None if parsed.folder is None else Path(parsed.folder.removeprefix("folder:")).expanduser()
    if root is not None and not root.is_dir():
        raise UserError(f"there is no folder {root}")
    get_ready()

    from fcnn.bench.folder import make_folder, measure_folder, readable
    from fcnn.bench.resident import measure_resident

    def log(text: str) -> None:
        print(text, file=sys.stderr)

    paths = None if root is None else readable(root, least=2 * STEP.batch)
    with tempfile.TemporaryDirectory() as temporary:
        config = presets.load_preset("cifar10_resnet20")
        resident = measure_resident(config, CIFAR, rounds=parsed.rounds, log=log)
        if not parsed.json:
            print(_resident_lines(resident), flush=True)
        if root is None or paths is None:
            log(f"writing {FILES:,} JPEGs")
            root = Path(temporary) / "jpegs"
            paths = make_folder(root, FILES)
        files = measure_folder(root, paths, STEP, rounds=parsed.rounds, log=log)
    print(json.dumps({"device": resident, "files": files}) if parsed.json else _files_lines(files))
    return 0


def _resident_lines(result: dict[str, Any]) -> str:
    rows = [["", "images/s", "ms", "CPU ms"]]
    for name, title in (("bare", "step alone"), ("pipeline", "with the input pipeline")):
        row = result[name]
        rows.append([title, f"{row['images_per_second']:,.0f}", *(f"{1e3 * row[key]:.1f}" for key in ("wall", "cpu"))])
    added = result["added"]
    return (
        f"{result['model']}, {result['images']:,} images of {result['image_size']}x{result['image_size']} on the "
        f"device, batches of {result['batch']}, crop and flip; {result['rounds']} rounds\n{table(rows)}\n"
        f"The input pipeline adds {added['wall']:.1%} to the step ({added['cpu']:.1%} of CPU time); first batch after "
        f"{result['first_batch_seconds']:.2f} s"
    )


def _files_lines(result: dict[str, Any]) -> str:
    rows = [["", "images/s", ""], ["fcnn", f"{result['fcnn']:,.0f}", ""]]
    if result["torch"] is not None:
        rows.append(["PyTorch's DataLoader", f"{result['torch']:,.0f}", f"fcnn is faster by {result['ratio']:.2f}"])
    rows.append([f"a step of {result['model']}", f"{result['step']:,.0f}", ""])
    missing = "" if result["torch"] is not None else "\nPyTorch is not installed: no comparison"
    bound = "Input-bound" if result["fcnn"] < result["step"] else "Compute-bound"
    return (
        f"{result['images']:,} JPEGs, random crops at {result['image_size']}x{result['image_size']}, batches of "
        f"{result['batch']}, {result['workers']} workers; {result['rounds']} rounds\n{table(rows)}{missing}\n"
        f"{bound}; first batch after {result['first_batch_seconds']:.2f} s"
    )
