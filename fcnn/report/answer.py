"""The first lines of a run's page, for a reader who isn't a programmer: how good it is, how sure that is, what to do
next."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fcnn.report.fit import curve, fit
from fcnn.report.records import Record
from fcnn.utils.errors import UserError
from fcnn.utils.html import answer, items
from fcnn.utils.json_file import read_json
from fcnn.utils.text import join, printable

WORSE = 0.05
"""A class whose recall is so far below the accuracy wants attention."""
CLEARLY = 0.8
"""A class with less than this share of the mean number of images has few."""
NAMED = 3
"""Classes that are named, the worst."""
WIDE = 0.1
"""An interval of the accuracy from which on the estimate is called rough."""
FEW = 10
"""Test images of a class below which its recall says nothing."""


def write_answer(workdir: Path, records: Sequence[Record], config: dict[str, Any], *, confusion: bool = False) -> str:
    """Returns the answer as HTML.

    Args:
      workdir: the run's folder, for how many training images each class has.
      records: of the run.
      config: by dotted name.
      confusion: whether the page shows which classes are confused.
    """
    name = str(config.get("data.name", ""))
    word = "photographs" if name.startswith("folder:") else "images"
    test = next((r for r in reversed(records) if r["kind"] == "test"), None)
    if test is None:
        validation = curve(records, "validation")
        if not validation:
            first = answer("Not known yet", "how good it is: nothing has been tested.")
        else:
            share = _of_100(max(record["top1"] for record in validation))
            first = answer(f"About {share} of 100 {word}", "are recognized, of the validation images; not tested yet.")
        return first + items([_longer(records, config, _reason(workdir))])
    low, high = test["interval"]
    rough = f" With so few test {word} this is a rough figure." if high - low > WIDE else ""
    sure = (
        f"Tested on {test['count']:,} {word} that were used for nothing else. Of others of the same kind expect "
        f"between {_of_100(low)} and {_of_100(high)} of 100 (95 % confidence interval).{rough}"
    )
    classes = _classes(test, _training_images(workdir), word, confusion=confusion)
    advice = [*classes, *_labels(name, config), *_more(workdir, word), _longer(records, config, _reason(workdir))]
    return answer(f"About {_of_100(test['top1'])} of 100 {word}", "are recognized.") + items([sure, *advice])


def _of_100(share: float) -> str:
    """Returns a share as a count of 100: a whole number, with a decimal near the ends."""
    percent = 100 * share
    return f"{percent:.1f}" if 0 < percent < 1 or 99 < percent < 100 else f"{percent:.0f}"


def _training_images(workdir: Path) -> dict[str, int]:
    """Returns how many training images each class has; {} if the folder doesn't say it."""
    path = workdir / "data.json"
    if not path.is_file():
        return {}
    facts = read_json(path)
    return dict(zip(facts["classes"], facts["images"]["train"], strict=True))


def _classes(test: Record, train: dict[str, int], word: str, *, confusion: bool) -> list[str]:
    """Returns which classes want more images, if any does; `confusion` is whether the page shows one."""
    recall, images = test.get("recall", {}), test.get("images", {})
    judged = [name for name, share in recall.items() if share is not None and images[name] >= FEW]
    weak = [name for name in sorted(judged, key=lambda name: recall[name]) if recall[name] < test["top1"] - WORSE]
    lines = [
        f"{printable(name)}: {_of_100(recall[name])} of 100" + (f", from {train[name]:,} {word}" if train else "")
        for name in weak
    ]
    few = [name for name in weak[:NAMED] if train and train[name] < CLEARLY * sum(train.values()) / len(train)]
    if len(judged) < 2:
        return [f"There are too few test {word} of each class to compare the classes: {FEW} of each are needed."]
    if not weak:
        some = "All classes" if len(judged) == len(recall) else f"Classes with at least {FEW} test {word}"
        return [f"{some} are recognized about equally well; more {word} of each help all of them."]
    advice = (
        f"More {word} of {join(map(printable, few))} would help most."
        if few
        else f"They don't have fewer {word} than others: look at their labels"
        + (", and below at what they are confused with." if confusion else ".")
    )
    return [f"Recognized least: {join(lines, NAMED)}. {advice}"]


def _labels(name: str, config: dict[str, Any]) -> list[str]:
    """Returns how to look at the labels of a folder."""
    if not name.startswith("folder:"):
        return []
    corrections = config.get("data.corrections")
    options = [] if corrections is None else ["--data.corrections", str(corrections)]
    command = printable(shlex.join(["fcnn", "audit", name.removeprefix("folder:"), *options]))
    return [f"Wrong labels, duplicates and bad photographs are listed by: {command}"]


def _more(workdir: Path, word: str) -> list[str]:
    """Returns what more images would bring, where the run has a learning curve of its linear classifier."""
    try:
        choice = read_json(workdir / "strategy.json")
        (few, before, *_), (many, after, *_) = choice["estimate"]["learning_curve"][-2:]
        gain = round(100 * (after - before), 1)
        more = f"{gain} more of 100 {word}" if gain > 0 else f"no more {word}"
        return [
            f"With {many:,} instead of {few:,} training {word}, a linear classifier on the network's features "
            f"recognizes {more} (cross-validated)."
        ]
    except (UserError, ValueError, TypeError, KeyError):  # none, or of another kind
        return []


def _reason(workdir: Path) -> str:
    """Returns why the run has its strategy; "" if the folder doesn't say it."""
    try:
        return str(read_json(workdir / "strategy.json")["reason"])
    except (UserError, TypeError, KeyError):
        return ""


def _longer(records: Sequence[Record], config: dict[str, Any], reason: str) -> str:
    """Returns whether training longer would help."""
    if config.get("transfer.strategy") == "pretrained":
        if "no time" in reason:
            return "Only the last layer was fitted. Training the others, too, may help: give it more time (--minutes)."
        if "no better" in reason:
            return "Only the last layer was fitted: training the others, too, was no better in cross-validation."
        few = ", as there are few images; more of them may help, or" if "too few" in reason else "; what may help is"
        return f"Only the last layer was fitted{few} training the others, too (--transfer.strategy full)."
    text = fit(records)
    if "training longer" in text:
        return "Training longer may help (--train.epochs): the loss was still falling."
    if text.startswith("The run is too short"):
        return "Whether training longer would help isn't known: there are no curves to judge it by."
    if text.startswith("Overfitting"):
        return "Training longer won't help: it is better on the training images than on others. More images may."
    if text.startswith("Underfitting"):
        return "Training longer won't help: the training images themselves aren't learned. A larger network may."
    if text.startswith("No validation"):
        return "Whether training longer would help isn't known: nothing was held out to judge it by."
    return "Training longer won't help much: training and validation agree."
