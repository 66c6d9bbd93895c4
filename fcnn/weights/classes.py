"""Which of a network's outputs belongs to which class: classes are matched by name."""

from collections import Counter
from collections.abc import Sequence


def match_classes(known: Sequence[str], wanted: Sequence[str]) -> tuple[int | None, ...]:
    """Returns, for each wanted class, its index among the known ones.

    A name that occurs twice on either side fits two classes ("crane" in ImageNet is a bird and a machine) and has no
    match, unless both sides are the same list.

    Args:
      known: the class names of a network, in the order of its logits (`About.names`); empty if nobody named them.
      wanted: the class names of the data, in the order of its labels.

    Returns:
      (len(wanted),): an index into `known`, or None for a class that has no match.

    >>> match_classes(("cat", "dog", "fish"), ("dog", "bird"))
    (1, None)
    """
    if tuple(known) == tuple(wanted):
        return tuple(range(len(known)))
    counts, index = Counter(known) | Counter(wanted), {name: i for i, name in enumerate(known)}
    return tuple(index.get(name) if counts[name] == 1 else None for name in wanted)
