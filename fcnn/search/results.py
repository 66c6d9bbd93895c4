"""The results of a study: a table of the best trials, every trial as CSV, a scatter plot for each parameter."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from fcnn.report.console import percent
from fcnn.report.files import new_figure, png, write_table
from fcnn.search.space import Dimension
from fcnn.utils import text
from fcnn.utils.files import write_bytes
from fcnn.utils.text import short

SHOWN = 10
"""Trials in the table."""
STATES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
COLORS = {"done": "tab:blue", "pruned": "tab:orange"}


def ranked(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the completed trials by validation accuracy, equal ones by loss; then the pruned; then the failed."""

    def key(trial: FrozenTrial) -> tuple[Any, ...]:
        best = trial.user_attrs.get("best", {"top1": -1.0, "loss": math.inf})
        return list(STATES).index(trial.state), -best["top1"], best["loss"]

    return sorted(trials, key=key)


def describe(trial: FrozenTrial, space: Sequence[Dimension]) -> str:
    """Returns a trial in a line."""
    values, best, note = (trial.user_attrs.get(name) for name in ("values", "best", "note"))
    drawn = ", ".join(f"{d.option} {(values or {}).get(d.field)}" for d in space)
    state = f"{STATES[trial.state]} ({note})" if note is not None else STATES[trial.state]
    result = f"validation {percent(best['top1'])} in epoch {short(best['epoch'])}, {state}" if best else state
    return f"{_name(trial)}: {result}; {drawn}"


def _name(trial: FrozenTrial) -> Any:
    return trial.user_attrs.get("folder", trial.number)


def table(trials: Sequence[FrozenTrial], space: Sequence[Dimension]) -> str:
    """Returns the best trials, a line each."""
    rows = [["validation", "loss", "epoch", "of", *(d.option for d in space), "", "trial"]]
    rows += [[str(cell) for cell in _row(trial, space)] for trial in ranked(trials)[:SHOWN]]
    return text.table(rows, left=0)


def _row(trial: FrozenTrial, space: Sequence[Dimension]) -> list[Any]:
    values, best = trial.user_attrs.get("values", {}), trial.user_attrs.get("best")
    metrics = ["-"] * 4
    if best:
        metrics = [percent(best["top1"]), f"{best['loss']:.4f}", short(best["epoch"]), f"{best['epochs']:g}"]
    return [*metrics, *(values.get(d.field) for d in space), STATES[trial.state], _name(trial)]


def write_results(folder: Path, trials: Sequence[FrozenTrial], space: Sequence[Dimension]) -> None:
    """Writes `trials.csv`, every trial, the best first, and `search.png`, validation accuracy by each parameter."""
    metrics = ["top1", "loss", "step", "epoch", "epochs"]
    rows = []
    for trial in ranked(trials):
        values, best = trial.user_attrs.get("values", {}), trial.user_attrs.get("best", {})
        numbers = [*(best.get(name, "") for name in metrics), *(values.get(d.field) for d in space)]
        rows.append([_name(trial), STATES[trial.state], *numbers, trial.user_attrs.get("note", "")])
    write_table(folder / "trials.csv", ["trial", "state", *metrics, *(d.option for d in space), "note"], rows)
    if evaluated := [t for t in trials if "best" in t.user_attrs and STATES[t.state] in COLORS]:
        write_bytes(folder / "search.png", _scatter(evaluated, space))


def _scatter(trials: Sequence[FrozenTrial], space: Sequence[Dimension]) -> bytes:
    across = min(len(space), 3)
    down = -(-len(space) // across)
    figure = new_figure(4.5 * across, 3.8 * down)
    panels = figure.subplots(down, across, squeeze=False)
    for axis in panels.flat[len(space) :]:
        axis.set_axis_off()
    for axis, dimension in zip(panels.flat, space, strict=False):
        for state, color in COLORS.items():
            some = [t for t in trials if STATES[t.state] == state]
            values = [t.user_attrs["values"][dimension.field] for t in some]
            accuracy = [100 * t.user_attrs["best"]["top1"] for t in some]
            axis.scatter(_positions(values, dimension), accuracy, color=color, alpha=0.7, label=state)
        if dimension.choices:
            axis.set_xticks(np.arange(len(dimension.choices)), [str(choice) for choice in dimension.choices])
        elif dimension.log:
            axis.set_xscale("log")
        axis.set(xlabel=dimension.option, ylabel="best validation accuracy (%)")
        axis.grid(alpha=0.3)
    panels.flat[0].legend()
    return png(figure)


def _positions(values: Sequence[Any], dimension: Dimension) -> list[float]:
    """Returns where values are on an axis: choices beside one another."""
    return [dimension.choices.index(v) for v in values] if dimension.choices else [float(v) for v in values]
