"""Gray values of more than 8 bits: which become black and white is one answer for a whole set, measured or declared,
and what of it a person should know."""

from collections.abc import Sequence

import numpy as np

from fcnn.data.decode import ValueRange
from fcnn.data.layout import Entry
from fcnn.data.names import listed, shown
from fcnn.data.scan import Seen

COARSE = 32
"""Fewer gray levels than these, of 256, are too few for a file."""
# What the notes say of all three mistakes.
_DECLARE = "--data.value-range LOW HIGH"


def measure(entries: Sequence[Entry], seen: Sequence[Seen]) -> ValueRange | None:
    """Computes the range from the lowest to the highest value in the training files (of all files, if none of those has
    more than 8 bits), each without its defective pixels (`decode.lowest_highest`); None if no file has more.

    Files that are held out of training later count as training files: the range, and with it every pixel, is the same
    whatever the seed of the split.
    """
    wide = [(e, s) for e, s in zip(entries, seen, strict=True) if s.wide]
    ends = [_ends(s) for e, s in wide if e.split == "train"] or [_ends(s) for _, s in wide]
    if not ends:
        return None
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    return (low, high) if low < high else (low, max(low + 1, float(np.nextafter(low, np.inf))))


def describe(
    entries: Sequence[Entry], seen: Sequence[Seen], used: ValueRange | None, *, measured: bool
) -> tuple[str, ...]:
    """Lists what a person should know of a set with more than 8 bits a channel, a line each.

    Args:
      entries: the readable files.
      seen: what each turned out to be.
      used: the range.
      measured: whether it was measured; else it was given.
    """
    notes = []
    if cut := [shown(e.path) for e, s in zip(entries, seen, strict=True) if s.cut]:
        notes.append(
            f"{len(cut)} files have 16 bits a channel, in color or with transparency, and only the upper 8 are read: "
            f"images that use fewer bits become dark and coarse; save them with 8 bits a channel: {listed(cut)}"
        )
    wide = [(shown(e.path), *_ends(s)) for e, s in zip(entries, seen, strict=True) if s.wide]
    if not wide or used is None:
        none = ("data.value-range has no effect: no gray file has more than 8 bits",)
        return (*notes, *(none if used else ()))
    low, high = used
    source = f"measured over the training files ({_DECLARE} sets another range)" if measured else "as given"
    notes.append(
        f"gray values of more than 8 bits in {len(wide):,} files: {_number(low)} to {_number(high)} become 0 to 255, "
        f"{source}"
    )
    if beyond := [f"{path} ({_number(a)} to {_number(b)})" for path, a, b in wide if a < low or b > high]:
        notes.append(f"{len(beyond)} files have values outside of that range, which are clipped: {listed(beyond, 3)}")
    if narrow := sum(s.gray and not s.wide for s in seen):
        notes.append(
            f"{narrow:,} gray files have 8 bits and stay as they are beside {len(wide):,} with more: if one class has "
            "more of one kind, a network can learn the kind of file in place of what the images show"
        )
    levels = np.asarray([(b - a) * 255 / (high - low) + 1 for _, a, b in wide])
    if np.median(levels) < COARSE:
        path, a, b = max(wide, key=lambda one: one[2] - one[1])
        notes.append(
            f"{np.count_nonzero(levels < COARSE):,} of {len(wide):,} files use fewer than {COARSE} of the 256 gray "
            f"levels, because the range is too wide for them (widest file: {path}, {_number(a)} to {_number(b)}); "
            f"remove such files or declare the range, {_DECLARE}"
        )
    return tuple(notes)


def _ends(seen: Seen) -> ValueRange:
    assert seen.low is not None
    assert seen.high is not None
    return seen.low, seen.high


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:.4g}"
