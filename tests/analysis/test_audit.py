"""`fcnn audit`: what was planted is seen, the page and the table hold any name, and the table is a list of
corrections."""

import csv
import io
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from harness import random_network
from html_page import Seen
from PIL import Image, ImageFilter

from fcnn import cli
from fcnn.analysis.audit import audit_folder
from fcnn.analysis.audit.issues import label_doubts
from fcnn.data.audit import measure_range
from fcnn.data.corrections import correct
from fcnn.data.layout import Entry, read_layout
from fcnn.data.parallel import no_progress
from fcnn.report.audit import KINDS, Audit, Issue, write_page, write_table
from fcnn.weights import write_network

ODD = "a/x,'\"<b>&.png", "a/two\nlines.png", "a/caf\udce9.png"


def photograph(seed: int, red: bool) -> Image.Image:
    """One of two kinds, by its color."""
    rng = np.random.default_rng(seed)
    noise = np.asarray(Image.fromarray(rng.integers(0, 90, (9, 12, 3)).astype(np.uint8)).resize((96, 72)))
    base = np.asarray([140, 40, 40] if red else [40, 40, 140])
    return Image.fromarray((noise + base + rng.integers(-15, 15, (72, 96, 3))).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two kinds of photographs, and one of each thing that an audit should see."""
    root = tmp_path_factory.mktemp("audit") / "my photos"
    for i in range(40):
        name = "ab"[i % 2]
        (root / name).mkdir(parents=True, exist_ok=True)
        photograph(i, name == "a").save(root / name / f"{i}.png")
    for i, name in enumerate(ODD):
        photograph(100 + i, True).save(os.fsencode(root / name), "PNG")
    photograph(200, False).save(root / "a/wrong.png")
    shutil.copy(root / "a/0.png", root / "a/again.png")
    shutil.copy(root / "b/1.png", root / "a/both.png")
    photograph(300, True).filter(ImageFilter.GaussianBlur(6)).save(root / "a/blurred.png")
    Image.fromarray(np.asarray(photograph(301, True)) // 8).save(root / "a/dark.png")
    photograph(302, True).resize((8, 6)).save(root / "a/tiny.png")
    (root / "b/bad.png").write_bytes(b"nothing")
    write_network(root.parent / "small.safetensors", random_network("lenet5", size=16, norm="batch"))
    return root


@pytest.fixture(scope="module")
def audited(folder):
    """Where two audits of it are, and what the first printed."""
    outs = [folder.parent / name for name in ("first", "second")]
    weights = ["--weights", str(folder.parent / "small.safetensors")]
    for out in outs:
        assert cli.main(["audit", str(folder), "--out", str(out), *weights]) == 0
    return outs


def rows(out: Path) -> dict[str, dict[str, str]]:
    """The table's lines by path."""
    lines = list(csv.DictReader(io.StringIO((out / "audit.csv").read_text(), newline="")))
    assert len({line["path"] for line in lines}) == len(lines)
    return {line["path"]: line for line in lines}


def test_what_was_planted_is_in_the_table(audited):
    found = rows(audited[0])
    for path, kind, suggested in (
        ("a/wrong.png", "wrong label", "b"),
        ("a/again.png", "duplicate", "-"),
        ("a/both.png", "two labels", None),
        ("b/1.png", "two labels", None),
        ("a/blurred.png", "blurred", None),
        ("a/dark.png", "dark", None),
        ("a/tiny.png", "tiny", None),
        ("b/bad.png", "unreadable", "-"),
    ):
        assert kind in found[path]["issue"].split("; "), path
        assert suggested in (None, found[path]["suggested"]), path
        assert found[path]["label"] == ("" if kind == "unreadable" else path[0])
    assert "the same file: b/1.png" in found["a/both.png"]["details"]


def test_the_same_folder_has_the_same_audit(audited):
    for name in ("audit.csv", "audit.html"):
        first, second = ((out / name).read_text() for out in audited)
        assert first == second.replace("second", "first")


def test_the_page_needs_nothing_and_shows_what_is_doubtful(audited):
    content = (audited[0] / "audit.html").read_bytes()
    seen = Seen(content)
    assert {tag for tag, _ in seen.tags}.isdisjoint({"script", "link", "iframe"})
    assert all(values["src"].startswith("data:image/") for tag, values in seen.tags if tag == "img")
    assert all(values["alt"] for tag, values in seen.tags if tag == "img")
    for words in ("Labels that are likely wrong", "a/wrong.png", "a → b", "duplicate of b/1.png", "fcnn train"):
        assert words in seen.text, words
    order = [seen.text.index(f"{KINDS[kind][0]} (") for kind in ("wrong label", "two labels", "duplicate", "dark")]
    assert order == sorted(order)


def test_a_table_that_nobody_edited_changes_nothing(folder, audited):
    """But leaves out what can't be read: its label is empty."""
    corrected = correct(read_layout(folder), str(audited[0] / "audit.csv"))
    assert not corrected.changed
    assert [entry.path for entry in corrected.removed] == ["b/bad.png"]


def test_a_label_that_is_likely_wrong_is_so_for_the_class_that_is_suggested():
    """Of class 1, whose own images have 0.9, 0.5 is little; of class 2, whose own have 0.4, 0.45 is much."""
    own = {0: [0.8, 0.1, 0.1], 1: [0.05, 0.9, 0.05], 2: [0.3, 0.3, 0.4]}
    labels = np.repeat([0, 1, 2], 6)
    probabilities = np.asarray([own[label] for label in labels.tolist()])
    probabilities[0] = [0.05, 0.5, 0.45]
    entries = [Entry(f"{i}.png", "train", "abc"[label]) for i, label in enumerate(labels.tolist())]
    (issue,) = label_doubts(entries, "abc", labels, np.log(probabilities), np.arange(18))
    assert (issue.kind, issue.path, issue.suggested) == ("wrong label", "0.png", "c")
    assert issue.details == "a 5.0 %, c 45.0 %"


def test_files_that_vanish_meanwhile_are_left_out(folder, monkeypatch, tmp_path):
    """What the others are judged by doesn't see them, and they are no doubt."""
    shutil.copytree(folder, tmp_path / "photos")
    lost, weights = ("a/0.png", "b/1.png", "b/3.png"), str(folder.parent / "small.safetensors")

    def vanish(entries, infos):
        for path in lost:
            (tmp_path / "photos" / path).unlink(missing_ok=True)
        return measure_range(entries, infos)

    monkeypatch.setattr("fcnn.analysis.audit.measure_range", vanish)
    first, second = (  # of what is there, and of what is left
        audit_folder(tmp_path / "photos", weights=weights, corrections=None, log=print, progress=no_progress)
        for _ in range(2)
    )
    assert first.notes == (f"Changed while they were read, and not judged: {', '.join(lost)}",)
    assert (first.issues, first.accuracy, first.images) == (second.issues, second.accuracy, second.images)
    assert second.notes == ()


def edited(source: Path, target: Path, **labels: str) -> None:
    lines = rows(source)
    for path, label in labels.items():
        lines[path]["label"] = label
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, next(iter(lines.values())))
        writer.writeheader()
        writer.writerows(lines.values())


def test_an_edited_table_is_a_list_of_corrections_and_stays_one(folder, audited, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    edited(audited[0], tmp_path / "mine.csv", **{"a/wrong.png": "b", "a/both.png": "-", "a/again.png": ""})
    weights = ["--weights", str(folder.parent / "small.safetensors")]
    assert cli.main(["audit", str(folder), "--data.corrections", "mine.csv", *weights]) == 0
    said = capsys.readouterr().out
    assert "mine.csv corrects the labels of 1 images and leaves out 3" in said
    after = rows(Path("audits/my photos-001"))
    assert (after["a/wrong.png"]["label"], after["a/both.png"]["label"]) == ("b", "")
    assert "wrong label" not in after["a/wrong.png"]["issue"]
    assert "b/1.png" not in after or "two labels" not in after["b/1.png"]["issue"]
    before, again = (correct(read_layout(folder), file) for file in ("mine.csv", "audits/my photos-001/audit.csv"))
    assert (before.layout, before.removed) == (again.layout, again.removed)


@pytest.mark.slow
def test_the_command_that_it_prints_works(folder, audited, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    weights = ["--weights", str(folder.parent / "small.safetensors")]
    assert cli.main(["audit", str(folder), "--out", "out", *weights]) == 0
    said = capsys.readouterr().out
    edited(Path("out"), Path("out/audit.csv"), **{"a/wrong.png": "b"})
    command = shlex.split(re.findall(r"\n  fcnn (train .*)\n", said)[0])
    options = ["--transfer.weights", weights[1], "--train.epochs", "1", "--workdir", "run"]
    assert cli.main([*command, *options]) == 0
    assert "b,a/wrong.png" in (tmp_path / "run/splits.csv").read_text(errors="replace")


def test_a_table_is_not_overwritten(folder, audited, capsys):
    before = (audited[0] / "audit.csv").read_bytes()
    assert cli.main(["audit", str(folder), "--out", str(audited[0])]) == 2
    assert "is there already, perhaps with your corrections; take another --out" in capsys.readouterr().err
    assert (audited[0] / "audit.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "there is no such folder"),
        (["{folder}/a"], "put the images of each class"),
        (["{folder}", "--weights", "resnet19"], "unknown network 'resnet19'"),
        (["{folder}", "--data.corrections", "no.csv"], "data.corrections no.csv can't be read"),
        (["{copies}"], "all 6 images are copies of one another"),
    ],
)
def test_mistakes_are_a_line(folder, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    copies = folder.parent / "copies"
    weights = [] if "--weights" in arguments else ["--weights", str(folder.parent / "small.safetensors")]
    for name in ("a/1", "a/2", "a/3", "b/1", "b/2", "b/3"):
        (copies / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "a/0.png", copies / f"{name}.png")
    assert cli.main(["audit", *(word.format(folder=folder, copies=copies) for word in arguments), *weights]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_any_name_is_held(tmp_path):
    issues = [Issue(kind, name, "<i>a", "b\n\"'", 0.5, "<b>", "c<d") for name in ODD for kind in KINDS]
    audit = Audit(Path("/<u>"), 9, ["<i>a"], "w", 0.5, issues, [], ["<note>"], lambda _: None)
    write_table(tmp_path / "t.csv", audit)
    write_page(tmp_path / "p.html", audit, "fcnn train '<u>'", lambda items, *_: items)
    lines = list(csv.reader(io.StringIO((tmp_path / "t.csv").read_text(encoding="utf-8"), newline="")))
    assert [len(line) for line in lines] == [6] * (1 + len(ODD))
    assert len((tmp_path / "t.csv").read_text().splitlines()) == len(lines)
    tags = {tag for tag, _ in Seen((tmp_path / "p.html").read_bytes()).tags}
    assert tags.isdisjoint({"b", "i", "u", "d", "note"})
