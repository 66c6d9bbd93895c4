"""Every study in a very short version: what must be true of its numbers, and a verdict that follows them both ways."""

import csv
import dataclasses
import functools
import os
import re
import signal

import jax
import numpy as np
import pytest
from harness import ROOT

from fcnn import cli, registry
from fcnn.config import DataConfig, OptimConfig
from fcnn.data import load
from fcnn.data.parallel import no_progress
from fcnn.models import create
from fcnn.studies import (
    initialization,
    linear_stack,
    max_pooling,
    normalization,
    optimizers,
    output,
    random_search,
    regularization,
    residual,
    transfer,
    vanishing_gradient,
)
from fcnn.studies.study import clearly_above, pick
from fcnn.studies.training import Trainer, fewer

STUDIES = {name: registry.load(registry.STUDIES, name, "study") for name in registry.STUDIES}

# What makes each of them a matter of seconds.
SHORT = {
    "initialization": dict(seeds=2, depth=12, images=32),
    "vanishing_gradient": dict(seeds=1, depths=(6,), width=16, steps=2),
    "residual": dict(seeds=1, num_blocks=(1, 2), steps=2, batch_size=4),
    "batch_norm_rates": dict(seeds=1, rates=(0.01, 0.1), steps=2),
    "batch_norm_init": dict(seeds=1, scales=(0.1, 1.0), steps=2),
    "batch_size": dict(seeds=1, batches=(2,), images=20, epochs=1),
    "optimizers": dict(seeds=1, images=40, steps=2),
    "regularization": dict(seeds=1, images=40, steps=2),
    "small_kernels": dict(seeds=1, steps=2),
    "linear_stack": dict(seeds=2, images=60),
    "max_pooling": dict(seeds=1, shifts=(0, 1), steps=2),
    "random_search": dict(seeds=2, values=2, steps=3),
    "transfer": dict(seeds=1, images=(20, 40), steps=4, rates=(0.003, 0.01)),
}


# Those that compile many networks.
LONG = (
    *("vanishing_gradient", "residual", "batch_norm_rates", "batch_norm_init", "batch_size"),
    *("optimizers", "regularization", "transfer"),
)


@pytest.fixture(scope="module")
def digits():
    return load(DataConfig())


@pytest.fixture(scope="module")
def measured(digits):
    """The rows of a study's short version, measured once."""
    return functools.cache(lambda name: STUDIES[name](**SHORT[name]).run(digits, 0, no_progress))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in STUDIES]
)
def test_every_study_measures_decides_and_draws(name, measured, tmp_path):
    study, rows = STUDIES[name](**SHORT[name]), measured(name)
    assert set(study.keys) < set(rows[0])
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert all(np.isfinite(x) for row in rows for x in row.values() if isinstance(x, float))
    verdict = study.verdict(rows)
    output.write(study, name, rows, verdict, tmp_path)
    output.draw(study, name, rows, verdict, tmp_path)
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / f"{name}.csv").open() as file:
        assert len(list(csv.reader(file))) == len(rows) + 1
    told = (tmp_path / f"{name}.txt").read_text()
    assert f"The claim {'held' if verdict.held else 'did not hold'} here: " in told
    assert max(map(len, told.splitlines())) <= 160
    assert "Source: " in told


@pytest.mark.parametrize("name", ["initialization", "linear_stack", "small_kernels"])
def test_the_same_seed_gives_the_same_rows_and_another_one_others(name, measured, digits):
    study = STUDIES[name](**SHORT[name])
    assert study.run(digits, 0, no_progress) == measured(name)
    assert study.run(digits, 1, no_progress) != measured(name)
    assert not set(study.runs(0)) & set(study.runs(1))


def test_he_keeps_the_second_moment_under_relu_and_lecun_halves_it(measured):
    rows = measured("initialization")

    def moment(weights, layer, activation="relu"):
        return (pick(rows, "signal", activation=activation, weights=weights, layer=layer) ** 2).mean()

    assert 0.3 < moment("He", 12) / moment("He", 1) < 3
    assert 0.3 < 2**11 * moment("LeCun", 12) / moment("LeCun", 1) < 3
    assert moment("too small, 0.01", 12) < 1e-15
    assert pick(rows, "signal", activation="tanh").max() < 1
    assert 0.4 < pick(rows, "flat", activation="relu").mean() < 0.6


def test_kernels_are_composed_as_convolutions_are():
    """Against scipy-like full convolution by hand: an impulse through both, at a place of its own."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 3)
        kernels = [jax.random.normal(keys[0], (3, 3, 2, 3)), jax.random.normal(keys[1], (3, 3, 3, 4))]
        x = jax.random.normal(keys[2], (2, 9, 9, 2))
        one = linear_stack.composed(kernels)
        assert one.shape == (5, 5, 2, 4)
        conv = linear_stack.conv
        assert linear_stack.relative(conv(x, one), conv(conv(x, kernels[0]), kernels[1])) < 1e-14


def test_a_stack_is_one_convolution_to_the_last_digits(measured):
    rows = measured("linear_stack")
    assert pick(rows, "composed", between="none").max() < 1e-14
    assert pick(rows, "fitted", between="none").max() < 1e-12
    bent = [row for row in rows if row["between"] == "relu" and row["layers"] > 1]
    assert all(row["composed"] > row["fitted"] > 0.01 for row in bent)


@pytest.mark.slow
def test_the_gradient_shrinks_with_depth_under_sigmoid_alone(measured):
    rows = measured("vanishing_gradient")
    assert pick(rows, "ratio", depth=6, activation="sigmoid") < 0.25**3
    assert pick(rows, "ratio", depth=6, activation="relu") > 0.1


def test_what_three_small_kernels_cost(measured):
    """3 x 9 C^2 weights against 49 C^2, as section 2.3 of the paper counts them."""
    small, large = measured("small_kernels")
    assert (small["field"], large["field"]) == (7, 7)
    assert (small["parameters"], large["parameters"]) == (27 * 16**2, 49 * 16**2)
    assert all(row["multiply_adds"] == 64 * row["parameters"] for row in (small, large))


def test_an_image_that_is_not_moved_changes_nothing(measured):
    rows = measured("max_pooling")
    assert not pick(rows, "change", shift=0).any()
    assert (pick(rows, "change", shift=1) > 0).all()


def test_no_pixel_leaves_a_moved_image(digits):
    split = max_pooling.moved(digits.test, 3, 4)
    assert split.images.shape[1:] == (16, 16, 1)
    np.testing.assert_array_equal(split.images[:, 4:12, 7:15], digits.test.images)
    assert split.images.sum() == digits.test.images.sum()


def test_grid_and_random_trials_fill_the_same_space(measured):
    rows = measured("random_search")
    for name, (low, high) in random_search.SPACE.items():
        values = pick(rows, name)
        assert low < values.min() < values.max() < high
        assert len(set(pick(rows, name, search="grid"))) == 2
        assert len(set(pick(rows, name, search="random", seed=0))) == 8


def test_a_run_that_diverges_ends(digits):
    trainer = Trainer(digits, create("mlp", num_classes=10), OptimConfig(momentum=0.0), 30, 16)
    state, losses = trainer.train(0, rate=1e6)
    assert np.isinf(losses[-1])
    assert int(state.step) < 30


def test_one_step_serves_all_rates_and_evaluation_sees_every_image(digits):
    """The rate is an argument: 0 leaves the weights alone. By hand, the score is what NumPy counts."""
    trainer = Trainer(digits, create("linear", num_classes=10), OptimConfig(momentum=0.0), 2, 16)
    state, _ = trainer.train(0, rate=1e-30)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(trainer.start(0).params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-28)
    mean, std = digits.mean_std()
    x = (digits.test.images / 255 - mean) / std
    logits = x.reshape(360, -1) @ np.asarray(state.params["head"]["kernel"]) + np.asarray(state.params["head"]["bias"])
    hits = (logits.argmax(axis=1) == digits.test.labels).mean()
    assert trainer.score(state, digits.test).accuracy == pytest.approx(hits, abs=1e-6)


def test_halves_are_tasks_of_their_own(digits):
    first, second = transfer.halves(digits)
    assert first.classes + second.classes == digits.classes
    assert len(first.train) + len(second.train) == len(digits.train)
    assert set(first.train.labels) == set(second.test.labels) == set(range(5))
    few = fewer(second, 20, seed=3)
    assert np.bincount(few.train.labels).tolist() == [4] * 5
    assert not np.array_equal(few.train.images, fewer(second, 20, seed=4).train.images)


def test_clearly_above_is_two_standard_errors():
    low = np.asarray([0.0, 2.0])  # mean 1, standard error 1
    assert clearly_above(low + 2.9, low)
    assert not clearly_above(low + 2.8, low)  # 2 sqrt(2) = 2.83
    assert not clearly_above(low, low + 2.9)


# For each study, rows that agree with its claim, and what must change in them to refute it: {keys: values}.
def rows_of(base, cases, seeds=3):
    """A row for each case and seed; `base` and a case give its columns."""
    return [{**base, **case, "seed": seed} for case in cases for seed in range(seeds)]


def change(rows, where, **columns):
    """The rows with other values where the columns are as given."""
    return [row | columns if all(row[key] == value for key, value in where.items()) else row for row in rows]


SMALL, LARGE, LECUN, XAVIER, HE = initialization.WEIGHTS
AGREEING = {
    "initialization": rows_of(
        dict(flat=0.6),
        [dict(activation=a, weights=w, layer=1, signal=1.0) for a in ("tanh", "relu") for w in initialization.WEIGHTS]
        + [
            dict(activation=a, weights=w, layer=30, signal=s)
            for a, w, s in [
                ("tanh", SMALL, 1e-9), ("tanh", LARGE, 0.9), ("tanh", LECUN, 0.2), ("tanh", XAVIER, 0.2),
                ("tanh", HE, 0.7), ("relu", SMALL, 1e-9), ("relu", LARGE, 1e9), ("relu", LECUN, 1e-4),
                ("relu", XAVIER, 1e-4), ("relu", HE, 1.1),
            ]
        ],
    ),
    "vanishing_gradient": rows_of(
        {},
        [
            dict(activation=a, depth=d, ratio=1e-6 if a == "sigmoid" and d == 12 else 0.5,
                 accuracy=0.1 if a == "sigmoid" and d == 12 else 0.9)
            for a in vanishing_gradient.ACTIVATIONS for d in (2, 12)
        ],
    ),
    "residual": rows_of(
        dict(accuracy=0.9),
        [dict(network=n, layers=k, loss=1.0 if (n, k) == ("plain", 38) else 0.1)
         for n in residual.SHORTCUTS for k in (8, 20, 38)],
    ),
    "batch_norm_rates": rows_of(
        {},
        [dict(norm=n, rate=r, accuracy=0.95 if n == "batch" or r < 1 else 0.1)
         for n in normalization.WITH_AND_WITHOUT for r in (0.1, 1.0, 10.0)],
    ),
    "batch_norm_init": rows_of(
        {},
        [dict(norm=n, scale=s, accuracy=0.95 if n == "batch" or s == 1 else 0.1)
         for n in normalization.WITH_AND_WITHOUT for s in (0.1, 1.0, 10.0)],
    ),
    "batch_size": rows_of(
        {},
        [dict(norm=n, batch=b, accuracy=0.5 if (n, b) == ("batch", 2) else 0.9,
              gap=0.5 if (n, b) == ("batch", 2) else 0.0)
         for n in normalization.NORMS for b in (2, 32)],
    ),
    "optimizers": rows_of(
        dict(rate=0.1, loss=0.01),
        [dict(optimizer=o, accuracy=0.95 if o in optimizers.PLAIN else 0.9) for o in optimizers.RATES],
    ),
    "regularization": rows_of(
        dict(train=1.0),
        [dict(regularizer=r, accuracy=0.8 if r == "nothing" else 0.9, gap=1.0 if r == "nothing" else 0.5)
         for r in regularization.REGULARIZERS],
    ),
    "small_kernels": rows_of(
        dict(field=7),
        [dict(kind="three 3x3", parameters=27, multiply_adds=27, accuracy=0.95),
         dict(kind="one 7x7", parameters=49, multiply_adds=49, accuracy=0.95)],
    ),
    "linear_stack": rows_of(
        {},
        [dict(layers=d, between=b, kernel=2 * d + 1, composed=1e-16 if b == "none" else 0.5,
              fitted=1e-15 if b == "none" else 0.4) for d in (2, 3) for b in ("none", "relu")],
    ),
    "max_pooling": rows_of(
        {},
        [dict(pool=p, shift=s, change=0.3 if p == "max" else 0.6, accuracy=0.9 if p == "max" else 0.7)
         for p in max_pooling.POOLS for s in (0, 1)],
    ),
    "random_search": rows_of(
        dict(rate=0.1, l2=0.1, l1=0.1),
        [dict(search=s, trial=t, loss=(0.1 if s == "random" else 0.2) + t) for s in ("grid", "random") for t in (0, 1)],
    ),
    "transfer": rows_of(
        dict(rate=0.003, validation=0.9, seconds=1.0),
        [dict(strategy=s, images=i, steps=k, accuracy=0.5 if s in ("mean_var", "scratch") else 0.9)
         for s in transfer.STRATEGIES for i in (20, 200) for k in (30, 120)],
    ),
}  # fmt: skip
REFUTING = [
    ("initialization", dict(activation="relu", weights=HE, layer=30), dict(signal=1e-4)),
    ("initialization", dict(activation="relu", weights=XAVIER, layer=30), dict(signal=0.5)),
    ("initialization", dict(activation="tanh", weights=LARGE, layer=30), dict(flat=0.1)),
    ("vanishing_gradient", dict(activation="sigmoid"), dict(ratio=0.5)),
    ("vanishing_gradient", dict(activation="silu", depth=12), dict(ratio=1e-4)),
    ("vanishing_gradient", dict(activation="sigmoid"), dict(accuracy=0.95)),
    ("residual", dict(network="plain"), dict(loss=0.1)),
    ("residual", dict(network="residual", layers=38), dict(loss=0.5)),
    ("batch_norm_rates", dict(norm="none"), dict(accuracy=0.9)),
    ("batch_norm_rates", dict(norm="batch"), dict(accuracy=0.1)),
    ("batch_norm_init", dict(norm="none"), dict(accuracy=0.9)),
    ("batch_norm_init", dict(norm="batch"), dict(accuracy=0.1)),
    ("batch_size", dict(norm="batch", batch=2), dict(accuracy=0.95)),
    ("batch_size", dict(norm="batch", batch=2), dict(gap=0.0)),
    ("optimizers", dict(optimizer="adam"), dict(accuracy=0.96)),
    ("optimizers", dict(optimizer="adam"), dict(loss=1.0)),
    ("regularization", dict(regularizer="L1"), dict(accuracy=0.8)),
    ("regularization", dict(regularizer="dropout"), dict(gap=2.0)),
    ("regularization", dict(regularizer="nothing"), dict(train=0.9)),
    ("small_kernels", dict(kind="three 3x3"), dict(accuracy=0.9)),
    ("small_kernels", dict(kind="three 3x3"), dict(field=5)),
    ("linear_stack", dict(between="none"), dict(composed=1e-6)),
    ("linear_stack", dict(between="relu", layers=2), dict(fitted=1e-15)),
    ("max_pooling", dict(pool="max"), dict(change=0.7)),
    ("max_pooling", dict(pool="max", shift=1), dict(accuracy=0.6)),
    ("random_search", dict(search="grid"), dict(loss=0.1)),
    ("transfer", dict(strategy="scratch", images=20, steps=120), dict(accuracy=0.9)),
    ("transfer", dict(strategy="mean_var", images=20, steps=30), dict(accuracy=0.95)),
]


@pytest.mark.parametrize("name", STUDIES)
def test_numbers_that_agree_with_the_claim_make_it_hold(name):
    verdict = STUDIES[name]().verdict(AGREEING[name])
    assert verdict.held
    assert verdict.sentence.startswith("The claim held here: ")


@pytest.mark.parametrize(("name", "where", "columns"), REFUTING)
def test_numbers_that_refute_the_claim_do_not_hold(name, where, columns):
    rows = change(AGREEING[name], where, **columns)
    assert rows != AGREEING[name]
    verdict = STUDIES[name]().verdict(rows)
    assert not verdict.held
    assert verdict.sentence.startswith("The claim did not hold here: ")


def test_noise_is_no_difference():
    """Means as far apart as before, in seeds that differ by more: the claim isn't confirmed."""
    rows = [row | {"accuracy": row["accuracy"] + (0.3, -0.3, 0.0)[row["seed"]]} for row in AGREEING["max_pooling"]]
    assert not STUDIES["max_pooling"]().verdict(rows).held


@pytest.fixture
def short(tmp_path, monkeypatch):
    """`fcnn study linear_stack` takes a second, and writes below a folder of its own."""
    study = dataclasses.replace(STUDIES["linear_stack"](), seeds=1, depths=(1, 2), images=40)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(linear_stack, "LinearStack", lambda: study)
    return tmp_path / "runs/study-linear_stack"


def test_the_command_lists_tries_and_writes(short, capsys):
    assert cli.main(["study", "linear_stack", "--seed", "3"]) == 0
    assert "The claim held here: stacks of up to 2 layers" in capsys.readouterr().out
    assert sorted(path.name for path in short.iterdir()) == [f"linear_stack.{end}" for end in ("csv", "png", "txt")]


def test_the_command_lists_the_claims(capsys):
    assert cli.main(["study"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed and study.claim in listed for name, study in STUDIES.items())


def test_the_verdict_is_there_without_the_picture(short, monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("no font")

    monkeypatch.setattr(output, "png", fail)
    assert cli.main(["study", "linear_stack"]) == 0
    out = capsys.readouterr().out
    assert "The claim held here: " in out
    assert "\nlinear_stack.png could not be written: no font\n" in out
    assert sorted(path.suffix for path in short.iterdir()) == [".csv", ".txt"]


def test_the_verdict_is_there_if_nothing_can_be_written(short, monkeypatch, capsys):
    (short.parent).write_text("a file where a folder should be")
    assert cli.main(["study", "linear_stack"]) == 2
    out, err = capsys.readouterr()
    assert "The claim held here: " in out
    assert err.count("\n") == 1
    assert "can't be written" in err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["residuals"], "unknown study 'residuals'; did you mean residual?"),
        (["residual", "--weights", "x"], "--weights belongs to fcnn study transfer"),
        (["residual", "--seed", "-1"], "--seed must be from 0"),
        (["transfer", "--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["residual", "--out", "file"], "is a file"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(args, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert cli.main(["study", *args]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) <= 2
    assert not (tmp_path / "runs").exists()


def test_the_page_shows_every_study_that_was_measured_and_its_verdict():
    text = (ROOT / "docs/studies.md").read_text()
    missing = re.findall(r"`(\w+)`", text.partition("Not measured yet:")[2])
    for name, study in STUDIES.items():
        if name in missing:
            continue
        picture = ROOT / f"docs/studies/{name}.png"
        assert picture.stat().st_size < 60_000
        assert f"](studies/{name}.png)" in text
        assert f"```bash\nfcnn study {name}\n```" in text
        assert f"| {study.claim} | " in text
    assert text.count("**The claim held here:**") == text.count("| yes |")
    assert text.count("**The claim did not hold here:**") == text.count("| **no** |")
    assert text.count("\n## ") == len(STUDIES) - len(missing)


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch, capsys):
    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(linear_stack.LinearStack, "run", stop)
    assert cli.main(["study", "linear_stack"]) == 143
    assert "Stopped; nothing was written." in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
