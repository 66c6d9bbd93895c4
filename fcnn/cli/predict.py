"""`fcnn predict`: the classes of images."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.cli.own import PresetFile, own_parts
from fcnn.cli.parse import parse
from fcnn.runtime.ready import get_ready
from fcnn.utils.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictArgs:
    """Classify images with a run's best checkpoint, or with an export. Images are preprocessed as in training. An image
    that can't be read is reported, and the others are still classified."""

    network: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORKDIR|EXPORT|NAME")]
    """A run's folder, a .safetensors file or .stablehlo program written by fcnn, or a name from `fcnn zoo`."""
    images: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...", help_behavior_hint="(required)")
    ]
    """Image files, in any format that Pillow reads."""
    top: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    """Number of classes to print, the most likely first."""
    preset: PresetFile = None
    """Preset file of a run with its own model or data set."""
    json: bool = False
    """Print the predictions as one JSON object on standard output."""


def predict_command(args: list[str]) -> int:
    """`fcnn predict WORKDIR|EXPORT IMAGE... [--top 5] [--json]`; 1 if an image couldn't be read."""
    parsed = parse(PredictArgs, args, "fcnn predict")
    if parsed.top < 1:
        raise UserError(f"--top must be at least 1, got {parsed.top}")
    if not parsed.images:
        raise UserError("fcnn predict needs an image: fcnn predict WORKDIR|EXPORT IMAGE...")
    get_ready()

    from fcnn.inference.predict import load_classifier, predict
    from fcnn.report.records import WEIGHTS

    module = own_parts(parsed.preset, parsed.network).model
    about, logits = load_classifier(
        parsed.network, log=lambda note: print(f"fcnn: {note}", file=sys.stderr), module=module
    )
    if about.weights is not None and not parsed.json:
        print(f"By the {WEIGHTS[about.weights]} of {parsed.network}", file=sys.stderr)
    answers = []
    for answer in predict(about, logits, parsed.images, top=parsed.top):
        answers.append(answer)
        if not parsed.json:
            _tell(answer)
    if parsed.json:
        print(json.dumps({"network": parsed.network, "weights": about.weights, "predictions": answers}))
    return 1 if any("error" in answer for answer in answers) else 0


def _tell(answer: dict[str, Any]) -> None:
    from fcnn.utils.text import printable

    name = printable(answer["image"])
    if "error" in answer:
        print(f"fcnn: {name}: {answer['error']}", file=sys.stderr)
        return
    named = ", ".join(f"{one['class']} {100 * one['probability']:.1f} %" for one in answer["top"])
    print(f"{name}: {named}")
