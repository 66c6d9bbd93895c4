"""Classes are matched by name: a match is right or there is none."""

import dataclasses
import json

from hypothesis import example, given
from hypothesis import strategies as st

from fcnn.config import ModelConfig
from fcnn.weights import NetworkInfo, match_classes

NAMES = st.lists(st.sampled_from(["0", "1", "2", "cat", "dog", "crane"]), max_size=8)


@given(NAMES, NAMES)
@example(["crane", "cat", "crane"], ["cat", "crane"])
@example(["crane"], ["crane", "crane"])
def test_a_match_has_the_same_name_and_no_other_class_has_it(known, wanted):
    found = match_classes(known, wanted)
    assert len(found) == len(wanted)
    if known == wanted:
        assert found == tuple(range(len(known)))
        return
    for name, index in zip(wanted, found, strict=True):
        alone = known.count(name) == wanted.count(name) == 1
        assert (index is not None) == alone
        assert index is None or known[index] == name


@given(st.permutations(["0", "1", "2", "cat"]))
def test_a_permutation_is_inverted(order):
    found = match_classes(["0", "1", "2", "cat"], order)
    assert [order.index(name) for name in ["0", "1", "2", "cat"]] == [found.index(i) for i in range(4)]


def test_numbers_that_nobody_named_match_nothing_and_names_that_are_numbers_do():
    info = NetworkInfo(
        model=ModelConfig(name="linear"),
        classes=("0", "1"),
        image_shape=(8, 8, 1),
        mean=(0.5,),
        std=(0.5,),
        named=False,
    )
    assert match_classes(info.names, ("0", "1")) == (None, None)
    again = NetworkInfo.from_json(json.dumps(info.to_dict()), "a header")
    assert again == info
    named = dataclasses.replace(info, named=True)
    assert match_classes(named.names, ("1", "0")) == (1, 0)
