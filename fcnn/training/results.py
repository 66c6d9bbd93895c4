"""What a run ends with: its records, curves and report. Where a picture can't be drawn, the run has its result all the
same."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fcnn.distributed import processes
from fcnn.report import Console, draw_curves, read_records, write_page
from fcnn.report.curves import FILE as CURVES
from fcnn.report.files import drawing
from fcnn.report.fit import curve
from fcnn.report.page import FILE as PAGE
from fcnn.report.records import Record, rank
from fcnn.training.calibrate import calibrate_run, held_out_split
from fcnn.training.evaluate import BestWeights
from fcnn.training.held_out import HeldOut, write_held_out
from fcnn.training.notes import model_name
from fcnn.training.predictions import cross_validated, describe, predict_split
from fcnn.training.setup import TrainSetup


def write_curves(setup: TrainSetup, workdir: Path, console: Console, best_step: int | None) -> None:
    """Draws losses and accuracies by epoch; `best_step` is marked."""
    with drawing(CURVES, console.log):
        if processes.is_first():
            smoothed = setup.config.optim.label_smoothing > 0
            draw_curves(workdir, f"{model_name(setup)} on {setup.dataset.name}", best_step, smoothed=smoothed)


def write_report(setup: TrainSetup, workdir: Path, console: Console, best: BestWeights, best_step: int | None) -> None:
    """Writes what the weights that a run's results are of say about validation, their calibration, and the HTML page.

    Where they are a linear probe, `held_out.npz` keeps what was written when the probe was fitted.
    """
    data = setup.dataset
    predictions = predict_split(setup, best.variables, data.validation) if len(data.validation) else None
    if predictions is not None and held_out_split(setup, best) == "validation":
        paths = np.asarray(data.paths("validation"))[predictions.indices]
        write_held_out(workdir, HeldOut(predictions.logits, predictions.split.labels, paths))
    calibrate_run(setup, workdir, best, console.log)
    split = "validation"
    if predictions is None:
        predictions, split = cross_validated(setup, workdir, best.step), "train"
    with drawing(PAGE, console.log):
        page = describe(setup, best.variables, best_step, predictions, split)
        if processes.is_first():
            write_page(workdir, page)
    start = "the linear probe" if setup.starts_from_probe else "the network that it started from"
    if setup.compares_start and (verdict := start_verdict(read_records(workdir), start)):
        console.log(verdict)


def start_verdict(records: Sequence[Record], start: str) -> str | None:
    """Returns whether fine-tuning was better than what a run started from, called `start`; None if they weren't
    compared."""
    validations = curve(records, "validation")
    if len(validations) < 2 or validations[0]["step"] > 0:
        return None
    before, best = validations[0], best_of(records)
    if best["step"] == 0:
        other = max(validations[1:], key=rank)
        return (
            f"Fine-tuning did not help: {_share(other)} of the validation images are right, {_share(before)} with "
            f"{start}, which is kept."
        )
    if best["top1"] == before["top1"]:
        return (
            f"Fine-tuning left the validation accuracy at {_share(best)} and lowered the loss from "
            f"{before['loss']:.3f} to {best['loss']:.3f}: the fine-tuned network is kept."
        )
    return f"Fine-tuning raised the validation accuracy from {_share(before)} ({start}) to {_share(best)}."


def _share(record: Record) -> str:
    return f"{100 * record['top1']:.1f} %"


def test_record(workdir: Path, step: int) -> Record | None:
    """Returns the test record of a run that ended at a step, without its time: the same run has the same result."""
    records = (r for r in read_records(workdir) if r["kind"] == "test" and r["step"] == step)
    return next(({name: value for name, value in record.items() if name != "time"} for record in records), None)


def best_of(records: Sequence[Record]) -> Record:
    """Returns the evaluation on validation that is best (`records.rank`), the latest of equals."""
    return max(curve(records, "validation"), key=lambda r: (rank(r), r["step"]))
