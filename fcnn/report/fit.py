"""Whether a run overfits or underfits, and whether its averaged weights lag, in a sentence, from its curves."""

import itertools
from collections.abc import Sequence

from fcnn.report.records import Record, better, rank
from fcnn.utils.text import short

GAP = 0.05
"""Difference of the accuracies, training less validation, that is worth a note."""
RISE = 1.15
"""Times its least that the validation loss must reach by the end to be called rising."""
LAG = 0.05
"""Difference of the accuracies, raw less averaged weights, that is worth a note."""
HIGH = 0.97
"""Accuracy, on either split, above which there is little left to learn."""


def curve(records: Sequence[Record], split: str) -> list[Record]:
    """Returns the epochs of a split, in order; where a run averages its weights, the better of the two at each."""
    rows = [r for r in records if r["kind"] == "epoch" and r["split"] == split]
    return [better(list(pair)) for _, pair in itertools.groupby(rows, key=lambda r: r["step"])]


def out_of_patience(validations: Sequence[Record], steps: float) -> bool:
    """Whether the last so many steps brought no higher validation accuracy.

    Args:
      validations: as `curve` returns them.
      steps: the patience.
    """
    best = max(validations, key=lambda r: (r["top1"], -r["step"]), default=None)
    return best is not None and validations[-1]["step"] - best["step"] >= steps


def lag(records: Sequence[Record], decay: float) -> str | None:
    """Returns what to do if the averaged weights are far behind the raw ones in one evaluation, else None."""
    top1 = {record["weights"]: record["top1"] for record in records}
    if "ema" not in top1 or top1["raw"] - top1["ema"] <= LAG:
        return None
    return (
        f"The averaged weights lag behind the raw ones on validation, {100 * top1['ema']:.2f} against "
        f"{100 * top1['raw']:.2f} %: lower --train.ema-decay (it is {decay:g}) or train longer."
    )


def fit(records: Sequence[Record]) -> str:
    """Returns whether a run over- or underfits, and what to try.

    The training numbers are those of images as they were trained on, augmented and with dropout: a network may look
    worse on them than on validation.
    """
    train, validation = curve(records, "train"), curve(records, "validation")
    if len(train) < 2:
        return "The run is too short to distinguish overfitting from underfitting: train for more epochs."
    if not validation:
        return "No validation split was held out, so overfitting cannot be judged: set --data.val-fraction 0.1."
    last, best = train[-1], max(validation, key=lambda r: (rank(r), r["step"]))
    gap = last["top1"] - validation[-1]["top1"]
    least = min(r["loss"] for r in validation)
    rises = validation[-1]["loss"] > RISE * least
    numbers = (
        f"at the end the training accuracy is {100 * last['top1']:.1f} %, that of validation "
        f"{100 * validation[-1]['top1']:.1f} % (its best {100 * best['top1']:.1f} % in epoch {short(best['epoch'])})"
    )
    if gap > GAP or (rises and last["loss"] < validation[-1]["loss"]):
        loss = ", and the validation loss rises again" if rises else ""
        return (
            f"Overfitting: {numbers}{loss}. Try more images or augmentation, more --optim.weight-decay, "
            "--model.dropout or a smaller network; stopping earlier alone keeps the best."
        )
    if max(last["top1"], best["top1"]) < HIGH:
        tail = train[-max(len(train) // 5, 2)]
        falling = last["loss"] < 0.97 * tail["loss"]
        more = (
            "training longer or a higher --optim.learning-rate, as the loss was still falling"
            if falling
            else "a larger network or another learning rate"
        )
        return (
            f"Underfitting: {numbers}, and the training images themselves aren't learned. Try {more}; or augment less."
        )
    return f"Neither over- nor underfitting: {numbers}. What is left is likely in images and labels: see its mistakes."
