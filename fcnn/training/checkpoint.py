"""Saving and restoring a run's state by Orbax."""

import contextlib
import logging
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from fcnn.distributed import processes
from fcnn.report.records import rank
from fcnn.training.orbax_threads import end_waiting, patient_loops
from fcnn.training.state import TrainState
from fcnn.utils.errors import UserError
from fcnn.utils.files import sync_folder, sync_tree
from fcnn.utils.version import with_version, without_version

MAX_RATIO, SPARE = 20, 1 << 28
"""Arrays may be so many times as large as their compressed files, and so many bytes more: constant ones are."""
Weights = Literal["raw", "ema"]
"""The weights that the optimizer moves, or their moving averages."""


def _accuracy(metrics: dict[str, Any]) -> float:
    return metrics["top1"]


def _rank(metrics: dict[str, Any]) -> Any:  # Orbax sorts by it: a pair will do
    return rank(metrics)


class _Manager(ocp.CheckpointManager):
    """Orbax's, for which a checkpoint whose metrics are damaged has none."""

    def __init__(self, folder: Path, options: ocp.CheckpointManagerOptions) -> None:
        self.damaged: set[int] = set()
        """Steps of such checkpoints."""
        super().__init__(folder, options=options)

    def metrics(self, step: int) -> dict[str, Any] | None:
        try:
            folder = Path(self.directory) / str(step) / "metrics"
            if not (folder / "metrics").is_file():  # nothing that would be waited for
                if folder.exists():
                    self.damaged.add(step)
                return None
            metrics = super().metrics(step)
            if metrics is not None and not all(math.isfinite(value) for value in rank(metrics)):
                raise ValueError
            return metrics
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
                raise  # too many open files, a disk that is away: not the checkpoint's fault
        except Exception:  # whatever a damaged file makes Orbax raise
            pass
        self.damaged.add(step)
        return None


class Checkpoints:
    """The checkpoints in a folder, by step: the newest few and the best few by validation accuracy.

    Saving copies the state to the host and writes it in the background; a checkpoint appears under its name only once
    it is whole and on disk. Beside the state each one holds a small dict of plain values, `meta`.

    Args:
      read_only: change nothing in the folder, so that a run can be looked at while it is written.

    Raises:
      UserError: `read_only` and there is no such folder.
    """

    def __init__(self, folder: Path, *, max_to_keep: int, keep_best: int, read_only: bool = False) -> None:
        if read_only and not folder.is_dir():
            raise UserError(f"there is no checkpoint in {folder} yet")
        if pipe := next((path for path in folder.rglob("*") if path.is_fifo() or path.is_socket()), None):
            raise UserError(f"{pipe} is no file; remove it")  # whoever opens it waits for ever
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs every save in lines, a failed one in pages
        keep = [
            checkpoint_managers.LatestN(max_to_keep),
            # A policy of its own: `best_fn` with `max_to_keep` would delete the newest checkpoint.
            checkpoint_managers.BestN(get_metric_fn=_rank, n=keep_best, keep_checkpoints_without_metrics=False),
        ]
        options = ocp.CheckpointManagerOptions(
            best_fn=_accuracy,  # without it Orbax forgets the metrics when it is opened again
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(keep),
            cleanup_tmp_directories=not read_only,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._sync),
            create=not read_only,
            read_only=read_only,
        )
        self._folder, self._loops = folder, contextlib.ExitStack()
        self._loops.enter_context(patient_loops())
        try:
            self._manager = _Manager(folder.absolute(), options)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._loops.close()
            raise UserError(
                f"{folder}: one of the files */_CHECKPOINT_METADATA is damaged; delete them, nothing else needs them"
            ) from None
        except BaseException:  # Ctrl-C, too: the loops of others are theirs again
            self._loops.close()
            raise
        self._newest = self._manager.latest_step()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._loops:
            try:
                with self._names_the_disk():
                    self._manager.close()
            except (UserError, OSError, ValueError):
                if kind is None:  # else what happened before is what is said
                    raise

    def save(self, state: TrainState, meta: dict[str, Any], validation: dict[str, Any] | None) -> None:
        """Starts to save the state under its step; does nothing if that was done before.

        Args:
          meta: plain values to keep beside it.
          validation: the metrics to rank it by ("top1"), plain values, or None if it wasn't evaluated; "weights" says
            which weights they are of, "raw" or "ema".
        """
        step = int(state.step)
        if step == self._newest:
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(_plain(state)), meta=ocp.args.JsonSave(with_version(meta))
        )
        with self._names_the_disk():
            self._manager.save(step, args=items, metrics=validation)
        self._newest = step

    def wait(self) -> None:
        """Returns when everything saved so far is on disk."""
        with self._names_the_disk():
            self._manager.wait_until_finished()
            sync_folder(self._folder)

    def _sync(self) -> None:
        """Returns when all that is in the checkpoint that is being written is on disk, safe from a power cut: Orbax
        sees to that for the arrays alone. It gets its name, and those that it replaces are deleted, after that."""
        for unfinished in self._folder.glob("*.orbax-checkpoint-tmp") if processes.is_first() else ():
            sync_tree(unfinished)

    @contextlib.contextmanager
    def _names_the_disk(self) -> Iterator[None]:
        """Gives what the system says where a file can't be written; Orbax and TensorStore say it in pages."""
        try:
            yield
        except (OSError, ValueError) as error:
            end_waiting()
            found = re.search(r"os_error_code='(\d+)'", str(error))
            number = int(found[1]) if found else getattr(error, "errno", None)
            if number is None:
                raise
            raise UserError(
                f"{self._folder}: a checkpoint can't be written: {os.strerror(number)}; those before it are whole"
            ) from None

    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The step with the best validation accuracy, of equal ones the one with the lowest loss, of these the latest;
        None if none was evaluated."""
        # Orbax's best_step() is the latest step where no checkpoint has metrics.
        scores = [(rank(metrics), step) for step in self.steps() if (metrics := self._manager.metrics(step))]
        return max(scores)[1] if scores else None

    def note(self) -> str | None:
        """Returns which checkpoints can't be compared with the others, in a sentence; None if all can."""
        if not (damaged := sorted(self._manager.damaged & {*self.steps()})):
            return None
        names = ", ".join(f"{self._folder / str(step) / 'metrics'}" for step in damaged)
        return f"{names}: damaged; whether it is the best on validation isn't known, and it is not kept as that"

    def restore(self, abstract: TrainState, step: int) -> tuple[TrainState, dict[str, Any]]:
        """The state of a step, placed on the devices as `abstract` is, and its meta.

        Raises:
          UserError: the checkpoint can't be read.
        """
        shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, _plain(abstract))
        items = ocp.args.Composite(state=ocp.args.StandardRestore(shapes), meta=ocp.args.JsonRestore())
        try:
            with patient_loops():
                restored = self._manager.restore(step, args=items)
        except Exception as error:  # whatever a damaged file makes Orbax raise
            raise self._unreadable(step, error) from None
        state: TrainState = restored["state"]
        key = jax.random.wrap_key_data(state.key, impl=jax.random.key_impl(abstract.key))
        return state.replace(key=key), without_version(dict(restored["meta"]))

    def read_best(self) -> tuple[int, dict[str, Any], Weights | None]:
        """Returns the step that is best on validation, or the newest if none was evaluated, and what `read_variables`
        gives of it.

        Raises:
          UserError: there is no checkpoint, or it can't be read.
        """
        best = self.best_step()
        step = best if best is not None else next(reversed(self.steps()), None)
        if step is None:
            raise UserError(f"there is no checkpoint in {self._folder} yet")
        return step, *self.read_variables(step)

    def read_variables(self, step: int) -> tuple[dict[str, Any], Weights | None]:
        """Returns a step's {"params": ..., "batch_stats": ...} as NumPy arrays, and which weights they are: the raw or
        the averaged ones, those that were better on validation, or the averaged ones if none were evaluated; None if
        there is no average.

        Raises:
          UserError: the checkpoint can't be read.
        """
        was_better = "raw" if (self._manager.metrics(step) or {}).get("weights") == "raw" else "ema"
        try:
            with patient_loops(), _quiet(), ocp.PyTreeCheckpointer() as reader:
                path = self._folder.absolute() / str(step) / "state"
                stored = dict(reader.metadata(path).item_metadata)
                weights: Weights | None = was_better if stored.get("ema") else None
                names = ("ema",) if weights == "ema" else ("params", "batch_stats")
                part = {name: stored[name] for name in names}
                _check_size(part, path)
                abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), part)
                restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), abstract)
                restored = reader.restore(
                    path, args=ocp.args.PyTreeRestore(abstract, restore_args=restore_args, partial_restore=True)
                )
            return restored.get("ema", restored), weights
        except UserError:
            raise
        except Exception as error:  # whatever a damaged file makes Orbax raise
            raise self._unreadable(step, error) from None

    def restore_newest(
        self, abstract: TrainState, log: Callable[[str], None]
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest checkpoint that can be read, or None if there is none at all.

        Raises:
          UserError: there are checkpoints and none can be read.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.restore(abstract, step)
            except UserError:
                if step != steps[0]:
                    log(f"Checkpoint {self._folder / str(step)} can't be read; using the one before.")
        if steps:
            raise UserError(f"no checkpoint in {self._folder} can be read; delete the folder to start again")
        return None

    def _unreadable(self, step: int, error: Exception) -> UserError:
        return UserError(f"checkpoint {self._folder / str(step)} can't be read ({type(error).__name__})")

    def discard_after(self, step: int) -> None:
        """Deletes the checkpoints after a step: unreadable ones, which would be in the way of saving again."""
        for later in self.steps():
            if later > step:
                self._manager.delete(later)
        self._newest = self._manager.latest_step()


def _check_size(stored: Any, path: Path) -> None:
    """UserError if arrays are far larger than their files: what is missing in a file counts as zeros."""
    size = sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(stored))
    on_disk = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if size > MAX_RATIO * on_disk + SPARE:
        raise UserError(f"checkpoint {path.parent} says that {on_disk:,} bytes hold arrays of {size:,} bytes")


def _quiet() -> warnings.catch_warnings:
    """Silences what Python says of coroutines that Orbax leaves behind where a file is damaged."""
    return warnings.catch_warnings(action="ignore", category=RuntimeWarning)


def _plain(state: TrainState) -> TrainState:
    """The state with its typed key as uint32 numbers, which can be stored."""
    return state.replace(key=jax.random.key_data(state.key))
