"""What an experiment on a claim is made of: what is measured, what counts as held, the sentence, the figure."""

import abc
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from fcnn.data import Dataset
from fcnn.data.parallel import Progress


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came out."""

    held: bool
    """Whether the study's criterion is met."""
    why: str
    """The numbers that say so, as the rest of a sentence."""

    @property
    def sentence(self) -> str:
        """What a reader should take along."""
        return f"The claim {'held' if self.held else 'did not hold'} here: {self.why}."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(abc.ABC):
    """A claim and a small experiment on it. Its fields are the experiment's size; a subclass writes the three methods.

    A row is a named tuple of plain numbers and words, the same for all rows of a study. `judge` and `draw` know nothing
    but rows: whatever numbers come out, the sentence follows them.
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
    def measure(self, data: Dataset, seed: int, progress: Progress) -> list[Any]:
        """Runs the experiment and returns its rows; the same seed gives the same ones."""

    @abc.abstractmethod
    def judge(self, rows: Sequence[Any]) -> Verdict:
        """Holds the rows against the criterion."""

    @abc.abstractmethod
    def draw(self, rows: Sequence[Any], figure: Any) -> None:
        """Draws the rows on a Matplotlib figure of 10 x 4.5 inches."""

    def shown(self, rows: Sequence[Any]) -> list[Any]:
        """The rows of the printed table, of the same type or a smaller one; the file has them all."""
        return list(rows)


def pick(rows: Iterable[Any], column: str, **where: Any) -> np.ndarray:
    """The values of a column in the rows whose other columns are as given, (rows,)."""
    return np.asarray([getattr(row, column) for row in rows if all(getattr(row, k) == v for k, v in where.items())])


def levels(rows: Iterable[Any], column: str) -> list[Any]:
    """The different values of a column, in the order in which they come."""
    return list(dict.fromkeys(getattr(row, column) for row in rows))


def clearly_above(high: np.ndarray, low: np.ndarray) -> bool:
    """Whether the mean of `high` is above that of `low` by more than two standard errors of the difference."""
    return bool(high.mean() - low.mean() > 2 * np.hypot(standard_error(high), standard_error(low)))


def standard_error(values: np.ndarray) -> float:
    """Of the mean of (n,) values; 0 if there is one alone."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def percent(values: np.ndarray) -> str:
    """Shares as "97.2 ± 0.4 %", mean and standard deviation."""
    return f"{spread(100 * values, '.1f')} %"


def spread(values: np.ndarray, form: str = ".3g") -> str:
    """Values as "0.21 ± 0.03", mean and standard deviation; the mean alone if nothing varies."""
    varies = values.min() < values.max()
    return f"{values.mean():{form}}" + (f" ± {values.std(ddof=1):{form}}" if varies else "")


def curve(axis: Any, rows: Sequence[Any], x: str, y: str, *, label: str, marker: str = "o", **where: Any) -> None:
    """Draws column `y` by column `x`: the mean, and the standard deviation as a band around it."""
    places = levels((row for row in rows if all(getattr(row, k) == v for k, v in where.items())), x)
    found = [pick(rows, y, **where, **{x: place}) for place in places]
    mean = np.asarray([values.mean() for values in found])
    std = np.asarray([values.std(ddof=1) if len(values) > 1 else 0.0 for values in found])
    (line,) = axis.plot(places, mean, marker=marker, markersize=4, label=label)
    axis.fill_between(places, mean - std, mean + std, color=line.get_color(), alpha=0.15, linewidth=0)


def dots(axis: Any, rows: Sequence[Any], x: str, y: str) -> None:
    """Draws column `y` for each value of column `x`: a dot for each row, a line at the mean."""
    names = levels(rows, x)
    for place, name in enumerate(names):
        values = pick(rows, y, **{x: name})
        axis.plot([place] * len(values), values, "o", color="tab:blue", alpha=0.6)
        axis.hlines(values.mean(), place - 0.3, place + 0.3, color="tab:blue")
    axis.set_xticks(range(len(names)), [str(name) for name in names])
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.grid(alpha=0.3, axis="y")
