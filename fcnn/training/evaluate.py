"""Evaluation: every image of a split counted once, whatever the batch size and the number of devices."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcnn.calibration import Calibration, calibration_report
from fcnn.config import DataConfig
from fcnn.data import AnySplit
from fcnn.data.parallel import Progress, no_progress
from fcnn.data.pipeline import make_pipeline
from fcnn.distributed import sharding
from fcnn.models import logits_and_features
from fcnn.report import Console
from fcnn.report.records import Record
from fcnn.training import workdir as folder
from fcnn.training.calibration_file import read_calibration, read_split
from fcnn.training.checkpoint import Checkpoints, Weights
from fcnn.training.metrics import ClassMetrics, Metrics, compute_class_metrics, wilson
from fcnn.training.overrides import Overrides
from fcnn.training.pretrained import check_shapes
from fcnn.training.run_data import load_run_data
from fcnn.training.setup import TrainSetup, make_setup
from fcnn.training.step import make_eval_step
from fcnn.utils.batch import Batch
from fcnn.utils.errors import UserError


@dataclasses.dataclass(frozen=True)
class BestWeights:
    """The weights that a run's results are of."""

    step: int
    weights: Weights
    variables: Any
    """{"params", "batch_stats"}, on the devices."""


def evaluate(
    workdir: Path, split: str, console: Console, *, data: DataConfig | None = None, overrides: Overrides | None = None
) -> Record:
    """Evaluates a run's best weights on a split (`best_weights`).

    Args:
      split: "train", "validation" or "test".
      data: where the run's images are now; None for where they were.
      overrides: the model and data set of a run that was trained with the user's own.

    Returns:
      {"kind": "evaluation", "split", "weights", "step", "epoch", "count", "loss", "top1", "top5", "interval",
      "precision", "recall", "f1", "images", "macro" (as `class_metrics` has them)}, and "calibration"
      (`calibration_report`, and "fitted_on", the split that it was fitted to) of a run that is calibrated.
    """
    setup, best = restore(workdir, console, split, data=data, overrides=overrides)
    classes = len(setup.dataset.classes)
    calibration = read_calibration(workdir, best.step, best.weights, classes, lambda note: console.log(f"Note: {note}"))
    record: dict[str, Any] = evaluate_best(setup, best, split, calibration) | {"kind": "evaluation"}
    if "calibration" in record:
        record["calibration"]["fitted_on"] = read_split(workdir)
    return record


def restore(
    workdir: Path, console: Console, split: str, *, data: DataConfig | None = None, overrides: Overrides | None = None
) -> tuple[TrainSetup, BestWeights]:
    """Returns a run's setup and its best weights; the arguments are those of `evaluate`.

    Raises:
      UserError: the split has no image, the run's images aren't there, or `overrides` differ from those of the run.
    """
    config = folder.read_config(workdir)
    if data is not None:
        config = dataclasses.replace(config, data=data)
    facts = folder.read_data(workdir)
    if facts is None:
        raise UserError(f"there is no checkpoint in {workdir} yet")
    counts = {name: sum(images) for name, images in facts["images"].items()}
    if not counts[split]:
        others = " and ".join(f"--split {name}" for name, count in counts.items() if count)
        raise UserError(f"the run in {workdir} held out no {split} split (data.val-fraction 0); {others} have images")
    folder.check_same_overrides(workdir, facts, overrides.names() if overrides else [], needed=("model", "dataset"))
    dataset = load_run_data(config, workdir, console, exact=False, dataset=overrides.dataset if overrides else None)
    if not len(getattr(dataset, split)):
        raise UserError(f"the run in {workdir} has none of its {counts[split]:,} {split} images left")
    setup = make_setup(config, dataset, sharding.make_mesh(), num_train=counts["train"], overrides=overrides)
    with Checkpoints(workdir / "checkpoints", max_to_keep=1, keep_best=1, read_only=True) as checkpoints:
        if note := checkpoints.note():
            console.log(f"Note: {note}")
        return setup, best_weights(checkpoints, setup)


def best_weights(checkpoints: Checkpoints, setup: TrainSetup) -> BestWeights:
    """Restores the best checkpoint on validation, or the newest if none was evaluated; of raw and averaged weights,
    those that were better on validation, or the averaged ones.

    Raises:
      UserError: there is no checkpoint, it can't be read, or it holds other arrays than the model.
    """
    step, variables, weights = checkpoints.read_best()
    variables = {"params": variables.get("params", {}), "batch_stats": variables.get("batch_stats", {})}
    state = setup.abstract_state()
    check_shapes({"params": state.params, "batch_stats": state.batch_stats}, variables, f"step {step}")
    return BestWeights(step, weights or "raw", sharding.replicate(variables, setup.mesh))


def evaluate_best(setup: TrainSetup, best: BestWeights, split: str, calibration: Calibration | None = None) -> Record:
    """Evaluates them on a split, by class too, and their calibration, if they have one."""
    images = getattr(setup.dataset, split)
    common = {"split": split, "weights": best.weights, "step": best.step, "epoch": best.step / setup.steps_per_epoch}
    common["count"] = len(images)
    if calibration is None or not calibration.images:
        return common | compile_evaluation(setup, best.variables, images, by_class=True)(best.variables)

    endpoint = calibration.endpoint

    def metrics_and_outputs(variables: Any, batch: Batch) -> tuple[ClassMetrics, list[jax.Array]]:
        outputs: list[Any] = (
            [*logits_and_features(setup.model, variables, batch["image"], endpoint)]
            if endpoint
            else [setup.model.apply(variables, batch["image"], train=False)]
        )
        return compute_class_metrics(outputs[0], batch["label"], batch["mask"]), outputs

    parts = _compile_on_batches(setup, metrics_and_outputs, best.variables, images)(best.variables, no_progress)
    sums = [part for part, _ in parts]
    outputs = [np.concatenate(output)[: len(images)] for output in zip(*(part for _, part in parts), strict=True)]
    report = calibration_report(calibration, outputs[0], images.labels, *outputs[1:])
    return common | _metrics(sums, images, setup.dataset.classes) | {"calibration": report}


def compile_evaluation(
    setup: TrainSetup, variables: Any, split: AnySplit, *, by_class: bool = False
) -> Callable[[Any], dict[str, Any]]:
    """Compiles the evaluation of a split: `variables -> {"loss", "top1", "top5"}`, means over every image once; with
    `by_class`, what `class_metrics` gives as well."""
    evaluate_batches = _compile_on_batches(setup, make_eval_step(setup.model), variables, split)

    def evaluate(variables: Any) -> dict[str, Any]:
        sums = evaluate_batches(variables, no_progress)
        return _metrics(sums, split, setup.dataset.classes) if by_class else means(sums, expected=len(split))

    return evaluate


def _metrics(sums: Sequence[ClassMetrics], split: AnySplit, classes: Sequence[str]) -> dict[str, Any]:
    return means(sums, expected=len(split)) | class_metrics(sums, classes)


def compile_on_each(
    setup: TrainSetup, function: Callable[[Any, jax.Array], jax.Array], argument: Any, split: AnySplit
) -> Callable[..., np.ndarray]:
    """Compiles `function` on every image of a split, not augmented: `(progress=no_progress) -> (N, ...)`.

    Args:
      function: `(argument, images) -> (B, ...)`, pure, of normalized images (B, H, W, C).
      argument: on the devices.
      split: not empty.
    """
    compute_batches = _compile_on_batches(setup, lambda arg, batch: function(arg, batch["image"]), argument, split)

    def compute(progress: Progress = no_progress) -> np.ndarray:
        outputs = compute_batches(argument, progress)
        return np.concatenate(outputs)[: len(split)]  # without the padding of the last batch

    return compute


def _compile_on_batches(
    setup: TrainSetup, function: Callable[[Any, Batch], Any], argument: Any, split: AnySplit
) -> Callable[[Any, Progress], list[Any]]:
    """Compiles `function(argument, batch)` on the batches of a split, normalized; returns its results on the host."""
    normalize, pipeline, devices = setup.normalize(), make_pipeline(split, setup.mesh), setup.mesh.size
    batch_size = min(setup.config.train.eval_batch_size, -(-len(split) // devices) * devices)

    def step(argument: Any, *arrays: jax.Array) -> Any:
        return function(argument, normalize(pipeline.batch(*arrays)))

    mask = sharding.shard(np.ones(batch_size, bool), setup.mesh)
    compiled = sharding.compile_step(step, argument, *pipeline.abstract(batch_size), mask, donate=False)
    eval_epoch = pipeline.eval_epoch(batch_size)

    def compute(argument: Any, progress: Progress) -> list[Any]:
        batches = progress(eval_epoch(), "predicting", -(-len(split) // batch_size))
        return sharding.to_host([compiled(argument, *pipeline.device_put(item), mask) for item, mask in batches])

    return compute


def means(sums: Sequence[Metrics], *, expected: int) -> dict[str, float]:
    """Returns the means over all examples from the sums of batches, added in float64.

    Raises:
      AssertionError: the batches held another number of examples than `expected`.
    """
    count = sum(float(part.count) for part in sums)
    assert count == expected, f"{count:g} examples were counted, there are {expected}"
    return {name: sum(float(getattr(part, name)) for part in sums) / count for name in ("loss", "top1", "top5")}


def class_metrics(sums: Sequence[ClassMetrics], classes: Sequence[str]) -> dict[str, Any]:
    """Returns how sure the accuracy is and which classes it comes from, as JSON can write it.

    Returns:
      {"interval": [low, high], the 95 % confidence interval of top-1, "precision": {class: share of the images
      predicted to be of it that are}, "recall": {class: share of its images that are top-1 hits}, "f1": {class: their
      harmonic mean}, "images": {class: how many it has}, "macro": {"precision", "recall", "f1": means over the classes
      with images}}. None where there is nothing to divide by, which is 0 in a mean.
    """

    def total(name: str) -> np.ndarray:
        return np.stack([getattr(part, name) for part in sums]).astype(np.float64).sum(axis=0)

    hits, counts, predicted = total("class_top1"), total("class_count"), total("class_predicted")
    shares = {"precision": (hits, predicted), "recall": (hits, counts), "f1": (2 * hits, counts + predicted)}
    by_class = {
        metric: {name: float(a / b) if b else None for name, a, b in zip(classes, *pair, strict=True)}
        for metric, pair in shares.items()
    }
    present = [name for name, count in zip(classes, counts, strict=True) if count]
    return {
        "interval": list(wilson(int(hits.sum()), int(counts.sum()))),
        **by_class,
        "images": {name: int(count) for name, count in zip(classes, counts, strict=True)},
        "macro": {
            metric: sum(values[name] or 0.0 for name in present) / len(present) for metric, values in by_class.items()
        },
    }
