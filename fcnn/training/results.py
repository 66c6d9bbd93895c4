"""What a run ends with: its records, curves and report. Where a picture can't be drawn, the run has its result all the
same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fcnn.distributed import processes
from fcnn.report import Console, draw_curves, read_records, write_page
from fcnn.report.curves import FILE as CURVES
from fcnn.report.files import drawing
from fcnn.report.fit import curve
from fcnn.report.page import FILE as PAGE
from fcnn.report.records import Record
from fcnn.training.notes import model_name
from fcnn.training.predictions import describe
from fcnn.training.setup import TrainSetup


def write_curves(setup: TrainSetup, workdir: Path, console: Console, best_step: int | None) -> None:
    """Draws losses and accuracies by epoch; `best_step` is marked."""
    with drawing(CURVES, console.log):
        if processes.is_first():
            smoothed = setup.config.optim.label_smoothing > 0
            draw_curves(workdir, f"{model_name(setup)} on {setup.dataset.name}", best_step, smoothed=smoothed)


def write_report(setup: TrainSetup, workdir: Path, console: Console, variables: Any, best_step: int | None) -> None:
    """Writes the HTML page of a run with the weights that its results are of, on the devices."""
    with drawing(PAGE, console.log):
        data = describe(setup, variables, best_step)
        if processes.is_first():
            write_page(workdir, data)


def test_record(workdir: Path, step: int) -> Record | None:
    """Returns the test record of a run that ended at a step, without its time: the same run has the same result."""
    records = (r for r in read_records(workdir) if r["kind"] == "test" and r["step"] == step)
    return next(({name: value for name, value in record.items() if name != "time"} for record in records), None)


def best_of(records: Sequence[Record]) -> Record:
    """Returns the evaluation on validation with the best accuracy, the latest of equals."""
    return max(curve(records, "validation"), key=lambda r: (r["top1"], r["step"]))
