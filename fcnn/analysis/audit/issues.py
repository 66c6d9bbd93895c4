"""The doubts of an audit, kind by kind, the most doubtful first."""

from collections.abc import Iterator, Sequence

import numpy as np

from fcnn.data.label_issues import label_issues, softmax
from fcnn.data.layout import Entry
from fcnn.data.quality import BRIGHT, DARK, ODD, OUTLIER, SHARP, Quality, deviations, oddness
from fcnn.data.scan import ImageInfo
from fcnn.report.audit import Issue


def label_doubts(
    entries: Sequence[Entry], classes: Sequence[str], labels: np.ndarray, logits: np.ndarray, groups: np.ndarray
) -> Iterator[Issue]:
    """Yields the images that are taken for another class, by the probability of their label; scores are 1 less it.

    Where a label is likely wrong, the class that makes it so is suggested, elsewhere the likeliest.
    """
    probabilities = softmax(logits)
    indices, suggested = label_issues(labels, logits, groups)
    sure = dict(zip(indices.tolist(), suggested.tolist(), strict=True))
    indices, suggested = label_issues(labels, logits, groups, confident=False)
    for i, likeliest in zip(indices.tolist(), suggested.tolist(), strict=True):
        own, other = float(probabilities[i, labels[i]]), sure.get(i, likeliest)
        name = classes[int(other)]
        text = f"{entries[i].name} {100 * own:.1f} %, {name} {100 * probabilities[i, other]:.1f} %"
        yield Issue("wrong label" if i in sure else "label", entries[i].path, entries[i].name, name, 1 - own, text)


def copy_issues(entries: Sequence[Entry], infos: Sequence[ImageInfo], pairs: np.ndarray) -> Iterator[Issue]:
    """Yields the images that show the same as another one; scores are the share of equal bits of their hashes."""
    order = {"two labels": 0, "two splits": 1, "duplicate": 2}
    issues = []
    for i, j in pairs.tolist():
        a, b = entries[i], entries[j]
        kind = "two labels" if a.name != b.name else "two splits" if a.split != b.split else "duplicate"
        same = infos[i].sha == infos[j].sha
        equal = 1.0 if same else 1 - (infos[i].fine_hash ^ infos[j].fine_hash).bit_count() / 256
        text = "the same file" if same else "nearly the same image"
        if kind == "two labels":  # either may be wrong
            issues.append(Issue(kind, a.path, a.name, "", equal, text, b.path))
        issues.append(Issue(kind, b.path, b.name, "" if kind == "two labels" else "-", equal, text, a.path))
    return iter(sorted(issues, key=lambda issue: (order[issue.kind], -issue.score)))


def quality_issues(
    entries: Sequence[Entry], infos: Sequence[ImageInfo], qualities: Sequence[Quality], least: int
) -> Iterator[Issue]:
    """Yields the images that are blurred, dark, overexposed or small beside the others; scores are the standard
    deviations from the median, of small ones the share of its side that is missing.

    Args:
      least: pixels of a side from which on no image is called tiny: what the network takes.
    """
    sharpness = np.asarray([quality.sharpness for quality in qualities])
    brightness = np.asarray([quality.brightness for quality in qualities])
    sides = np.asarray([min(info.width, info.height) for info in infos])
    blur, light, middle = deviations(np.log1p(sharpness), 0.1), deviations(brightness, 5.0), float(np.median(sides))
    for kind, wrong, scores, words in (
        ("blurred", (blur < -OUTLIER) & (sharpness < SHARP), -blur, "variance of the Laplacian {0:.1f}"),
        ("dark", (light < -OUTLIER) & (brightness < DARK), -light, "mean gray value {1:.0f} of 255"),
        ("overexposed", (light > OUTLIER) & (brightness > BRIGHT), light, "mean gray value {1:.0f} of 255"),
        ("tiny", (sides < middle / 2) & (sides < least), 1 - sides / middle, "{2} x {3} pixels"),
    ):
        indices = np.flatnonzero(wrong)
        for i in indices[np.argsort(-scores[indices], kind="stable")].tolist():
            text = words.format(sharpness[i], brightness[i], infos[i].width, infos[i].height)
            yield Issue(kind, entries[i].path, entries[i].name, "", float(scores[i]), text)


def odd_issues(entries: Sequence[Entry], features: np.ndarray, groups: np.ndarray) -> Iterator[Issue]:
    """Yields the images that are like no other; scores are standard deviations from the median distance."""
    scores = deviations(oddness(features, groups))
    for i in np.argsort(-scores, kind="stable").tolist():
        if scores[i] <= ODD:
            return
        yield Issue("odd", entries[i].path, entries[i].name, "", float(scores[i]), "unlike all others")


def unreadable_issues(bad: Sequence[tuple[str, str]]) -> Iterator[Issue]:
    """Yields the files that are no image any more."""
    for path, reason in bad:
        yield Issue("unreadable", path, "", "-", 1.0, reason)
