"""`fcnn predict`: the classes of images."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.cli.parse import PresetFile, parse
from fcnn.runtime.ready import get_ready
from fcnn.utils.errors import UserError
from fcnn.utils.text import printable


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictArgs:
    """Classify images with a run's best checkpoint or an exported network. Images are preprocessed as in training.
    Images that can't be read are reported and skipped."""

    network: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORKDIR|EXPORT|NAME")]
    """A run's folder, a .safetensors, .onnx or .stablehlo file written by fcnn, or a name from `fcnn zoo`."""
    images: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...", help_behavior_hint="(required)")
    ]
    """Image files, in any format that Pillow reads; folders, including their subfolders; patterns like
    'photos/**/*.jpg'; - for a list on standard input, one path per line."""
    top: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    """Number of classes to print, the most likely first."""
    threshold: Annotated[float, tyro.conf.arg(metavar="P")] = 0.0
    """Answer "unsure" if the probability of the most likely class is below this."""
    coverage: Annotated[float | None, tyro.conf.arg(metavar="FRACTION")] = None
    """Print a set of classes that contains the true class with about this probability, such as 0.95 (conformal
    prediction): on average over images like those that the run was calibrated on, not for each class; approximate, as
    these images were used for other choices, too."""
    tta: bool = False
    """Test-time augmentation: average the probabilities of each image and its mirror image; takes twice as long."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write a table with a row for each image; - writes it to standard output."""
    json: bool = False
    """Print the predictions as one JSON object on standard output."""
    sort_into: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Make a folder for each predicted class with links to its images, or copies if links are not possible. DIR must be
    empty or written by this option; nothing is overwritten."""
    preset: PresetFile = None
    """Preset file of a run with its own model or data set."""


def predict_command(args: list[str]) -> int:
    """`fcnn predict WORKDIR|EXPORT IMAGE... [--top 5] [--csv FILE] [--json]`; 1 if an image couldn't be read."""
    parsed = parse(PredictArgs, args, "fcnn predict")
    _check(parsed)

    names = parsed.images or (("-",) if sys.stdin is not None and not sys.stdin.isatty() else ())
    if names:
        get_ready()
    files = _files(names, parsed.sort_into)

    from fcnn.calibration import threshold_for
    from fcnn.cli.predictions import answer_of, csv_text, print_line, summary
    from fcnn.inference.predict import load_classifier, predict
    from fcnn.inference.sort_into import SortedFolder
    from fcnn.report import Console

    console = Console(stderr=True)
    module = _module(parsed)
    info, classify = load_classifier(parsed.network, log=lambda note: console.log(f"fcnn: {note}"), module=module)
    if info.weights is not None and not parsed.json:
        from fcnn.report.records import WEIGHTS

        console.log(f"Using the {WEIGHTS[info.weights]} of {parsed.network}")
    if parsed.coverage is not None:  # refused before anything is written
        threshold_for(info.calibration.thresholds, parsed.coverage, info.calibration.images)
    folder = None if parsed.sort_into is None else SortedFolder(parsed.sort_into)
    lines = not (parsed.json or parsed.csv or parsed.sort_into)
    answers = predict(
        info,
        classify,
        files,
        top=parsed.top,
        threshold=parsed.threshold,
        coverage=parsed.coverage,
        tta=parsed.tta,
    )
    # A progress line in a terminal would be mixed with lines there.
    shown = answers if lines and sys.stdout.isatty() else console.progress(answers, "classifying", len(files))
    predictions: list[dict[str, Any]] = []
    for prediction in shown:
        predictions.append(prediction)
        if "error" in prediction:
            if not parsed.json:
                console.log(f"fcnn: {printable(prediction['image'])}: {prediction['error']}")
        elif folder is not None:
            folder.add(Path(prediction["image"]), answer_of(prediction))
        if lines and "error" not in prediction:
            print_line(prediction)
    if parsed.json:
        print(json.dumps({"network": parsed.network, "weights": info.weights, "predictions": predictions}))
    if parsed.csv is not None:
        _write_csv(parsed.csv, csv_text(predictions, min(parsed.top, len(info.classes))))
    for place in (parsed.csv, parsed.sort_into):
        if place is not None and str(place) != "-":
            printed = parsed.json or str(parsed.csv) == "-"
            text = f"{printable(str(place))}: {summary(predictions)}"
            print(text, file=sys.stderr if printed else sys.stdout)
    return 1 if any("error" in prediction for prediction in predictions) else 0


def _check(args: PredictArgs) -> None:
    """Raises UserError for options that make no sense, before anything is loaded."""
    if args.top < 1:
        raise UserError(f"--top must be at least 1, got {args.top}")
    if not 0 <= args.threshold <= 1:
        raise UserError(f"--threshold must be from 0 to 1, got {args.threshold:g}")
    if args.json and str(args.csv) == "-":
        raise UserError("--json and --csv - both write to standard output; give --csv a file")
    if args.tta and args.coverage is not None:
        raise UserError("--coverage holds for one look at each image; leave --tta out")
    if args.csv is not None and args.csv.is_dir():
        raise UserError(f"--csv {args.csv} is a folder; give the name of a file")


def _files(names: Sequence[str], skip: Path | None) -> list[Path]:
    """Returns the images that are named; UserError without any."""
    files: list[Path] = []
    if names:
        from fcnn.inference.paths import image_files

        files = image_files(names, skip=skip)
    if not files:
        raise UserError("fcnn predict needs an image: fcnn predict WORKDIR|EXPORT IMAGE...")
    return files


def _module(args: PredictArgs) -> Any:
    """Returns the user's own Linen module, if a preset defines it."""
    if args.preset is None:
        return None

    from fcnn.training.overrides import Overrides

    return Overrides.of_network(args.preset, args.network).model


def _write_csv(path: Path, text: str) -> None:
    from fcnn.utils.files import write_bytes

    if str(path) == "-":
        sys.stdout.write(text)
    else:
        write_bytes(path, text.encode())
