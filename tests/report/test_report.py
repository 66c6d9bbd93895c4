"""A run's page and the page of several: what stands on them, that they need nothing else, that nothing breaks out."""

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from html_page import Seen, check_stands_alone
from matplotlib.figure import Figure
from PIL import Image

from fcnn import cli
from fcnn.data import Split
from fcnn.report.answer import write_answer
from fcnn.report.calibration import write_calibration
from fcnn.report.compare import Compared, write_comparison
from fcnn.report.files import png, readable
from fcnn.report.fit import curve, fit, lag
from fcnn.report.page import Mistake, ReportData, write_page
from fcnn.report.pictures import thumbnail, tiles
from fcnn.training.predictions import Predictions
from fcnn.utils.html import page, paragraph, picture, shaded, table


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with two small runs, a and b."""
    folder = tmp_path_factory.mktemp("runs")
    for name, rate in (("a", "0.1"), ("b", "0.01")):
        options = ["--model.name", "linear", "--train.epochs", "3", "--optim.learning-rate", rate]
        assert cli.main(["train", "--config", "resnet", *options, "--workdir", str(folder / name)]) == 0
    return folder


def test_a_run_writes_its_page(runs):
    seen = check_stands_alone((runs / "a/report.html").read_bytes())
    headings = ("The answer", "Result", "Curves", "are confused", "mistakes", "first layer", "repeat", "Configuration")
    assert all(heading in seen.text for heading in headings)
    assert re.search(r"test accuracy\s*\d+\.\d\d % \(95 % confidence interval", seen.text)
    assert re.search(r"Overfitting|Underfitting|Neither", seen.text)
    assert "10 of 10 kernels of head, 8 x 8 pixels" in seen.text
    assert "images/s in training" in seen.text
    assert "jax 0." in seen.text
    assert "optim.learning_rate" in seen.text
    assert "650" in seen.text  # parameters
    assert re.search(r"About \d+ of 100 images\s+are recognized\.", seen.text)
    assert "Tested on 360 images" in seen.text
    assert sum(tag == "img" for tag, _ in seen.tags) >= 3


def test_runs_side_by_side(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    out = tmp_path / "both.html"
    assert cli.main(["compare", "a", "b", "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    seen = check_stands_alone(out.read_bytes())
    assert "optim.learning_rate" in seen.text
    assert "optim.momentum" not in seen.text  # the same in both
    assert "2 runs side by side" in seen.text


def test_of_equal_accuracies_the_lower_loss_is_the_best(tmp_path):
    """As everywhere (`records.rank`)."""
    rows = records([(1, 0.5)] * 3, [(1, 0.5), (0.6125, 0.8), (0.9, 0.8)])
    write_comparison(tmp_path / "x.html", [Compared("one", {}, rows)])
    assert "one 80.00 % 0.6125 2 " in " ".join(Seen((tmp_path / "x.html").read_bytes()).text.split())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("a",), "two or more"),
        (("a", "nowhere"), "there is no folder nowhere"),
        (("a", "."), "not the folder of a run"),
        (("a", "b", "--out", "x.txt"), "must name an .html file"),
        (("a", "b", "--out", "no/x.html"), "there is no folder no"),
    ],
)
def test_what_can_not_be_compared_is_a_line(args, words, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    assert cli.main(["compare", *args]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not list(runs.glob("*.html"))


EVIL = "<script>alert('x')</script>\"&'"


def test_nothing_breaks_out_of_a_page(tmp_path):
    """Class names and paths are the user's."""
    mistake = Mistake(np.zeros((4, 4, 3), np.uint8), EVIL, EVIL, 0.9)
    insight = ReportData(
        title=EVIL, command=EVIL, config={EVIL: EVIL}, classes=[EVIL, "b"], parameters=1, devices=EVIL, best_step=None,
        confusion=np.eye(2, dtype=int), mistakes=[mistake], first_layer=EVIL, filters=np.ones((1, 3, 3, 1), np.float32),
    )  # fmt: skip
    seen = check_stands_alone(write_page(tmp_path, insight).read_bytes())
    assert seen.text.count(EVIL) >= 6
    parts = [
        paragraph(EVIL),
        table([(EVIL, EVIL)], (EVIL, EVIL), EVIL),
        shaded([[1]], [EVIL], EVIL),
        picture(b"", EVIL),
    ]
    assert all(tag != "script" for tag, _ in Seen(page(EVIL, [(EVIL, part) for part in parts])).tags)


def _tested(top1=0.87, interval=(0.84, 0.9), **classes):
    """A test record; classes by (recall, test images)."""
    recall, images = ({name: pair[i] for name, pair in classes.items()} for i in (0, 1))
    return {"kind": "test", "top1": top1, "interval": interval, "count": 478, "recall": recall, "images": images}


def test_the_answer_comes_first(tmp_path):
    facts = {"classes": ["glass", "metal", "paper"], "images": {"train": [40, 300, 280]}}
    (tmp_path / "data.json").write_text(json.dumps(facts))
    test = _tested(glass=(0.6, 20), metal=(0.9, 80), paper=(0.79, 80))
    rows = records([(1, 0.5), (0.9, 0.6), (0.8, 0.7)], [(1, 0.5), (0.9, 0.6), (0.8, 0.7)])
    config = {"data.name": "folder:/x/my photos", "data.corrections": None}
    text = Seen(write_answer(tmp_path, [*rows, test], config).encode()).text
    assert "About 87 of 100 photographs" in text
    assert "between 84 and 90 of 100" in text
    assert "glass: 60 of 100, from 40 photographs, paper: 79 of 100, from 280 photographs" in text
    assert "More photographs of glass would help most" in text
    assert "metal" not in text
    assert "fcnn audit '/x/my photos'" in text
    assert "Training longer may help" in text


def test_classes_with_about_as_many_images_as_others_do_not_want_more(tmp_path):
    facts = {"classes": ["plastic", "glass", "paper"], "images": {"train": [49, 48, 48]}}
    (tmp_path / "data.json").write_text(json.dumps(facts))
    test = _tested(plastic=(0.42, 12), glass=(0.67, 12), paper=(0.95, 12))
    text = Seen(write_answer(tmp_path, [test], {"data.name": "digits"}).encode()).text
    assert "plastic: 42 of 100, from 49" in text
    assert "would help most" not in text
    assert "look at their labels" in text


@pytest.mark.parametrize(
    ("test", "train", "words"),
    [
        (_tested(a=(0.87, 80), b=(0.85, 80)), [9, 9], "All classes are recognized about equally well"),
        (_tested(a=(0.5, 80), b=(0.9, 80)), [900, 9], "They don't have fewer images than others"),
        (_tested(a=(0.0, 2), b=(0.9, 80)), [9, 9], "too few test images of each class"),  # two say nothing
        (_tested(a=(0.9, 9), b=(0.1, 9)), [9, 9], "too few test images of each class to compare the classes: 10"),
        (_tested(a=(None, 0), b=(0.9, 80), c=(0.88, 90)), [9, 9], "Classes with at least 10 test images are recogn"),
        (_tested(top1=0.996, interval=(0.95, 1.0)), [9, 9], "About 99.6 of 100 images"),
        (_tested(interval=(0.7, 0.95)), [9, 9], "a rough figure"),
        (None, [9, 9], "About 70 of 100 images"),
    ],
)
def test_what_the_answer_says(tmp_path, test, train, words):
    (tmp_path / "data.json").write_text(json.dumps({"classes": ["a", "b"], "images": {"train": train}}))
    rows = records([(1, 0.5), (0.5, 0.8), (0.01, 1.0)], [(1, 0.5), (0.6, 0.7), (0.9, 0.6)])
    text = Seen(write_answer(tmp_path, rows if test is None else [*rows, test], {"data.name": "digits"}).encode()).text
    assert words in " ".join(text.split())
    assert "fcnn audit" not in text
    assert "Training longer won't help" in text
    assert "Not known yet" in write_answer(tmp_path, [], {})


def test_the_answer_of_a_linear_probe(tmp_path):
    """There are no curves and no validation images: what the page has nothing for, it doesn't point to."""
    choice = {"estimate": {"learning_curve": [[53, 0.6, 0.1], [106, 0.7, 0.1], [212, 0.735, 0.0]]}}
    (tmp_path / "strategy.json").write_text(json.dumps(choice))
    (tmp_path / "data.json").write_text(json.dumps({"classes": ["a", "b"], "images": {"train": [150, 62]}}))
    where = {"split": "test", "weights": "raw", "step": 0, "epoch": 0.0, "checkpoint": 0}
    test = _tested(a=(0.5, 80), b=(0.9, 80)) | {"loss": 0.5} | where
    (tmp_path / "metrics.jsonl").write_text(json.dumps(test) + "\n")
    config = {"data.name": "folder:photos", "transfer.strategy": "pretrained"}
    data = ReportData(
        title="t", command="c", config=config, classes=["a", "b"], parameters=1, devices="d", best_step=None,
        confusion=None, mistakes=[], first_layer="l", filters=np.ones((1, 3, 3, 3), np.float32),
    )  # fmt: skip
    text = " ".join(Seen(write_page(tmp_path, data).read_bytes()).text.split())
    for words in (
        "With 212 instead of 106 training photographs, a linear classifier on the",
        "recognizes 3.5 more of 100 photographs (cross-validated)",
        "look at their labels.",
        "what may help is training the others, too (--transfer.strategy full)",
    ):
        assert words in text
    for words in ("below at what", "too short", "Curves", "mistakes"):
        assert words not in text
    choice["estimate"]["learning_curve"][1][1] = 0.7352
    for reason, words in (
        ("as 212 images are too few to fine-tune", "few images; more of them may help, or training"),
        ("as there is no time to fine-tune: ...", "give it more time (--minutes)"),
    ):
        (tmp_path / "strategy.json").write_text(json.dumps(choice | {"reason": reason}))
        text = " ".join(Seen(write_page(tmp_path, data).read_bytes()).text.split())
        assert words in text
        assert "recognizes no more photographs (cross-validated)" in text


def test_what_else_a_run_keeps_is_a_table(tmp_path):
    strategy = {"strategy": "head", "estimates": {"head": {"accuracy": 0.876543, "interval": [0.85, 0.9]}}, EVIL: EVIL}
    (tmp_path / "strategy.json").write_text(json.dumps(strategy | {"bins": list(range(99))}))
    (tmp_path / "calibration.json").write_text("{damaged")
    notes = [EVIL, *(f"note {i}" for i in range(20))]
    (tmp_path / "data.json").write_text(json.dumps({"notes": notes, "skipped": ["a.png: damaged"]}))
    data = ReportData(
        title="t", command="c", config={}, classes=["a"], parameters=1, devices="d", best_step=None, confusion=None,
        mistakes=[], first_layer="l", filters=np.ones((1, 3, 3, 3), np.float32),
    )  # fmt: skip
    text = " ".join(check_stands_alone(write_page(tmp_path, data).read_bytes()).text.split())
    for words in ("How it was chosen", "estimates.head.accuracy 0.8765", "interval 0.85, 0.9", "bins 99 values", EVIL):
        assert words in text
    assert f"Notes on the images {EVIL} note 0" in text
    assert "note 10 and 10 more, in data.json" in text
    assert "Calibration" not in text


def test_the_page_shows_how_far_to_trust_a_probability(tmp_path):
    bins = [(0, 0.0, 0.0), (40, 0.6, 0.5), (60, 0.9, 1.0)]
    report = {"images": 100, "temperature": 0.5, "error_before": 0.2, "error": 0.1, "coverage": 0.95, "covered": 0.96}
    report |= {"set_size": 1.5, "error_floor": 0.07, "reliability": {"before": bins, "after": bins}}
    values = {"held_out": report, "calibration": {"least_similarity": 0.4, "class_means": "long"}}
    (tmp_path / "calibration.json").write_text(json.dumps(values))
    content = str(write_calibration(tmp_path))
    text = " ".join(Seen(content.encode()).text.split())
    for words in (
        "On 100 images",
        "10.0 points apart",
        "would have about 7.0 points",
        "it would be 20.0 points",
        "96.0 % of these images",
        "5 % of the",
    ):
        assert words in text
    assert "Reliability diagram of 100 images" in content
    assert "long" not in content
    values["calibration"]["least_similarity"] = report["coverage"] = None
    (tmp_path / "calibration.json").write_text(json.dumps(values))
    assert "fcnn predict" not in str(write_calibration(tmp_path))
    for damaged in ("{", "[]", '{"held_out": {}, "calibration": {}}'):
        (tmp_path / "calibration.json").write_text(damaged)
        assert write_calibration(tmp_path) is None


def test_many_classes_are_told_by_their_worst_pairs(tmp_path):
    counts = np.eye(100, dtype=int) * 9
    counts[3, 5] = 4
    insight = ReportData(
        title="t", command="c", config={}, classes=[f"class {i}" for i in range(100)], parameters=1, devices="d",
        best_step=None, confusion=counts, mistakes=[], first_layer="l", filters=np.ones((1, 3, 3, 3), np.float32),
    )  # fmt: skip
    text = " ".join(Seen(write_page(tmp_path, insight).read_bytes()).text.split())
    assert "class 3 class 5 4 13" in text
    assert "class 7" not in text


def records(train, validation):
    """An epoch for each pair of (loss, accuracy)."""
    return [
        {"kind": "epoch", "split": split, "weights": "raw", "step": i, "epoch": i, "loss": loss, "top1": top1}
        for split, rows in (("train", train), ("validation", validation))
        for i, (loss, top1) in enumerate(rows, start=1)
    ]


@pytest.mark.parametrize(
    ("train", "validation", "beginning"),
    [
        ([(1, 0.5), (0.5, 0.8), (0.01, 1.0)], [(1, 0.5), (0.6, 0.75), (0.9, 0.8)], "Overfitting"),
        ([(1, 0.5), (0.5, 0.8), (0.1, 0.97)], [(0.5, 0.94), (0.3, 0.95), (0.5, 0.95)], "Overfitting"),
        ([(1, 0.5), (0.9, 0.6), (0.8, 0.7)], [(1, 0.5), (0.9, 0.6), (0.8, 0.7)], "Underfitting"),
        ([(1, 0.5), (0.5, 0.8), (0.1, 0.99)], [(1, 0.5), (0.5, 0.8), (0.1, 0.98)], "Neither"),
        ([(1, 0.5), (0.5, 0.8), (0.3, 0.96)], [(1, 0.5), (0.5, 0.8), (0.1, 0.99)], "Neither"),  # augmented
        ([(1, 0.5)], [(1, 0.5)], "The run is too short"),
        ([(1, 0.5), (0.5, 0.8)], [], "No validation split"),
    ],
)
def test_the_sentence_on_the_fit(train, validation, beginning):
    assert fit(records(train, validation)).startswith(beginning)


def test_of_raw_and_averaged_weights_the_better_is_what_a_run_is_judged_by():
    """At each evaluation; the average where they are equal. What lags far behind gets a sentence."""
    raw = records([], [(1, 0.5), (1, 0.9), (1, 0.9)])
    averaged = [row | {"weights": "ema", "top1": top1} for row, top1 in zip(raw, (0.7, 0.8, 0.9), strict=True)]
    pairs = list(zip(raw, averaged, strict=True))
    assert curve([row for pair in pairs for row in pair], "validation") == [averaged[0], raw[1], averaged[2]]
    assert [lag(pair, 0.9999) is not None for pair in pairs] == [False, True, False]
    assert "80.00 against 90.00 %: lower --train.ema-decay (it is 0.9999)" in str(lag(pairs[1], 0.9999))
    assert lag(raw[:1], 0.9999) is None


def test_confusion_and_mistakes_are_counted_by_hand():
    probabilities = np.asarray([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.1, 0.6], [0.05, 0.95, 0]], np.float32)
    split = Split(np.zeros((4, 2, 2, 1), np.uint8), np.asarray([0, 0, 2, 2], np.int32))
    found = Predictions(split, np.arange(4), np.log(np.maximum(probabilities, 1e-9)))
    np.testing.assert_allclose(found.probabilities, probabilities, atol=1e-6)
    assert found.confusion().tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
    assert found.mistakes(5).tolist() == [3, 1]
    assert found.mistakes(1).tolist() == [3]


@pytest.mark.parametrize("shape", [(16, 3, 3, 3), (64, 3, 3, 1), (96, 11, 11, 3), (10, 8, 8, 1), (1, 1, 1, 64)])
def test_filters_are_drawn_with_zero_in_the_middle(shape):
    drawn = np.asarray(Image.open(io.BytesIO(tiles(np.zeros(shape, np.float32)))))
    assert {127, 128} & set(np.unique(drawn).tolist())
    assert drawn.shape[1] >= 1
    bright = np.asarray(Image.open(io.BytesIO(tiles(np.ones(shape, np.float32)))))
    assert bright.min() == 255


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (500, 300, 3)])
def test_a_thumbnail_is_neither_tiny_nor_large(shape):
    image = thumbnail(np.zeros(shape, np.uint8))
    assert 90 <= max(image.size) <= 112


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
def test_a_browser_shows_the_page(runs, tmp_path):
    shot = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1100,3000", f"--screenshot={shot}"]
    url = Path(runs / "a/report.html").as_uri()
    subprocess.run([str(BROWSER), *options, url], check=True, capture_output=True, timeout=120)
    with Image.open(shot) as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 50


@pytest.mark.parametrize("name", ["a$_{$", "50 $ \\frac", "caf\udce9", r"\xff"])
def test_a_name_is_drawn_as_it_stands(name):
    def drawn(title):
        figure = Figure(figsize=(3, 2))
        axis = figure.subplots()
        axis.plot([1, 2], [1, 1000], label=title)
        axis.set(title=title, yscale="log")
        axis.set_xticks([1, 2], [readable(title), "b"])
        axis.legend()
        content = png(figure)
        assert "$" in axis.get_yticklabels()[1].get_text()  # a power of ten, drawn as one
        assert axis.get_yticklabels()[1].get_parse_math()
        return content

    assert drawn(name) != drawn("b")
