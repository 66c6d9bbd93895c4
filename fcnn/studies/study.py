"""What an experiment on a claim is made of: what is measured, what counts as held, the sentence, the figure."""

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fcnn.data import Dataset
from fcnn.data.parallel import Progress

Row = dict[str, Any]
"""A measurement by column: what was varied, the seed, the numbers."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of a study."""

    held: bool
    """Whether the study's criterion is met."""
    reason: str
    """The numbers that say so, as the rest of a sentence."""

    @property
    def sentence(self) -> str:
        """The result in words."""
        return f"The claim {'held' if self.held else 'did not hold'} here: {self.reason}."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(abc.ABC):
    """A claim and a small experiment on it. Its fields are the experiment's size; a subclass writes the three methods.

    All rows of a study have the same columns, of plain numbers and words. `verdict` and `draw` know nothing but rows:
    whatever the numbers are, the sentence follows them.
    """

    claim: ClassVar[str]
    paper: ClassVar[str]
    """Who says so, with the section."""
    criterion: ClassVar[str]
    """When it counts as held, as the rest of a sentence: "the loss of the deepest ..."."""
    keys: ClassVar[tuple[str, ...]]
    """The columns that say what was varied; of the others, but `seed`, the table shows mean and standard deviation."""

    seeds: int = 3
    """How often everything is repeated."""

    def runs(self, seed: int) -> range:
        """The seeds of the repetitions, others for each `seed`."""
        return range(seed * self.seeds, (seed + 1) * self.seeds)

    @abc.abstractmethod
    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        """Runs the experiment and returns its rows; the same seed gives the same ones."""

    @abc.abstractmethod
    def verdict(self, rows: Sequence[Row]) -> Verdict:
        """Compares the rows with the criterion."""

    @abc.abstractmethod
    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        """Draws the rows on a Matplotlib figure of 10 x 4.5 inches."""

    def table_rows(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows of the printed table, perhaps with fewer columns; the file has them all."""
        return rows


def select(rows: Iterable[Row], **conditions: Any) -> list[Row]:
    """The rows whose columns have these values."""
    return [row for row in rows if all(row[name] == value for name, value in conditions.items())]


def pick(rows: Iterable[Row], column: str, **conditions: Any) -> np.ndarray:
    """The values of a column in the rows whose other columns have these values, (rows,)."""
    return np.asarray([row[column] for row in select(rows, **conditions)])


def levels(rows: Iterable[Row], column: str) -> list[Any]:
    """The different values of a column, in the order in which they come."""
    return list(dict.fromkeys(row[column] for row in rows))


def clearly_above(high: np.ndarray, low: np.ndarray) -> bool:
    """Whether the mean of `high` is above that of `low` by more than two standard errors of the difference."""
    return bool(high.mean() - low.mean() > 2 * np.hypot(standard_error(high), standard_error(low)))


def standard_error(values: np.ndarray) -> float:
    """Of the mean of (n,) values; 0 if there is one alone."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def percent(values: np.ndarray) -> str:
    """Shares as "97.2 ± 0.4 %", mean and standard deviation."""
    return f"{mean_and_std(100 * values, '.1f')} %"


def mean_and_std(values: np.ndarray, form: str = ".3g") -> str:
    """Values as "0.21 ± 0.03", mean and standard deviation; the mean alone if nothing varies."""
    varies = values.min() < values.max()
    return f"{values.mean():{form}}" + (f" ± {values.std(ddof=1):{form}}" if varies else "")


def draw_curves(
    axes: Any, rows: Sequence[Row], x: str, columns: Mapping[str, str], series: str, labels: Mapping[str, str] = {}
) -> None:
    """Draws a column on each of the axes by column `x`, a curve for each value of `series`.

    Args:
      columns: for each column the name of its axis.
      labels: for the values of `series`, what the legend calls them.
    """
    for axis, (column, name) in zip(np.ravel(axes), columns.items(), strict=True):
        for value in levels(rows, series):
            curve(axis, select(rows, **{series: value}), x, column, label=labels.get(value, value))
        axis.set(ylabel=name)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)


def curve(axis: Any, rows: Sequence[Row], x: str, y: str, *, label: str, marker: str = "o") -> None:
    """Draws column `y` by column `x`: the mean, and the standard deviation as a band around it."""
    x_levels = levels(rows, x)
    values = [pick(rows, y, **{x: level}) for level in x_levels]
    mean = np.asarray([each.mean() for each in values])
    std = np.asarray([each.std(ddof=1) if len(each) > 1 else 0.0 for each in values])
    (line,) = axis.plot(x_levels, mean, marker=marker, markersize=4, label=label)
    axis.fill_between(x_levels, mean - std, mean + std, color=line.get_color(), alpha=0.15, linewidth=0)


def draw_dots(axes: Any, rows: Sequence[Row], x: str, columns: Mapping[str, str]) -> None:
    """Draws a column on each of the axes for each value of column `x`: a dot for each row, a line at the mean."""
    for axis, (column, name) in zip(axes, columns.items(), strict=True):
        for level, value in enumerate(levels(rows, x)):
            values = pick(rows, column, **{x: value})
            axis.plot([level] * len(values), values, "o", color="tab:blue", alpha=0.6)
            axis.hlines(values.mean(), level - 0.3, level + 0.3, color="tab:blue")
        axis.set_xticks(range(len(levels(rows, x))), levels(rows, x))
        axis.set(ylabel=name, xlim=(-0.5, len(levels(rows, x)) - 0.5))
        axis.grid(alpha=0.3, axis="y")
