"""`fcnn models` and `fcnn summary`: the architectures, and one layer by layer."""

import dataclasses
import fnmatch
import json
from typing import Annotated, Any

import tyro

from fcnn import registry
from fcnn.cli.parse import parse
from fcnn.utils.errors import UserError, unknown
from fcnn.utils.text import table

MAX_SIZE = 4096
"""Pixels a side of the images that an architecture is described for, as of those that a network is used with."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelsArgs:
    """List the architectures: image size, parameters, multiply-adds, the most accurate pretrained weights, paper."""

    pattern: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[PATTERN]")] = "*"
    """Names to list, such as 'resnet*'."""
    json: bool = False
    """Print the list as one JSON object on standard output."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SummaryArgs:
    """Print a network layer by layer: output shape, parameters, multiply-adds, memory of the output, receptive field
    and stride, for one image in evaluation."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The architecture; `fcnn models` lists them."""
    image_size: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Height and width of the images in pixels; the paper's by default."""
    json: bool = False
    """Print rows and totals as one JSON object on standard output."""


def models_command(args: list[str]) -> int:
    """`fcnn models [PATTERN] [--json]`."""
    parsed = parse(ModelsArgs, args, "fcnn models")
    names = fnmatch.filter(registry.MODELS, parsed.pattern)
    if not names:
        raise UserError(unknown("model", parsed.pattern, registry.MODELS))

    rows = [_facts(name) for name in names]
    if parsed.json:
        print(json.dumps({"models": rows}))
        return 0
    longest = max(len(row["paper"]) for row in rows)  # this column is to the left
    lines = [("", "image", "classes", "M params", "G mult-adds", "weights", "top-1", f"{'paper':{longest}}")]
    for row in rows:
        best = max(row["weights"], key=lambda weights: weights["accuracy"], default=None)
        lines.append(
            (
                row["name"],
                "x".join(map(str, row["image_shape"])),
                str(row["classes"]),
                f"{row['parameters'] / 1e6:.2f}",
                f"{row['multiply_adds'] / 1e9:.2f}",
                best["name"] if best else "",
                f"{best['accuracy']:.1%}" if best else "",
                f"{row['paper']:{longest}}",
            )
        )
    print(table(lines, left=1))
    print(
        "\nParameters (millions) and multiply-adds (billions) are for one image of this size. Weights are the most "
        "accurate of\nfcnn zoo, as published. fcnn summary NAME lists the layers; fcnn train --config PRESET "
        "--model.name NAME trains."
    )
    return 0


def _facts(name: str) -> dict[str, Any]:
    """Returns what is known of an architecture, plain values."""
    from fcnn import models, zoo
    from fcnn.models.counts import counts

    family = models.family(name)
    entries = [entry for entry in zoo.TABLE.values() if entry.model.name == name]
    return {
        "name": name,
        "image_shape": models.preset_fields(name).get("image_shape", family.image_shape),
        "classes": family.classes,
        **counts(name)._asdict(),
        "weights": [{"name": e.name, "source": e.source, "accuracy": e.accuracy} for e in entries],
        "paper": family.paper,
        "options": list(models.options(name)),
    }


def summary_command(args: list[str]) -> int:
    """`fcnn summary NAME [--image-size N] [--json]`."""
    parsed = parse(SummaryArgs, args, "fcnn summary")
    if parsed.model not in registry.MODELS:
        raise UserError(unknown("model", parsed.model, registry.MODELS))
    if parsed.image_size is not None and not 1 <= parsed.image_size <= MAX_SIZE:
        least_or_most = "at least 1" if parsed.image_size < 1 else f"at most {MAX_SIZE:,}"
        raise UserError(f"--image-size must be {least_or_most}, got {parsed.image_size}")

    from fcnn import models
    from fcnn.models.summary import summarize

    model = models.create(parsed.model, num_classes=models.family(parsed.model).classes)
    height, width, channels = model.image_shape
    shape = (parsed.image_size or height, parsed.image_size or width, channels)
    rows = summarize(model, shape)
    totals: dict[str, Any] = {
        "model": parsed.model,
        "image_shape": shape,
        "classes": model.num_classes,
        "parameters": rows.parameters,
        "multiply_adds": rows.multiply_adds,
        "bytes": rows.bytes,
    }
    if parsed.json:
        print(json.dumps(totals | {"layers": [dataclasses.asdict(row) for row in rows]}))
    else:
        _print_summary(rows, totals)
    return 0


def _print_summary(rows: list[Any], totals: dict[str, Any]) -> None:
    """Layers as lines; an endpoint stands below what it is made of, marked with an arrow."""

    def size(pair: tuple[int, int] | None) -> str:
        return "" if pair is None else str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"

    lines = [("layer", "type", "output", "parameters", "multiply-adds", "kB", "field", "stride")]
    for row in rows:
        shape, field = "x".join(map(str, row.shape)), size(row.field) or "all"
        if row.type:
            work, memory = f"{row.multiply_adds:,}" if row.multiply_adds else "", f"{row.bytes / 1000:,.1f}"
            cells = (row.name, row.type, shape, f"{row.parameters:,}", work, memory, field, size(row.stride))
        else:
            cells = (f"> {row.name}", "", shape, "", "", "", field, size(row.stride))
        lines.append(cells)
    print(table(lines, left=2))
    shape = "x".join(map(str, totals["image_shape"]))
    print(
        f"\n{totals['model']}, {totals['classes']} classes, one image of {shape}: {totals['parameters']:,} parameters, "
        f"{totals['multiply_adds'] / 1e9:.3f} G multiply-adds (torchvision's GFLOPs: those of convolutions and dense "
        f"layers alone), {totals['bytes'] / 1e6:,.1f} MB of outputs in float32.\n"
        "field: receptive field in pixels, padding included. >: an endpoint, for features=(...). Auxiliary heads, "
        "which only training has, are left out."
    )
