"""`fcnn bench`: the speed of a step compared with PyTorch and plain XLA, and of the input pipeline."""

import dataclasses
import json
import sys
from typing import Annotated, Any, Literal

import tyro

from fcnn import registry
from fcnn.bench.compare import measure
from fcnn.bench.job import STANDARD, Job
from fcnn.cli.bench_data import bench_data_command
from fcnn.cli.bench_photos import bench_photos_command
from fcnn.cli.bench_predict import bench_predict_command
from fcnn.cli.parse import named_options, parse
from fcnn.utils.errors import UserError, unknown
from fcnn.utils.text import table

VS = ("lax", "flax", "torch")
"""Baselines of training and evaluation."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchArgs:
    """Measure the speed of a training step (`step`), an evaluation step (`eval`), or both for a standard list of
    networks (`all`).

    Each implementation runs in its own process, in alternating rounds. A ratio above 1 means that fcnn is faster by
    that factor. "1st step": from the start of the process to the end of the first step; "again": the same with a warm
    compilation cache. torch requires PyTorch. For inference compared with ONNX Runtime and others, see fcnn bench
    predict --help; for the input pipeline, fcnn bench data --help; for the accuracy of fine-tuning on photos, fcnn
    bench photos --help.
    """

    what: Annotated[Literal["step", "eval", "all"], tyro.conf.Positional]
    """What to measure."""
    model: str = "resnet20"
    """The architecture; `fcnn models` lists them."""
    batch: Annotated[int, tyro.conf.arg(metavar="N")] = 128
    """Images per step."""
    image_size: Annotated[int, tyro.conf.arg(metavar="N")] = 32
    """Height and width of the images in pixels."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type of the activations."""
    vs: str = "lax"
    """Baselines, separated by commas: torch (the fastest of eager and compiled, channels first and last), lax (fcnn
    with XLA's convolutions), flax (Linen's own layers)."""
    rounds: Annotated[int, tyro.conf.arg(metavar="N")] = 7
    """Number of rounds; in each, every implementation runs for about a second."""
    json: bool = False
    """Print the results as one JSON object on standard output; everything else goes to standard error."""


def bench_command(args: list[str]) -> int:
    """`fcnn bench step|eval|all|predict|data|photos [options]`."""
    if args[:1] == ["data"]:
        return bench_data_command(args[1:])
    if args[:1] == ["predict"]:
        return bench_predict_command(args[1:])
    if args[:1] == ["photos"]:
        return bench_photos_command(args[1:])
    parsed = parse(BenchArgs, args, "fcnn bench")
    if parsed.what == "all" and (ignored := named_options(args) & {"model", "batch", "image_size", "dtype"}):
        raise UserError(f"--{min(ignored).replace('_', '-')} has no effect with all, which measures the standard list")
    against = [name for name in parsed.vs.split(",") if name]
    for name in against:
        if name not in VS:
            raise UserError(unknown("baseline", name, VS))
    if parsed.model not in registry.MODELS:
        raise UserError(unknown("model", parsed.model, registry.MODELS))
    if min(parsed.batch, parsed.image_size, parsed.rounds) < 1:
        raise UserError("--batch, --image-size and --rounds must be at least 1")
    results = []
    for job in _jobs(parsed):
        results.append(measure(job, against, rounds=parsed.rounds, log=lambda text: print(text, file=sys.stderr)))
        if not parsed.json:
            print(_lines(results[-1]), flush=True)
    if parsed.json:
        print(json.dumps({"results": results}))
    return 0


def _jobs(args: BenchArgs) -> list[Job]:
    if args.what == "all":
        return [dataclasses.replace(job, kind=kind) for job in STANDARD for kind in ("step", "eval")]
    options: dict[str, Any] = {"model": args.model, "batch": args.batch, "image_size": args.image_size}
    return [Job(kind=args.what, dtype=args.dtype, **options)]


def _lines(result: dict[str, Any]) -> str:
    job, rounds, gemm = result["job"], result["rounds"], result["gemm_gflops"]
    kind = {"step": "training step", "eval": "evaluation step"}[job["kind"]]
    size = f"{job['image_size']}x{job['image_size']}"
    head = "images/s,ms,CPU ms,GFLOP/s,of GEMM,compile s,1st step s,again s,peak MB,fcnn is"
    rows = [["", *head.split(",")]]
    for name, row in result["contenders"].items():
        ratio = result["ratios"].get(name)
        times = [f"{row['images_per_second']:,.0f}", f"{1e3 * row['wall']:.1f}", f"{1e3 * row['cpu']:.1f}"]
        work = [f"{row['gflops']:.0f}", f"{row['gemm_share']:.0%}"]
        start = [f"{row[key]:.1f}" for key in ("compile_seconds", "ready_seconds", "warm_seconds")]
        faster = f"{ratio['wall']:.2f} x as fast (CPU {ratio['cpu']:.2f})" if ratio else ""
        rows.append([row["variant"], *times, *work, *start, f"{row['peak_bytes'] / 2**20:,.0f}", faster])
    return (
        f"{job['model']}, {kind}, {job['batch']} images of {size}, {job['dtype']}; {rounds} rounds; a matrix product "
        f"reaches {gemm:.0f} GFLOP/s\n{table(rows)}"
    )
