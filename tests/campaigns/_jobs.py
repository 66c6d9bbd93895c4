"""Small jobs of every command that writes, which campaigns kill or whose disk they fail, and what each ends with when
nobody disturbs it."""

import dataclasses
import functools
import hashlib
import json
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from harness import comparable, random_network, shared_folder, start
from PIL import Image
from safetensors.numpy import load_file, save_file

from fcnn import write_weights

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax misses files that it doesn't need
HERE = Path(__file__).parent
HANG = 60
"""Seconds after which a process hangs."""
# Dropout, crops, averages and a schedule: all that has a state or is random.
TRAIN = (
    "train --config resnet --model.name mlp --model.dropout 0.2 --augment.crop-padding 1 --train.ema-decay 0.9 "
    "--train.batch-size 32 --optim.warmup-epochs 0.1"
)
LONG = f"{TRAIN} --train.eval-steps 20 --train.log-steps 1 --train.checkpoint-steps 7 --train.steps 30 --workdir"
SHORT = f"{TRAIN} --train.eval-steps 6 --train.log-steps 6 --train.steps 12 --workdir"
SEARCH = (
    f"{HERE / '_quick_search.py'} search --config resnet --model.name mlp --train.steps 20 --train.eval-steps 10 "
    "--over optim.learning-rate=log:0.01:0.1 --trials 3 --workers 2 --optim.warmup-epochs 0.1 --workdir out/search"
)


@dataclasses.dataclass(frozen=True)
class Job:
    """A command line, run in a folder with inputs in `in`, which all share, and everything it writes in `out`."""

    name: str
    args: str
    copied: str | None = None
    """An input that the command changes: it gets a copy in `out`."""

    def run(self, folder: Path, **options: Any) -> "Run":
        """Starts the command in a folder; `env` is added to the environment, other options are those of Popen."""
        (folder / "out").mkdir(exist_ok=True)
        if not (folder / "in").exists():
            (folder / "in").symlink_to(inputs(), target_is_directory=True)
        if self.copied and not (folder / "out" / self.copied).exists():
            shutil.copytree(inputs() / self.copied, folder / "out" / self.copied)
        environment = {"TFDS_DATA_DIR": "out" if self.name.startswith("prepare") else "in/data"} | options.pop(
            "env", {}
        )
        words = self.args.split()
        program = words if words[0].endswith(".py") else ["-m", "fcnn", *words]
        return Run(start(*program, cwd=folder, env=environment, **options))


class Run:
    """A process, and how it ended: its exit code, None if it had to be killed, and what it printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self._began = process, time.monotonic()

    @property
    def is_done_already(self) -> bool:
        """Whether it refused to write what is there: what was disturbed was whole."""
        return self.code == 2 and "exists; take another" in self.err

    def end(self) -> "Run":
        """Waits for the process."""
        try:
            self.out, self.err = self.process.communicate(timeout=HANG)
            self.code = self.process.returncode
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.out, self.err = self.process.communicate()
            self.code = None
        self.seconds = time.monotonic() - self._began
        return self


JOBS = {
    job.name: job
    for job in (
        Job("train", f"{LONG} out/run"),
        Job("train shortly", f"{SHORT} out/run"),
        Job("evaluate", "evaluate in/run --json"),
        Job("prepare photos", "data prepare folder:in/photos --data.image-size 32"),
        Job("prepare digits", "data prepare digits"),
        Job("predict", "predict in/run in/photos --csv out/table.csv --sort-into out/sorted"),
        Job("export", "export in/run --out out/model.safetensors"),
        Job("export program", "export in/run --format stablehlo --out out/model.stablehlo"),
        Job("convert", "convert in/plain.safetensors --model lenet5 --image-size 28 --out out/lenet.safetensors"),
        Job("compare", "compare in/run in/run --out out/page.html"),
        Job("show", "show out/run", copied="run"),
        Job("search", SEARCH),
    )
}


def inputs() -> Path:
    """Returns the folder of the inputs: photos, the folder of a run, a file of weights."""
    folder = Path(shared_folder("FCNN_CAMPAIGNS_INPUTS"))
    if not (folder / "run/report.html").exists():
        for i in range(24):
            path = folder / "photos" / "abc"[i % 3] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 40, 3), np.uint8)).save(path)
        write_weights(folder / "lenet.safetensors", random_network("lenet5", size=28, channels=1, classes=10))
        save_file(load_file(folder / "lenet.safetensors"), folder / "plain.safetensors")
        run = Run(start("-m", "fcnn", *LONG.split(), "run", cwd=folder, env={"TFDS_DATA_DIR": "data"})).end()
        assert run.code == 0, run.err
    return folder


@functools.cache
def undisturbed(name: str) -> tuple[dict[str, str], Run]:
    """Returns what a job ends with when nobody disturbs it (`result`), and its second run, which compiles nothing."""
    for number in (1, 2):
        folder = Path(shared_folder("FCNN_CAMPAIGNS_WHOLE")) / f"{name}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run = JOBS[name].run(folder).end()
        assert run.code == 0, run.err
    return result(folder), run


def finish(name: str, folder: Path) -> str | None:
    """Runs a disturbed job again; returns what differs from an undisturbed one's end, None if nothing does."""
    run, (expected, whole) = JOBS[name].run(folder).end(), undisturbed(name)
    if run.code != 0 and not run.is_done_already:
        return f"then exit code {run.code}: {run.err}"
    if name == "evaluate" and run.out != whole.out:
        return f"then it prints {run.out} in place of {whole.out}"
    return difference(result(folder), expected)


PASSING = (".lock", "/tensorboard/", "study.db", "workers.log", "/incomplete.")
"""Parts of names of files that tell of a process and not of its result; the last are in folders of TFDS, which are
removed when they are a day old."""


def result(folder: Path) -> dict[str, str]:
    """Returns all that a job has written, as digests by name: the same for the same job.

    A checkpoint is its arrays, its metrics and its meta; records and pages are without what a clock says.
    """
    found: dict[str, str] = {}
    for path in sorted((folder / "out").rglob("*")):
        name = re.sub("-[0-9a-f]{24}[.]npy", ".npy", path.relative_to(folder / "out").as_posix())  # when it was made
        if path.parent.name == "checkpoints" and path.name.isdigit():
            found[name] = _checkpoint(path)
        elif re.match(".*checkpoints/[0-9]+/", name):
            continue
        elif ".array_record" in name:  # TFDS's, never the same bytes; what is read from it is beside it
            found[name] = "there"
        elif path.is_symlink():
            found[name] = str(path.readlink()).replace(str(folder), "")
        elif path.name == "metrics.jsonl":
            found[name] = _digest(json.dumps(comparable(path.parent)).encode())
        elif path.is_file() and not any(part in name for part in PASSING):
            content = path.read_bytes().replace(str(folder).encode(), b"")
            found[name] = _digest(re.sub(rb"[\d,]+ images/s", b"", content) if path.suffix == ".html" else content)
    return found


def _checkpoint(path: Path) -> str:
    with ocp.PyTreeCheckpointer() as reader:
        metadata = reader.metadata(path / "state").item_metadata
        if metadata is None:  # it was being deleted, as later ones replace it; the next run continues from that
            return "a part"
        kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), dict(metadata))
        arrays, _ = jax.tree_util.tree_flatten_with_path(reader.restore(path / "state", restore_args=kinds))
    parts = [f"{jax.tree_util.keystr(where)} {x.dtype} {x.shape}".encode() + x.tobytes() for where, x in arrays]
    plain = [path / name for name in ("meta/metadata", "metrics/metrics")]
    return _digest(b"".join(parts + [file.read_bytes() for file in plain if file.exists()]))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def difference(found: Mapping[str, str], expected: Mapping[str, str]) -> str | None:
    """Returns what is missing, too much or different; None if nothing is."""
    parts = {
        "missing": expected.keys() - found.keys(),
        "left behind": found.keys() - expected.keys(),
        "different": {name for name in expected.keys() & found.keys() if expected[name] != found[name]},
    }
    return "; ".join(f"{what}: {', '.join(sorted(names))}" for what, names in parts.items() if names) or None
