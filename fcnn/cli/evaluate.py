"""`fcnn evaluate`: the accuracy of a trained network, overall and by class."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fcnn.cli.parse import PresetFile, named_options, parse
from fcnn.config import Config, DataConfig
from fcnn.runtime.ready import get_ready
from fcnn.utils.errors import UserError
from fcnn.utils.text import short, table
from fcnn.zoo import TABLE

MOST_CLASSES = 20
"""With more classes than this, text names only the worst."""
WORST = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataArgs:
    """Other images than those of the run."""

    name: Annotated[str | None, tyro.conf.arg(metavar="folder:PATH|NAME")] = None
    """Any labeled images, as for fcnn train; classes are matched by name. A folder with most of the run's own files
    is treated as the run's data in a new place."""
    manual_dir: str | None = None
    """Folder with the official files of mnist, fashion_mnist, cifar10 or cifar100; downloaded if not given."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Stop at files that can't be read and list them, or skip them."""
    value_range: tuple[float, float] | None = None
    """folder: pixel values of black and white in gray images of more than 8 bits; by default those of the network, or
    the lowest and highest value in the files."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateArgs:
    """Evaluate a trained network on its run's test images or, with --data.name, on any labeled images. A run is
    evaluated at its best checkpoint on validation, or the newest if it has no validation split."""

    network: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORKDIR|FILE|NAME")]
    """A run's folder; with --data.name also a weight file, an exported .onnx or .stablehlo file, or a name from `fcnn
    zoo`."""
    split: Annotated[
        Literal["test", "validation", "train", "all"] | None, tyro.conf.arg(metavar="{test,validation,train,all}")
    ] = None
    """Split to evaluate; test by default. With --data.name: test if the data set has one, else validation, else all."""
    data: DataArgs = dataclasses.field(default_factory=DataArgs)
    preset: PresetFile = None
    """Preset file of a run with its own model or data set."""
    json: bool = False
    """Print the result as one JSON object on standard output; everything else goes to standard error."""


def evaluate_command(args: list[str]) -> int:
    """`fcnn evaluate WORKDIR|FILE|NAME [--split test] [--data.name folder:PATH|NAME] [--json]`."""
    parsed = parse(EvaluateArgs, args, "fcnn evaluate")

    from fcnn.training import workdir

    # Wrong arguments are reported before jax is imported.
    run = _run(parsed.network)
    data = _data(parsed.data)
    if data is None:
        if run is None and (parsed.network in TABLE or Path(parsed.network).expanduser().is_file()):
            raise UserError(f"{parsed.network} is not a run: give its images with --data.name")
        workdir.read_config(run or Path(parsed.network))
    get_ready()

    from fcnn.inference.evaluate import evaluate_images, is_of_run
    from fcnn.report import Console
    from fcnn.report.records import WEIGHTS
    from fcnn.training.evaluate import evaluate
    from fcnn.training.overrides import Overrides

    console = Console(stderr=parsed.json)
    overrides = Overrides.of_network(parsed.preset, parsed.network)
    own = run is not None and (data is None or is_of_run(run, data, console))
    if own and run is not None and parsed.split != "all":
        if named := sorted(named_options(args) & {"data.on_bad_image", "data.value_range"}):
            option = named[0].replace("_", "-")
            raise UserError(f"--{option} has no effect: these are the run's own images, read as in training")
        config = workdir.read_config(run)
        moved = (
            None
            if data is None
            else dataclasses.replace(config.data, name=data.name, manual_dir=data.manual_dir or config.data.manual_dir)
        )
        metrics = evaluate(run, parsed.split or "test", console, data=moved, overrides=overrides)
        metrics = {"workdir": str(run)} | metrics
        averages = config.averages_weights
    else:
        data = data or workdir.read_config(Path(parsed.network)).data
        metrics = evaluate_images(parsed.network, data, parsed.split, console, module=overrides.model)
        averages = metrics["weights"] is not None
    if parsed.json:
        print(json.dumps(metrics))
        return 0
    for line in _lines(metrics, f", {WEIGHTS[metrics['weights']]}" if averages else ""):
        console.log(line)
    report: Any = metrics.get("calibration")
    for line in _calibration_lines(report, parsed.split or "test") if report else ():
        console.log(line)
    console.log(class_table(metrics))
    if report:
        console.log(_reliability_table(report))
    return 0


def _run(network: str) -> Path | None:
    """The folder of the run that is meant; None if it isn't one."""
    path = Path(network).expanduser()
    return path if path.is_dir() and network not in TABLE else None


def _data(args: DataArgs) -> DataConfig | None:
    """The images that are named, a folder by its absolute path."""
    from fcnn.training import workdir

    if args.name is None:
        if args != DataArgs():
            raise UserError("--data.manual-dir, --data.on-bad-image and --data.value-range go with --data.name")
        return None
    try:
        data = DataConfig(**dataclasses.asdict(args))
    except ValueError as error:
        raise UserError(str(error)) from None
    return workdir.resolved(Config(data=data)).data


def _lines(metrics: dict[str, Any], weights: str) -> list[str]:
    """Returns the result in words; `weights` names the network's where it had a choice."""
    low, high = metrics["interval"]
    numbers = (
        f"{100 * metrics['top1']:.2f} % (95 % CI {100 * low:.2f} to {100 * high:.2f} %), "
        f"top-5 {100 * metrics['top5']:.2f} %, loss {metrics['loss']:.4f}"
    )
    if "workdir" in metrics:
        result = (
            f"{metrics['split']} split, {metrics['count']} images, state of epoch {short(metrics['epoch'])}{weights}"
        )
        return [f"{result}: top-1 {numbers}"]
    images = "all" if metrics["split"] == "all" else f"{metrics['split']} split,"
    few, many = metrics["num_classes"], metrics["network_classes"]
    among = "" if few == many else f" among the {few:,} classes of this data"
    lines = [f"{metrics['data']}, {images} {metrics['count']:,} images{weights}: top-1{among} {numbers}"]
    if few < many:
        lines.append(f"Among all {many:,} classes of the network: top-1 {100 * metrics['top1_all_classes']:.2f} %")
    if metrics["trained_on"]:
        lines.append(f"Note: the run was trained on {metrics['trained_on']:,} of these {metrics['count']:,} images.")
    return lines


def class_table(metrics: dict[str, Any]) -> str:
    """Return precision, recall and F1 of each class, or of those with the lowest recall if there are many, and their
    means, as lines.

    Args:
      metrics: with "precision", "recall", "f1" {class: share or None}, "images" {class: count} and "macro" {metric:
        mean}.
    """
    images, shares = metrics["images"], ("precision", "recall", "f1")
    head, names = "class", list(images)
    if len(names) > MOST_CLASSES:
        head = f"worst {WORST} of {len(names)} classes"
        names = sorted((name for name in names if images[name]), key=lambda name: metrics["recall"][name])[:WORST]
    rows = [[name, *(_share(metrics[share][name]) for share in shares), f"{images[name]}"] for name in names]
    mean = ["mean of all classes", *(_share(metrics["macro"][share]) for share in shares), f"{sum(images.values())}"]
    return table([[head, "precision", "recall", "F1", "images"], *rows, mean])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _reliability_table(report: dict[str, Any]) -> str:
    """Returns the accuracy of the predictions by their calibrated probability."""
    bins = [part for part in report["reliability"]["after"] if part.count]
    rows = [[f"{100 * part.confidence:.1f} %", f"{100 * part.accuracy:.1f} %", f"{part.count:,}"] for part in bins]
    return table([["probability", "accuracy", "images"], *rows])


def _calibration_lines(report: dict[str, Any], split: str) -> list[str]:
    """Returns how well the probabilities are calibrated, and the sets."""
    lines = [
        f"Expected calibration error: {100 * report['error_before']:.2f} %, calibrated {100 * report['error']:.2f} % "
        f"(temperature {report['temperature']:.2f})",
        f"A perfectly calibrated model would have about {100 * report['error_floor']:.2f} % on "
        f"{report['images']:,} images",
    ]
    if (coverage := report["coverage"]) is not None:
        lines.append(
            f"{100 * coverage:g} % prediction sets: mean size {report['set_size']:.2f}, "
            f"coverage {100 * report['covered']:.1f} %"
        )
    if "false_alarms" in report:
        lines.append(f"None of these: {100 * report['false_alarms']:.1f} % false alarms")
    if report.get("fitted_on") == split:
        lines.append("Note: the calibration was fitted on these images; the test split tells how good it is.")
    return lines
