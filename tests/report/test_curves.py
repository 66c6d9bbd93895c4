"""The picture of a run: what its axes say."""

import json

import pytest

from fcnn.report import draw_curves


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws the curves of a run of so many epochs and gives back the figure."""
    from matplotlib.figure import Figure

    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: kept.append(figure))

    def draw(epochs: int, **options):
        records = [
            {"kind": "epoch", "split": split, "weights": "raw", "step": 10 * epoch, "epoch": float(epoch)}
            | {"loss": 1 / epoch, "top1": 0.5}
            for epoch in range(1, epochs + 1)
            for split in ("train", "validation")
        ]
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        draw_curves(tmp_path, "a run", best_step=10, **options)
        return kept.pop()

    return draw


@pytest.mark.parametrize("epochs", [2, 3, 7, 200])
def test_an_epoch_is_a_whole_number(epochs, drawn):
    for axis in drawn(epochs).axes:
        assert all(tick == round(tick) for tick in axis.get_xticks())


def test_the_loss_says_what_it_leaves_out(drawn):
    assert drawn(2).axes[0].get_ylabel() == "cross-entropy loss"
    assert drawn(2, smoothed=True).axes[0].get_ylabel() == "cross-entropy loss, label smoothing left out"
