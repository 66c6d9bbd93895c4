"""What a run keeps of its data, damaged: refused in a line that names the file."""

import json

import pytest

from fcnn.config import DataConfig
from fcnn.data import load
from fcnn.training import workdir
from fcnn.utils.errors import UserError

FACTS = json.loads(json.dumps(load(DataConfig()).facts()))


def write(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8", errors="surrogatepass")


def test_whole_facts_are_read(tmp_path):
    workdir.write_data(tmp_path, FACTS, None)
    assert workdir.read_data(tmp_path) == FACTS


VALUES = [None, 3, [None], [[1]], {"a": "b", "c": 3}, [-1e9], [10**200] * 3, [float("nan")] * 3]
NAMES = ["classes", "image_shape", "images", "labels", "mean", "std", "notes", "name", "pipeline"]


@pytest.mark.parametrize("name", NAMES)
def test_facts_that_are_missing_or_impossible_are_refused(name, tmp_path):
    for value in [..., *VALUES]:
        facts = {key: item for key, item in FACTS.items() if key != name} | ({} if value is ... else {name: value})
        write(tmp_path, "data.json", json.dumps(facts))
        with pytest.raises(UserError, match=rf"data\.json is damaged: .*{name}"):
            workdir.read_data(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "3", "[]", "null", "\0\0", "[" * 100_000, "\ud800"])
@pytest.mark.parametrize(("name", "read"), [("data.json", workdir.read_data), ("strategy.json", workdir.read_choice)])
def test_a_damaged_file_is_named(name, read, text, tmp_path):
    write(tmp_path, name, text)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        read(tmp_path)
