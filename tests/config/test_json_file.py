"""JSON that anybody may have written: read, or refused in a line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnn.config import Config
from fcnn.config.serialize import from_json, to_json
from fcnn.utils.errors import UserError
from fcnn.utils.json_file import parse_json, read_json

HOSTILE = {
    "cut": b'{"a": [1,',
    "not UTF-8": b'{"a": "\xff\xfe\xff"}',
    "deep": b"[" * 10**6,
    "deep objects": b'{"a":' * 10**5 + b"1" + b"}" * 10**5,
    "a long number": b'{"a": ' + b"9" * 4000 + b"}",
    "a longer one": b'{"a": ' + b"9" * 10**6 + b"}",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_plain_json_is_answered_in_a_line(name, tmp_path):
    (tmp_path / "a.json").write_bytes(HOSTILE[name])
    with pytest.raises(UserError, match=r"a\.json: ") as caught:
        read_json(tmp_path / "a.json")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="can't be read: No such file"):
        read_json(tmp_path / "none.json")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_all_else_is_what_json_says(value):
    assert parse_json(json.dumps(value), "here") == value
    assert parse_json(json.dumps(value).encode(), "here") == value


@pytest.mark.parametrize("value", [10**299, "x" * 10**6, [[[[]]]] * 10**5, {"a": {}}])
@pytest.mark.parametrize("field", ["learning_rate", "warmup_steps", "name", "milestones"])
def test_a_config_with_a_value_of_any_kind_is_refused_in_a_line(value, field):
    values = json.loads(to_json(Config()))
    values["optim"][field] = value
    with pytest.raises(UserError, match=r"^here: ") as caught:
        from_json(json.dumps(values), "here")
    assert len(str(caught.value)) < 500
