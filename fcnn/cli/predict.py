"""`fcnn predict`: the classes of images."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.cli.parse import PresetFile, parse
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
    from fcnn.training.overrides import Overrides

    module = Overrides.of_network(parsed.preset, parsed.network).model
    info, logits = load_classifier(
        parsed.network, log=lambda note: print(f"fcnn: {note}", file=sys.stderr), module=module
    )
    if info.weights is not None and not parsed.json:
        print(f"Using the {WEIGHTS[info.weights]} of {parsed.network}", file=sys.stderr)
    predictions = []
    for prediction in predict(info, logits, parsed.images, top=parsed.top):
        predictions.append(prediction)
        if not parsed.json:
            _tell(prediction)
    if parsed.json:
        print(json.dumps({"network": parsed.network, "weights": info.weights, "predictions": predictions}))
    return 1 if any("error" in prediction for prediction in predictions) else 0


def _tell(prediction: dict[str, Any]) -> None:
    from fcnn.utils.text import printable

    name = printable(prediction["image"])
    if "error" in prediction:
        print(f"fcnn: {name}: {prediction['error']}", file=sys.stderr)
        return
    named = ", ".join(f"{one['class']} {100 * one['probability']:.1f} %" for one in prediction["top"])
    print(f"{name}: {named}")
