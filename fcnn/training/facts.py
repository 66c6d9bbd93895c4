"""`data.json` in a run's folder: what it keeps of its data (`Dataset.facts`), as it is read again."""

from pathlib import Path
from typing import Any, Literal

from fcnn.config.serialize import fits
from fcnn.utils.errors import UserError

KINDS: dict[str, Any] = {
    "name": str,
    "pipeline": Literal["device", "stream"],
    "classes": tuple[str, ...],
    "image_shape": tuple[int, ...],
    "images": dict[str, tuple[int, ...]],
    "labels": dict[str, str],
    "mean": tuple[float, ...],
    "std": tuple[float, ...],
    "value_range": tuple[float, ...] | None,
    "skipped": tuple[str, ...],
    "notes": tuple[str, ...],
    "overrides": tuple[str, ...],
}
OPTIONAL = ("value_range", "skipped", "overrides")
SPLITS = {"train", "validation", "test"}


def check_facts(facts: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns what was read from a file, if a run can be continued and evaluated by it.

    Raises:
      UserError: it is damaged.
    """
    try:
        for name, kind in KINDS.items():
            if name not in facts:
                if name not in OPTIONAL:
                    raise ValueError(f"{name} is missing")
            elif not fits(_with_tuples(facts[name]), kind):
                raise ValueError(f"{name} has the wrong type")
        _check_together(facts)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}; without it nothing says what the run's images were") from None
    return facts


def _check_together(facts: dict[str, Any]) -> None:
    """Raises ValueError unless numbers and lengths are possible."""
    classes, shape, mean, std = (facts[name] for name in ("classes", "image_shape", "mean", "std"))
    if not classes or len(set(classes)) < len(classes):
        raise ValueError("classes must be names that differ")
    if len(shape) != 3 or not all(0 < size < 2**16 for size in shape):
        raise ValueError("image_shape must be height, width and channels")
    possible = all(-1e6 < x < 1e6 for x in mean) and all(0 < x < 1e6 for x in std)
    if not (shape[2] <= len(mean) == len(std) and possible):
        raise ValueError("mean and std must be a number for each channel")
    images = facts["images"]
    if images.keys() != SPLITS or any(len(counts) != len(classes) for counts in images.values()):
        raise ValueError("images must be a count for each split and class")
    if not all(0 <= count < 2**40 for counts in images.values() for count in counts):
        raise ValueError("images must be counts")
    ends = facts.get("value_range")
    if ends is not None and not (len(ends) == 2 and -1e30 < ends[0] < ends[1] < 1e30):
        raise ValueError("value_range must be two numbers, the lower one first")


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_tuples(item) for name, item in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
