"""A progress line in the output of a notebook's cell."""

import time
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TaskID

INTERVAL = 0.2
"""Seconds between two drawings of the line."""


def in_notebook() -> bool:
    """Returns whether this is a kernel whose output a notebook shows."""
    return Console().is_jupyter


class NotebookProgress(Progress):
    """Rich's, redrawn in place by the notebook itself: without ipywidgets, and without a thread."""

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        super().__init__(*columns, auto_refresh=False, **options)

    def start(self) -> None:
        """Shows the line."""
        from IPython.display import display  # there is one in every kernel

        self._drawn = time.monotonic()
        self._handle: Any = display(self, display_id=True)

    def update(self, task_id: TaskID, **fields: Any) -> None:
        """Changes a task as Rich's does, and redraws the line."""
        super().update(task_id, **fields)
        self.refresh()

    def refresh(self) -> None:
        """Redraws the line, unless it was redrawn just now."""
        if time.monotonic() - self._drawn > INTERVAL:
            self._drawn = time.monotonic()
            self._handle.update(self)

    def stop(self) -> None:
        """Takes the line away."""
        from IPython.display import HTML

        self._handle.update(HTML(""))
