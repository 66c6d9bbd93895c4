"""`fcnn bench`: how fast a step is, beside PyTorch and plain XLA on the same machine; and what feeds it."""

import dataclasses
import json
import sys
from typing import Annotated, Any, Literal

import tyro

from fcnn import registry
from fcnn.bench.compare import measure
from fcnn.bench.job import CONTENDERS, STANDARD, Job
from fcnn.cli.bench_data import bench_data_command
from fcnn.cli.parse import named_options, parse
from fcnn.utils.errors import UserError, unknown


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchArgs:
    """Measure a training step (`step`), an evaluation step (`eval`), or both for the standard list of networks (`all`).

    Each contender runs in a process of its own and they take turns; a ratio above 1 says that fcnn is faster by that
    factor. "1st step" is the time from a process's start to behind its first step, "again" the same with what is
    compiled kept. PyTorch must be installed to be compared with. What images go through before: fcnn bench data --help.
    """

    what: Annotated[Literal["step", "eval", "all"], tyro.conf.Positional]
    """What to measure."""
    model: str = "resnet20"
    """The architecture; `fcnn models` lists them."""
    batch: Annotated[int, tyro.conf.arg(metavar="N")] = 128
    """Images a step."""
    image_size: Annotated[int, tyro.conf.arg(metavar="N")] = 32
    """Height and width of the images in pixels."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the activations."""
    vs: str = "lax"
    """With whom to compare, with commas between them: torch (the fastest of eager and compiled, channels first and
    last), lax (fcnn with XLA's convolutions), flax (Linen's layers as they come)."""
    rounds: Annotated[int, tyro.conf.arg(metavar="N")] = 7
    """How many turns each takes, of about a second."""
    json: bool = False
    """Print the results as one JSON object on standard output; everything else goes to standard error."""


def bench_command(args: list[str]) -> int:
    """`fcnn bench step|eval|all|data [options]`."""
    if args[:1] == ["data"]:
        return bench_data_command(args[1:])
    parsed = parse(BenchArgs, args, "fcnn bench")
    if parsed.what == "all" and (given := named_options(args) & {"model", "batch", "image_size", "dtype"}):
        raise UserError(f"--{min(given).replace('_', '-')} has no effect with all, which measures the standard list")
    against = [name for name in parsed.vs.split(",") if name]
    for name in against:
        if name not in CONTENDERS or name == "fcnn":
            raise UserError(unknown("contender", name, [other for other in CONTENDERS if other != "fcnn"]))
    if parsed.model not in registry.MODELS:
        raise UserError(unknown("model", parsed.model, registry.MODELS))
    if min(parsed.batch, parsed.image_size, parsed.rounds) < 1:
        raise UserError("--batch, --image-size and --rounds must be at least 1")
    results = []
    for job in _jobs(parsed):
        results.append(measure(job, against, rounds=parsed.rounds, log=lambda text: print(text, file=sys.stderr)))
        if not parsed.json:
            print(_table(results[-1]), flush=True)
    if parsed.json:
        print(json.dumps({"results": results}))
    return 0


def _jobs(args: BenchArgs) -> list[Job]:
    if args.what == "all":
        return [dataclasses.replace(job, kind=kind) for job in STANDARD for kind in ("step", "eval")]
    options: dict[str, Any] = {"model": args.model, "batch": args.batch, "image_size": args.image_size}
    return [Job(kind=args.what, dtype=args.dtype, **options)]


def _table(result: dict[str, Any]) -> str:
    job, rows = result["job"], result["contenders"]
    what = {"step": "training step", "eval": "evaluation step"}[job["kind"]]
    size = f"{job['image_size']}x{job['image_size']}"
    lines = [
        f"{job['model']}, {what}, {job['batch']} images of {size}, {job['dtype']}; {result['rounds']} rounds; "
        f"a matrix product reaches {result['gemm_gflops']:.0f} GFLOP/s",
        f"{'':20} {'images/s':>9} {'ms':>9} {'CPU ms':>9} {'GFLOP/s':>8} {'of GEMM':>8} {'compile s':>9} "
        f"{'1st step s':>10} {'again s':>7} {'peak MB':>8} {'fcnn is faster by':>18}",
    ]
    for name, row in rows.items():
        ratio = result["ratios"].get(name)
        faster = "" if ratio is None else f"{ratio['wall']:.2f} (CPU {ratio['cpu']:.2f})"
        lines.append(
            f"{row['variant']:20} {row['images_per_second']:9,.0f} {1e3 * row['wall']:9.1f} {1e3 * row['cpu']:9.1f} "
            f"{row['gflops']:8.0f} {row['gemm_share']:8.0%} {row['compile_seconds']:9.1f} "
            f"{row['ready_seconds']:10.1f} {row['warm_seconds']:7.1f} {row['peak_bytes'] / 2**20:8,.0f} {faster:>18}"
        )
    return "\n".join(lines)
