"""What a study has found: a table of the best, every trial as CSV, and a scatter for each parameter."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from fcnn.report.console import percent
from fcnn.report.files import png, write_table
from fcnn.search.space import Dimension
from fcnn.utils.files import write_bytes

SHOWN = 10
"""Trials in the table."""
STATES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
COLOURS = {"done": "tab:blue", "pruned": "tab:orange"}


def ranked(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that were trained to their end by validation accuracy, of equals the one with the least loss; then the
    pruned; then the failed."""

    def key(trial: FrozenTrial) -> tuple[Any, ...]:
        best = trial.user_attrs.get("best", {"top1": -1.0, "loss": math.inf})
        return list(STATES).index(trial.state), -best["top1"], best["loss"]

    return sorted(trials, key=key)


def tell(trial: FrozenTrial, space: Sequence[Dimension]) -> str:
    """A trial in a line."""
    values, best = trial.user_attrs.get("values", {}), trial.user_attrs.get("best")
    drawn = ", ".join(f"{d.option} {values.get(d.field)}" for d in space)
    how = f"{STATES[trial.state]} ({trial.user_attrs['note']})" if "note" in trial.user_attrs else STATES[trial.state]
    found = f"validation {percent(best['top1'])} in epoch {best['epoch']:g}, {how}" if best else how
    return f"{trial.user_attrs.get('folder', trial.number)}: {found}; {drawn}"


def table(trials: Sequence[FrozenTrial], space: Sequence[Dimension]) -> list[str]:
    """The best trials, a line each."""
    rows = [["validation", "loss", "epoch", "of", *(d.option for d in space), "", "trial"]]
    rows += [[str(cell) for cell in _row(trial, space)] for trial in ranked(trials)[:SHOWN]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(trial: FrozenTrial, space: Sequence[Dimension]) -> list[Any]:
    values, best = trial.user_attrs.get("values", {}), trial.user_attrs.get("best")
    found = (
        [percent(best["top1"]), f"{best['loss']:.4f}", f"{best['epoch']:g}", f"{best['epochs']:g}"]
        if best
        else ["-"] * 4
    )
    drawn = [values.get(d.field) for d in space]
    return [*found, *drawn, STATES[trial.state], trial.user_attrs.get("folder", trial.number)]


def write_results(folder: Path, trials: Sequence[FrozenTrial], space: Sequence[Dimension]) -> None:
    """`trials.csv`: every trial, the best first; `search.png`: validation accuracy by each parameter."""
    head = ["trial", "state", "top1", "loss", "step", "epoch", "epochs", *(d.option for d in space), "note"]
    rows = []
    for trial in ranked(trials):
        values, best = trial.user_attrs.get("values", {}), trial.user_attrs.get("best", {})
        found = [best.get(name, "") for name in head[2:7]]
        drawn = [values.get(d.field) for d in space]
        where = trial.user_attrs.get("folder", trial.number)
        rows.append([where, STATES[trial.state], *found, *drawn, trial.user_attrs.get("note", "")])
    write_table(folder / "trials.csv", head, rows)
    if drawn := [t for t in trials if "best" in t.user_attrs and STATES[t.state] in COLOURS]:
        write_bytes(folder / "search.png", _scatter(drawn, space))


def _scatter(trials: Sequence[FrozenTrial], space: Sequence[Dimension]) -> bytes:
    from matplotlib.figure import Figure  # slow to import

    across = min(len(space), 3)
    figure = Figure(figsize=(4.5 * across, 3.8 * -(-len(space) // across)), layout="constrained")
    panels = figure.subplots(-(-len(space) // across), across, squeeze=False)
    for axis in panels.flat[len(space) :]:
        axis.set_axis_off()
    for axis, dimension in zip(panels.flat, space, strict=False):
        for state, color in COLOURS.items():
            some = [t for t in trials if STATES[t.state] == state]
            values = [t.user_attrs["values"][dimension.field] for t in some]
            found = [100 * t.user_attrs["best"]["top1"] for t in some]
            axis.scatter(_places(values, dimension), found, color=color, alpha=0.7, label=state)
        if dimension.choices:
            axis.set_xticks(np.arange(len(dimension.choices)), [str(choice) for choice in dimension.choices])
        elif dimension.log:
            axis.set_xscale("log")
        axis.set(xlabel=dimension.option, ylabel="best validation accuracy (%)")
        axis.grid(alpha=0.3)
    panels.flat[0].legend()
    return png(figure)


def _places(values: Sequence[Any], dimension: Dimension) -> list[float]:
    """Where values stand on an axis: choices beside one another."""
    return [dimension.choices.index(v) for v in values] if dimension.choices else [float(v) for v in values]
