"""What a run prints: a live progress line in a terminal or notebook, plain lines elsewhere."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from fcnn.report.notebook import NotebookProgress, in_notebook
from fcnn.report.records import Record
from fcnn.utils.text import printable_lines


def percent(share: float) -> str:
    """0.9917 -> "99.17 %"."""
    return f"{100 * share:.2f} %"


class _Status(ProgressColumn):
    """The numbers of the last logging interval."""

    def render(self, task: Task) -> Text:
        return Text(task.fields.get("status", ""), no_wrap=True)


class _Output(RichConsole):
    """Rich's, with text printed as it is: no colors, no line breaks, neither markup like [red] nor emoji like :cat:."""

    def __init__(self, *, stderr: bool, quiet: bool) -> None:
        plain: Any = dict(highlight=False, soft_wrap=True, markup=False, emoji=False, force_jupyter=False)
        super().__init__(stderr=stderr, quiet=quiet, **plain)

    def on_broken_pipe(self) -> None:
        raise  # the BrokenPipeError; Rich would end the process here, with exit code 1


def _columns(bar_width: int = 40) -> tuple[ProgressColumn, ...]:
    done = TextColumn("{task.completed}/{task.total}")
    return TextColumn("{task.description}", markup=False), BarColumn(bar_width), done


class Console:
    """Prints a run's lines.

    Args:
      stderr: print on standard error, to leave standard output to a report for programs.
      quiet: print nothing, as another process does.
    """

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        self._console = _Output(stderr=stderr, quiet=quiet)
        self._progress: Progress | None = None
        self._task = None

    def log(self, text: str) -> None:
        """Prints a line, above the progress line if there is one."""
        self._console.print(printable_lines(text))

    @contextlib.contextmanager
    def progress_bar(self, *, total: int, done: int) -> Iterator[None]:
        """Shows a progress line, from `done` to `total` steps, while the context lasts; nothing outside a terminal or
        notebook."""
        live = self._live()
        if live is None:
            yield
            return
        columns = (*_columns(bar_width=10), _Status(), TimeRemainingColumn(compact=True), TextColumn("left"))
        with live(*columns, console=self._console, transient=True, speed_estimate_period=60) as progress:
            self._progress = progress
            self._task = progress.add_task("starting", total=total, completed=done)
            try:
                yield
            finally:
                self._progress = None

    def progress(self, items: Iterable[Any], text: str, total: int) -> Iterable[Any]:
        """Passes items on and shows how many of `total` have gone by; nothing outside a terminal or notebook."""
        live = self._live()
        if live is None:
            yield from items
            return
        columns = (*_columns(), TimeRemainingColumn())
        with live(*columns, console=self._console, transient=True) as progress:
            yield from progress.track(items, total=total, description=text)

    def _live(self) -> type[Progress] | None:
        """What can show progress here; None if nothing can."""
        if self._console.quiet:
            return None
        return NotebookProgress if in_notebook() else Progress if self._console.is_terminal else None

    def step(self, step: int, epoch: int, epochs: float) -> None:
        """Moves the progress line."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step, description=f"epoch {epoch + 1}/{epochs:g}")

    def interval(self, record: Record, images_per_second: float) -> None:
        """Puts an interval's numbers on the progress line."""
        if self._progress is not None and self._task is not None:
            status = f"loss {record['loss']:.3f} acc {100 * record['top1']:.1f} % {images_per_second:,.0f} im/s"
            self._progress.update(self._task, status=status)

    def epoch(self, records: list[Record]) -> None:
        """Prints one line for an epoch, an evaluation or both."""
        parts = [f"epoch {round(records[0]['epoch'], 3):g}"] if records else []
        for record in records:
            name = "averaged weights" if record["weights"] == "ema" else record["split"]
            parts.append(f"{name} loss {record['loss']:.4f} acc {percent(record['top1'])}")
            if "images_per_second" in record:
                parts.append(f"{record['images_per_second']:,.0f} images/s")
        if parts:
            self.log("  ".join(parts))
