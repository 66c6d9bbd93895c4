"""`fcnn bench predict`: how long an answer takes, by fcnn and by those who read its exported files."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Annotated, Any

import tyro

from fcnn import registry
from fcnn.bench.compare import measure
from fcnn.bench.job import BATCHES, ENGINES, PREDICTED, Job
from fcnn.cli.parse import parse
from fcnn.utils.errors import UserError, unknown
from fcnn.utils.text import table


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchPredictArgs:
    """Measure inference time: logits of 1, 8 and 32 normalized images in memory, by fcnn and by the runtimes that load
    its exports.

    Each runs in its own process, in alternating rounds. Runtimes that aren't installed are left out. The networks are
    untrained, which doesn't change the time.
    """

    models: str = ",".join(PREDICTED)
    """Architectures, separated by commas; `fcnn models` lists them."""
    batches: str = ",".join(map(str, BATCHES))
    """Batch sizes, separated by commas."""
    image_size: Annotated[int, tyro.conf.arg(metavar="N")] = 224
    """Height and width of the images in pixels."""
    vs: str = ",".join(ENGINES)
    """Runtimes to compare with, separated by commas: onnxruntime, openvino, torch (the fastest of eager and compiled,
    channels first and last), stablehlo (the exported program by JAX alone)."""
    rounds: Annotated[int, tyro.conf.arg(metavar="N")] = 7
    """Number of rounds; in each, every runtime runs for about a second."""
    json: bool = False
    """Print the results as one JSON object on standard output; everything else goes to standard error."""


def bench_predict_command(args: list[str]) -> int:
    """`fcnn bench predict [options]`."""
    parsed = parse(BenchPredictArgs, args, "fcnn bench predict")
    models, engines = ([name for name in text.split(",") if name] for text in (parsed.models, parsed.vs))
    for kind, names, known in (("model", models, registry.MODELS), ("engine", engines, ENGINES)):
        for name in names:
            if name not in known:
                raise UserError(unknown(kind, name, list(known)))
    batches = [int(text) if text.isdecimal() else 0 for text in parsed.batches.split(",")]
    if min(*batches, parsed.image_size, parsed.rounds) < 1:
        raise UserError("--batches, --image-size and --rounds must be at least 1")

    def log(text: str) -> None:
        print(text, file=sys.stderr)

    results = []
    engines = [name for name in engines if _is_installed(name)]
    for job in _jobs(models, batches, parsed.image_size, engines):
        log(f"{job.model}, images: {job.batch}")
        results.append(measure(job, engines, rounds=parsed.rounds, log=log))
    print(json.dumps({"results": results}) if parsed.json else _lines(results))
    return 0


def _is_installed(engine: str) -> bool:
    missing = [package for package in ENGINES[engine] if importlib.util.find_spec(package) is None]
    if missing:
        print(f"without {engine}: pip install {' '.join(missing)}", file=sys.stderr)
    return not missing


def _jobs(models: list[str], batches: list[int], image_size: int, engines: list[str]) -> Iterator[Job]:
    """Yields the jobs of each model while its files are there."""
    for model in models:
        with tempfile.TemporaryDirectory(prefix="fcnn-bench-") as folder:
            job = Job(model=model, kind="predict", image_size=image_size, classes=1000, files=folder)
            command = [sys.executable, "-m", "fcnn.bench.network_files", json.dumps(dataclasses.asdict(job)), *engines]
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
            if done.returncode:
                raise UserError(f"{model}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
            yield from (dataclasses.replace(job, batch=batch) for batch in batches)


def _lines(results: list[dict[str, Any]]) -> str:
    """Returns a table: milliseconds an image, wall and CPU time; by what factor fcnn is faster; and the start."""
    head = "network,images,by,ms an image,CPU ms,GFLOP/s,1st answer s,again s,peak MB,logits differ,fcnn is"
    rows = [list(map(str, head.split(",")))]
    for result in results:
        job = result["job"]
        for name, row in result["contenders"].items():
            times = [f"{1e3 * row[key] / job['batch']:.2f}" for key in ("wall", "cpu")]
            start = [f"{row[key]:.1f}" for key in ("ready_seconds", "warm_seconds")]
            difference = f"{row['difference']:.0e}" if "difference" in row else ""
            ratio = result["ratios"].get(name)
            faster = f"{ratio['wall']:.2f} x as fast (CPU {ratio['cpu']:.2f})" if ratio else ""
            peak = f"{row['peak_bytes'] / 2**20:,.0f}"
            who = [job["model"], str(job["batch"]), row["variant"]]
            rows.append([*who, *times, f"{row['gflops']:.0f}", *start, peak, difference, faster])
    return table(rows)
