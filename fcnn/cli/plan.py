"""`fcnn plan`: what a preset needs on a TPU slice, found by compiling it without one."""

import dataclasses
import json
import sys
import time
from typing import Annotated, Any

import tyro

from fcnn.cli.parse import PresetArgs, asks_for_help, named_options, parse, take_preset
from fcnn.utils.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanArgs(PresetArgs):
    """Compile a preset's training step for a TPU slice, without a TPU: memory, FLOPs, communication, and an upper
    bound on the speed. Requires the TPU compiler (pip install -e '.[tpu]'); takes a few minutes for a deep network."""

    target: Annotated[str, tyro.conf.arg(metavar="CHIP:SHAPE", help_behavior_hint="(required)")]
    """The slice: v5e:2x4 is 8 v5e chips, v6e:1x1 one v6e chip."""
    fit: bool = False
    """Find the largest batch size that fits in memory, to within 12.5 %, and use it."""
    json: bool = False
    """Print the plan as one JSON object on standard output; everything else goes to standard error."""


def plan_command(args: list[str]) -> int:
    """`fcnn plan --config NAME --target CHIP:SHAPE [options]`."""
    name, config, rest = take_preset(args, "fcnn plan")
    if "target" not in named_options(rest) and not asks_for_help(rest):
        raise UserError("fcnn plan needs --target CHIP:SHAPE, like v5e:2x4")
    default = PlanArgs(config=config, preset=name, target="v5e:2x4")
    parsed = parse(PlanArgs, rest, "fcnn plan", default=default)

    import jax

    jax.config.update("jax_platforms", "cpu")  # on a TPU VM, leave the TPU to who trains on it

    from fcnn.bench import plan

    plan.parse_target(parsed.target)
    began = time.perf_counter()
    try:
        if parsed.fit:
            result = plan.fit(parsed.config, parsed.target, lambda text: print(text, file=sys.stderr, flush=True))
        else:
            result = plan.plan(parsed.config, parsed.target)
    except plan.TooLarge as error:
        if parsed.json:
            print(json.dumps({"target": parsed.target, "fits": False, "reason": str(error)}))
        else:
            print(f"{parsed.preset} on {parsed.target}: does not fit. {error}\n--fit looks for the largest batch")
        return 1
    if parsed.json:
        facts = dataclasses.asdict(result) | {"fits": True, "seconds": time.perf_counter() - began}
        print(json.dumps({"preset": parsed.preset} | facts))
    else:
        print(_table(parsed, result, time.perf_counter() - began))
    return 0


def _table(args: PlanArgs, result: Any, seconds: float) -> str:
    """The plan as lines."""
    gb, computing, moving = 1e9, 1e3 * result.compute_seconds, 1e3 * result.memory_seconds
    reduced = [one for one in result.collectives if one.gradients]
    kinds = sorted({one.kind for one in result.collectives})
    exchanged = [
        f"{sum(one.kind == kind for one in result.collectives)} {kind} of "
        f"{sum(one.bytes for one in result.collectives if one.kind == kind) / 1e6:,.2f} MB"
        for kind in kinds
    ]
    rows = {
        "memory": f"{result.needed / gb:.2f} of {result.available / gb:.2f} GB, {result.temporaries / gb:.2f} of them "
        f"temporaries; {(result.available - result.needed) / gb:.2f} GB left",
        "work": f"{result.flops / 1e12:.3f} TFLOP and {result.moved / gb:.2f} GB of HBM traffic per step; arithmetic "
        f"intensity {result.flops / result.moved:.1f} FLOP/byte",
        "roofline": f"{computing:.2f} ms at peak FLOP/s, {moving:.2f} ms at peak bandwidth; the longer is the bound",
        "at most": f"{result.images_per_second:,.0f} images/s on {result.chips} chips",
        "exchange": f"{', '.join(exchanged) or 'nothing'}; the kernels' gradients in {len(reduced)} of them, "
        f"{sum(one.bytes for one in reduced) / 1e6:,.2f} MB",
        "padding": f"{result.padding:.1%} of the matrix units' work; most in "
        + ", ".join(f"{name} {share:.1%}" for name, share in result.padded[:3]),
    }
    head = (
        f"{args.preset}, {args.config.model.name} in {args.config.precision}, on {result.target}: {result.batch} "
        f"images a chip, {result.batch * result.chips:,} in all; compiled in {seconds:.0f} s. Of one chip:"
    )
    last = "Peaks are those published for dense bfloat16; nothing was run."
    return "\n".join([head, *(f"{name:10} {text}" for name, text in rows.items()), last])
