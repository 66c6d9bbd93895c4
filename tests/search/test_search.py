"""`fcnn search`: the space, what is drawn and pruned, what happens to trials that are left behind, and the command."""

import csv
import dataclasses
import os
import re
import signal
import sqlite3
import time

import optuna
import pytest
from harness import start, unread
from optuna.trial import TrialState
from PIL import Image
from sqlalchemy.pool import NullPool

from fcnn import cli
from fcnn.config import Config
from fcnn.config.serialize import options
from fcnn.report import Console
from fcnn.runtime.signals import Interrupted
from fcnn.search import worker
from fcnn.search.space import default_space, parse_space, replaced
from fcnn.search.study import Job, open_study, results, sqlite_url
from fcnn.search.worker import work
from fcnn.training import run_data, trainer
from fcnn.utils.errors import UserError

BASE = replaced(Config(), {"model.name": "linear", "train.epochs": 3.0})


def make_job(folder, *over, sampler="random", trials=6, config=BASE):
    folder.mkdir(exist_ok=True)
    space = tuple(parse_space(over, config) if over else default_space(config))
    return Job(config, space, sampler, trials, folder, sqlite_url(folder / "study.db"))


@pytest.fixture
def quick(monkeypatch):
    """Runs that take no time: the accuracy grows with the rate, in four evaluations, of which records are kept."""
    made = []

    def train(config, folder, console, *, test, callbacks):
        assert not test
        made.append(folder.name)
        folder.mkdir(exist_ok=True)
        rows = []
        for epoch in range(1, 5):
            top1 = min(config.optim.learning_rate, 1) * epoch / 4
            where = {"kind": "epoch", "split": "validation", "weights": "raw", "step": epoch, "epoch": epoch}
            rows.append(where | {"top1": top1, "loss": 1.0})
            monkeypatch.setitem(kept, folder, list(rows))
            if epoch < 4:
                for callback in callbacks:  # with what comes after the evaluation
                    callback({"kind": "steps", "split": "train", "step": epoch + 0.5})
        return rows[-1]

    kept = {}
    monkeypatch.setattr(trainer, "train", train)
    monkeypatch.setattr(worker, "read_records", lambda folder: kept.get(folder, []))
    return made


def drawn(study):
    return [(t.state.name, t.value, t.user_attrs.get("values")) for t in results(study)]


@pytest.mark.parametrize(("sampler", "count"), [("random", 6), pytest.param("tpe", 14, marks=pytest.mark.slow)])
def test_one_worker_draws_the_same_again(sampler, count, quick, tmp_path):
    """In one go, or in two with a process's end between."""
    studies = []
    for name, stops in (("a", (count,)), ("b", (2, count))):
        for trials in stops:
            job = make_job(tmp_path / name, sampler=sampler, trials=trials)
            work(job)
        studies.append(drawn(open_study(job)))
    assert studies[0] == studies[1]
    assert len({str(values) for _, _, values in studies[0]}) == len(studies[0]) == count
    rates = [values["optim.learning_rate"] for _, _, values in studies[0]]
    assert min(rates) >= 0.00333
    assert max(rates) <= 1
    assert 0 < sum(rate < 0.0577 for rate in rates) < count  # the middle, in logarithms
    assert quick[:count] == [f"trial-{i:03d}" for i in range(count)]


def test_the_hopeless_are_pruned(quick, tmp_path):
    job = make_job(tmp_path / "study", "optim.learning-rate=0.9,0.8,0.7,0.6,0.1,0.95", sampler="grid")
    job = dataclasses.replace(job, trials=6)
    work(job)
    found = results(open_study(job))
    assert [t.state for t in found] == [TrialState.COMPLETE] * 4 + [TrialState.PRUNED, TrialState.COMPLETE]
    assert found[4].user_attrs["best"]["epochs"] == 2  # the first evaluation is too early to judge by


def test_a_grid_is_every_combination_once(quick, tmp_path):
    job = make_job(
        tmp_path / "study", "optim.learning-rate=log:0.01:1:3", "train.batch-size=16,32", sampler="grid", trials=6
    )
    work(job)
    work(job)
    found = [tuple(t.user_attrs["values"].values()) for t in results(open_study(job))]
    assert found == [(rate, size) for rate in (0.01, 0.1, 1.0) for size in (16, 32)]


def test_a_trial_that_was_left_behind_is_taken_up_in_its_folder(quick, tmp_path, monkeypatch):
    """By the next worker if its own was asked to stop; once its heartbeat has been silent for long if it was killed."""
    job = make_job(tmp_path / "study", trials=3)
    train = trainer.train

    def interrupted(*args, **options):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(trainer, "train", interrupted)
    with pytest.raises(Interrupted):
        work(job)
    monkeypatch.setattr(trainer, "train", train)
    study = open_study(job)
    with pytest.warns(UserWarning, match="Heartbeat"):
        killed = study.ask()  # takes up the first, and is never heard of again
    assert killed.number == 1
    rates = killed.params["optim.learning_rate"]
    with sqlite3.connect(job.folder / "study.db") as database:
        database.execute("INSERT INTO trial_heartbeats (trial_id, heartbeat) VALUES (?, '2001-01-01')", (2,))
    database.close()
    work(job)
    found = results(study)
    assert [t.state for t in found] == [TrialState.COMPLETE] * 3
    assert quick == ["trial-000", "trial-001", "trial-002"]
    assert {t.user_attrs["folder"] for t in found} == set(quick)
    assert rates in [t.params["optim.learning_rate"] for t in found if t.user_attrs["folder"] == "trial-000"]


def test_workers_that_draw_at_the_same_moment_make_no_trial_too_many(quick, tmp_path, monkeypatch):
    job = make_job(tmp_path / "study", trials=2)
    work(job)
    wanted = iter([True])
    monkeypatch.setattr(worker, "is_wanted", lambda *_: next(wanted, False))
    work(job)
    assert len(open_study(job).trials) == 3
    assert len(results(open_study(job))) == 2
    assert len(quick) == 2


def test_trials_are_runs_that_leave_the_test_split_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(run_data, "load", unread(run_data.load))
    job = make_job(tmp_path / "study", "optim.learning-rate=0.1,1e38", sampler="grid", trials=2)
    work(job)
    good, bad = results(open_study(job))
    assert good.user_attrs["best"]["top1"] > 0.8
    assert bad.state == TrialState.PRUNED
    assert bad.user_attrs["note"] == "diverged"
    folder = job.folder / "trial-000"
    assert {"config.json", "metrics.jsonl", "data.json", "curves.png", "checkpoints"} <= {
        p.name for p in folder.iterdir()
    }
    assert '"learning_rate": 0.1' in (folder / "config.json").read_text()
    assert '"split": "test"' not in (folder / "metrics.jsonl").read_text()
    with pytest.raises(AssertionError, match="test split was read"):
        trainer.train(replaced(BASE, {"optim.learning_rate": 0.1}), folder, Console(quiet=True))


@pytest.mark.slow
def test_the_command(tmp_path, fcnn):
    """Two workers in processes of their own; the best one's command; the same again has nothing left to do."""
    command = ["search", "--config", "resnet", "--model.name", "linear", "--train.epochs", "1", "--trials", "3"]
    over = ["--over", "optim.learning-rate=log:0.01:1", "--over", "augment.flip=true,false"]
    found = fcnn(*command, *over, "--workers", "2", cwd=tmp_path)
    assert found.returncode == 0, found.stderr + (tmp_path / "runs/search-resnet/workers.log").read_text()
    lines = found.stdout.splitlines()
    assert lines[0].startswith(
        "3 trials by random search over optim.learning-rate log:0.01:1, augment.flip true,false;"
    )
    assert [line[:4] for line in lines[1:4]] == ["[1/3", "[2/3", "[3/3"]
    rows = list(csv.DictReader((tmp_path / "runs/search-resnet/trials.csv").read_text().splitlines()))
    assert {row["trial"] for row in rows} == {"trial-000", "trial-001", "trial-002"}
    assert [row["state"] for row in rows] == ["done"] * 3
    assert float(rows[0]["top1"]) == max(float(row["top1"]) for row in rows)
    with Image.open(tmp_path / "runs/search-resnet/search.png") as image:
        assert min(image.size) > 300
    best = re.search(
        r"To train with the best values and evaluate on the test split: fcnn (train --config resnet .*)", lines[-1]
    )
    assert best is not None
    assert f"--optim.learning-rate {rows[0]['optim.learning-rate']}" in best[1]
    assert ("--augment.flip" in best[1]) == (rows[0]["augment.flip"] == "True")
    with pytest.raises(SystemExit):
        cli.main([*best[1].split(), "--help"])


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_and_the_same_command_goes_on(tmp_path, fcnn):
    command = ["search", "--config", "resnet", "--model.name", "mlp", "--trials", "2", "--train.epochs", "400"]
    with start("-m", "fcnn", *command, cwd=tmp_path) as process:
        records = tmp_path / "runs/search-resnet/trial-000/metrics.jsonl"
        while not (records.exists() and records.read_text()):
            assert process.poll() is None
            time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert out.splitlines()[-1].startswith("Saved. To continue: fcnn search --config resnet")
    url = sqlite_url(tmp_path / "runs/search-resnet/study.db")
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})  # which leaves nothing open
    study = optuna.load_study(study_name="search-resnet", storage=storage)
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--over", "optim.learning-rat=log:0.1:1"), "did you mean optim.learning-rate"),
        (("--over", "optim.learning-rate"), "must look like"),
        (("--over", "optim.learning-rate=log:0:1"), "LOW above 0"),
        (("--over", "optim.learning-rate=1:0.1"), "LOW below HIGH"),
        (("--over", "optim.learning-rate=a:b"), "a range is LOW:HIGH"),
        (("--over", "train.batch-size=16:64.5"), "of whole numbers"),
        (("--over", "model.dropout=0.5:2"), "model.dropout must be"),
        (("--over", "optim.name=sgd,adm"), "did you mean adam"),
        (("--over", "optim.name=sgd,adam", "--optim.momentum", "0.8"), "has no effect with adam"),
        (("--over", "optim.name=0:1"), "give choices"),
        (("--over", "augment.flip=maybe"), "'maybe' is not a valid value"),
        (("--over", "data.mean=0.1,0.2"), "unknown field"),
        (("--over", "data.val-fraction=0.1,0.2"), "compared by the same images"),
        (("--over", "seed=0,1", "--over", "seed=2,3"), "twice"),
        (("--sampler", "grid"), "needs the number of points"),
        (("--sampler", "grid", "--over", "seed=0,1,2", "--trials", "2"), "the grid has 3 points"),
        (("--trials", "0"), "--trials must be at least 1"),
        (("--sampler", "gird"), "gird"),
        (("--storage", "nothing://here"), "--storage nothing://here"),
    ],
)
def test_what_can_not_be_searched_is_a_line(args, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["search", "--config", "resnet", *args]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_study_goes_on_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    for here, name in ((".", "folder:photos"), ("below", "folder:../photos"), (".", f"folder:{tmp_path}/photos")):
        monkeypatch.chdir(tmp_path / here)
        open_study(make_job(tmp_path / "study", config=replaced(BASE, {"data.name": name})))


def test_a_study_is_about_one_thing(tmp_path):
    open_study(make_job(tmp_path / "study"))
    open_study(make_job(tmp_path / "study", trials=50))
    with pytest.raises(UserError, match=r"train.epochs: 3.0 -> 4.0"):
        open_study(make_job(tmp_path / "study", config=replaced(BASE, {"train.epochs": 4.0})))
    with pytest.raises(UserError, match=r"space: .* -> "):
        open_study(make_job(tmp_path / "study", "seed=0,1"))


def test_without_optuna_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["search", "--config", "resnet"]) == 2
    assert capsys.readouterr().err == "fcnn: fcnn search needs Optuna: pip install -e '.[search]'\n"


def test_options_are_what_makes_one_config_of_another():
    changed = replaced(
        Config(),
        {
            "augment.flip": True,
            "optim.milestones": (0.3, 0.6),
            "optim.schedule": "step",
            "model.dropout": 0.25,
            "seed": 3,
        },
    )
    words = options(Config(), changed)
    assert words[:1] == ["--augment.flip"]
    assert " ".join(words[1:]) == "--model.dropout 0.25 --optim.schedule step --optim.milestones 0.3 0.6 --seed 3"
    assert options(changed, replaced(changed, {"augment.flip": False})) == ["--augment.no-flip"]


@pytest.mark.parametrize("name", ["a b", "{x}{}", "100%41", "#1", "ä", "$_{"])
def test_the_database_lies_in_the_folder_of_the_study_whatever_its_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    open_study(make_job(folder, trials=1))
    assert [path.name for path in folder.iterdir()] == ["study.db"]
