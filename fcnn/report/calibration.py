"""What a run's page says about its probabilities: how far they can be trusted, sets of classes, "none of these"."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fcnn.calibration.unknown import FALSE_ALARMS
from fcnn.report.files import new_figure, png
from fcnn.utils.errors import UserError
from fcnn.utils.html import items, paragraph, picture, wide
from fcnn.utils.json_file import read_json

FILE = "calibration.json"


def write_calibration(workdir: Path) -> str | None:
    """Returns it as HTML; None where a run is not calibrated, or its file is damaged."""
    try:
        values = read_json(workdir / FILE)
        report, known = values["held_out"], values["calibration"]["least_similarity"] is not None
        return _text(report) + _diagram(report["reliability"], report["images"]) + items(_sentences(report, known))
    except (UserError, ValueError, TypeError, KeyError):
        return None


def _text(report: dict[str, Any]) -> str:
    return paragraph(
        f"Of the answers that have a probability of 80 %, 80 % should be right. On {report['images']:,} images that "
        f"the network was not fitted to, probability and truth are {100 * report['error']:.1f} points apart on average "
        f"(expected calibration error); a perfectly calibrated model would have about "
        f"{100 * report['error_floor']:.1f} points with so many images. Without calibration, which divides the "
        f"logits by {report['temperature']:.2f}, it would be {100 * report['error_before']:.1f} points. Each half of "
        "the images is measured with a calibration that was fitted to the other half."
    )


def _sentences(report: dict[str, Any], known: bool) -> list[str]:
    """Returns what `fcnn predict` makes of it."""
    sentences = []
    if (coverage := report["coverage"]) is not None:
        sentences.append(
            f"fcnn predict --coverage {coverage:g} prints the classes that are possible, {report['set_size']:.2f} on "
            f"average: {100 * report['covered']:.1f} % of these images have theirs among them."
        )
    if known:
        sentences.append(
            'fcnn predict answers "none of these" where an image is like none of the classes, and by mistake for about '
            f"{100 * FALSE_ALARMS:g} % of the images that are of one."
        )
    return sentences


def _diagram(bins: dict[str, Sequence[Sequence[float]]], count: int) -> str:
    """Draws the reliability diagram, and how many images have which probability.

    Args:
      bins: "before" and "after" calibration, (images, their mean probability, the share that is right) of each bin.
    """
    figure = new_figure(10, 4)
    curves, counts = figure.subplots(1, 2)
    curves.plot([0, 100], [0, 100], ":", color="tab:green", label="as it should be")
    for name, color in (("before", "tab:gray"), ("after", "tab:blue")):
        points = [(100 * confidence, 100 * right) for images, confidence, right in bins[name] if images]
        curves.plot(*zip(*points, strict=True), ".-", color=color, label=f"{name} calibration")
    curves.set(xlabel="probability of the answer (%)", ylabel="answers that are right (%)")
    curves.legend()
    width = 100 / len(bins["after"])
    edges = [width * (i + 0.5) for i in range(len(bins["after"]))]
    counts.bar(edges, [images for images, _, _ in bins["after"]], width=0.9 * width, color="tab:blue")
    counts.set(xlabel="probability of the answer (%)", ylabel="images", xlim=(0, 100))
    for axes in (curves, counts):
        axes.grid(alpha=0.3)
    words = f"Reliability diagram of {count:,} images: the share of right answers by their probability."
    return wide(picture(png(figure), words))
