"""What a notebook shows: plain objects here, and a real kernel that runs cells."""

import re
from typing import Any

import pytest

import fcnn
from fcnn.utils.errors import UserError


def rows(shown: str) -> list[str]:
    return re.findall(r'row">([^<]*)</th>', shown)


def test_a_config_shows_what_differs_from_the_defaults():
    config = fcnn.Config(model=fcnn.ModelConfig(name="lenet5", options={"activation": "<tanh>"}))
    changed, everything = config._repr_html_().split("<details>")
    assert re.findall(r'row">([^<]*)</th><td>([^<]*)</td><td>([^<]*)<', changed) == [
        ("model.name", "lenet5", "resnet20"),
        ("model.options.activation", "&lt;tanh&gt;", ""),
    ]
    assert "optim.learning_rate" in rows(everything)
    assert "defaults" in fcnn.Config()._repr_html_()


def test_a_model_shows_its_layers():
    shown = fcnn.create_model("lenet5", num_classes=7)._repr_html_()
    assert "7 classes" in shown
    assert f"{156 + 2_416 + 48_120 + 10_164 + 595:,} parameters" in shown  # by hand, biases included
    assert rows(shown)[-1] == "head"


def test_a_network_without_a_run_has_no_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10_resnet20").mkdir()  # the zoo's network is meant, not this folder
    network = fcnn.load("cifar10_resnet20")
    assert "resnet20" in network._repr_html_()
    assert "airplane" in network._repr_html_()
    assert repr(network) == "LoadedNetwork(resnet20, 10 classes, images of 32 x 32 x 3)"
    with pytest.raises(UserError, match="only a run has a report"):
        network.show()


@pytest.mark.slow
def test_a_kernel_shows_progress_and_the_report(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    cells = [
        "import dataclasses, fcnn\n"
        "config = fcnn.Config(train=fcnn.TrainConfig(epochs=2, eval_epochs=2), model=fcnn.ModelConfig(name='lenet5'))\n"
        f"fcnn.train(config, workdir={str(tmp_path / 'run')!r})['kind']",
        f"fcnn.load({str(tmp_path / 'run')!r}).show()",
    ]
    book: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    updates: list[str] = []

    class Client(nbclient.NotebookClient):
        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            if msg["msg_type"] == "update_display_data":
                updates.append(msg["content"]["data"].get("text/html", ""))
            return super().process_message(msg, cell, cell_index)

    Client(book, timeout=300, kernel_name="python3").execute()
    train, show = ([dict(output) for output in cell.outputs] for cell in book.cells)
    printed = "".join(output["text"] for output in train if output["output_type"] == "stream")
    assert re.search(r"^epoch 2  train loss", printed, re.M)
    assert "\x1b" not in printed
    assert any("epoch 2/2" in update and "images" not in update for update in updates)
    assert updates[-1] == ""  # the line is taken away
    assert "Which classes are confused" in show[0]["data"]["text/html"]
