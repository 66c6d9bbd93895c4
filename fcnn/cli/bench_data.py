"""`fcnn bench data`: whether images reach the step as fast as it can take them."""

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

CIFAR = (50_000, 32, 32, 3)
FILES = 1000
STEP = Job(model="resnet18", batch=32, image_size=224)
"""What the images of files are for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchDataArgs:
    """Measure what feeding and augmentation add to a training step where the images live on the device, and how fast
    JPEGs are read, decoded and cut, beside PyTorch's DataLoader where it is installed."""

    folder: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[folder:PATH]")] = None
    """A folder of JPEGs; if not given, 1,000 are made of two photographs."""
    rounds: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    """How many turns each contender takes."""
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


def _resident_lines(found: dict[str, Any]) -> str:
    size = f"{found['image_size']}x{found['image_size']}"
    lines = [
        f"{found['model']}, {found['images']:,} images of {size} on the device, batches of {found['batch']}, crop and "
        f"flip; {found['rounds']} rounds",
        f"{'':25} {'images/s':>9} {'ms':>9} {'CPU ms':>9}",
    ]
    for name, title in (("bare", "the bare step"), ("fed", "fed and augmented")):
        row = found[name]
        lines.append(f"{title:25} {row['images_per_second']:9,.0f} {1e3 * row['wall']:9.1f} {1e3 * row['cpu']:9.1f}")
    added = found["added"]
    return "\n".join(lines) + (
        f"\nfeeding and augmentation add {added['wall']:.1%} to the step ({added['cpu']:.1%} of CPU time); first batch "
        f"after {found['first_batch_seconds']:.2f} s"
    )


def _files_lines(found: dict[str, Any]) -> str:
    size = f"{found['image_size']}x{found['image_size']}"
    lines = [
        f"{found['images']:,} JPEGs, random crops at {size}, batches of {found['batch']}, {found['workers']} workers; "
        f"{found['rounds']} rounds",
        f"{'':25} {'images/s':>9}",
        f"{'fcnn':25} {found['fcnn']:9,.0f}",
    ]
    if found["torch"] is None:
        lines.append("PyTorch is not installed: nothing to compare with")
    else:
        torch = "PyTorch's DataLoader"
        lines.append(f"{torch:25} {found['torch']:9,.0f}   fcnn is faster by {found['ratio']:.2f}")
    step = f"a step of {found['model']}"
    lines.append(f"{step:25} {found['step']:9,.0f}")
    slower, other = ("feed", "step") if found["fcnn"] < found["step"] else ("step", "feed")
    lines.append(
        f"the {slower}, not the {other}, is the bottleneck; first batch after {found['first_batch_seconds']:.2f} s"
    )
    return "\n".join(lines)
