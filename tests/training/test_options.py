"""Every training option against an independent float64 computation in NumPy, and that it changes something at all.

The network is a softmax regression, whose gradient fits a line; the data set is one batch of 12 images, so the order in
which a step sees them is of no account. Three steps are compared, through the same door as a real run: a config, an
`Experiment`, the compiled step.
"""

import dataclasses
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from harness import relative_error

from fcnn import models
from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig
from fcnn.data.dataset import Dataset, Split
from fcnn.distributed import sharding
from fcnn.training.optim import sharpness_aware
from fcnn.training.setup import compile_train_step, make_model, make_setup
from fcnn.training.state import create_state
from fcnn.training.step import make_train_step
from fcnn.utils.batch import make_batch
from fcnn.utils.errors import UserError

N, CLASSES, STEPS, RATE = 12, 4, 3, 0.05
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 3, 3, 2)).astype(np.uint8)
LABELS = RNG.integers(0, CLASSES, N).astype(np.int32)
SPLIT = Split(IMAGES, LABELS)
DATASET = Dataset("random", tuple("abcd"), SPLIT, SPLIT.take(np.arange(0)), SPLIT)


def make_config(model: Any = None, precision: Any = "float32", train: Any = None, **optim: Any) -> Config:
    """A config with SGD without momentum at a constant rate, but for what is given."""
    plain = {} if "name" in optim else {"momentum": 0.0}
    return Config(
        data=DataConfig(val_fraction=0.0),
        model=ModelConfig(**{"name": "linear", **(model or {})}),
        optim=OptimConfig(**{"learning_rate": RATE, "schedule": "constant", **plain, **optim}),
        train=TrainConfig(**{"batch_size": N, "eval_batch_size": N, "steps": STEPS, **(train or {})}),
        precision=precision,
    )


def ours(config: Config):
    """The state before and after three steps, on one device, and the reports."""
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:1]), (sharding.DATA_AXIS,))
    setup = make_setup(config, DATASET, mesh)
    before = setup.init_state()
    start = jax.device_get(before.replace(key=jax.random.key_data(before.key)))
    step, state, reports = compile_train_step(setup, before), before, []
    for _ in range(STEPS):
        state, report = step(state, np.arange(N, dtype=np.int32))
        reports.append(jax.device_get(report))
    return start, state, reports


def inputs() -> np.ndarray:
    """The normalized images as rows of float64."""
    pixels = IMAGES.astype(np.float64) / 255
    return ((pixels - pixels.mean(axis=(0, 1, 2))) / pixels.std(axis=(0, 1, 2))).reshape(N, -1)


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def gradient(params, *, smoothing=0.0, binary=False, l1=0.0, l2=0.0, mask=("kernel",)):
    """Of the mean cross-entropy, softmax or binary, and the penalties, by hand."""
    x = inputs()
    target = (1 - smoothing) * np.eye(CLASSES)[LABELS] + smoothing / CLASSES
    logits = x @ params["kernel"] + params["bias"]
    error = (1 / (1 + np.exp(-logits)) - target) / CLASSES if binary else softmax(logits) - target
    error /= N
    grads = {"kernel": x.T @ error, "bias": error.sum(axis=0)}
    return {k: g + (l1 * np.sign(params[k]) + l2 * params[k] if k in mask else 0) for k, g in grads.items()}


Rule = Callable[[dict, dict, int], dict]


def reference(start, direction: Rule, *, rate=lambda t: RATE, decay=0.0, mask=("kernel",), clip=None, **loss):
    """Three steps of p -= rate (direction + decay p) in float64; also every state on the way."""
    params = {k: np.asarray(v, np.float64) for k, v in start.params["head"].items()}
    memory, path = {}, []
    for t in range(STEPS):
        grads = gradient(params, mask=mask, **loss)
        if clip is not None:
            norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
            grads = {k: g * min(1, clip / norm) for k, g in grads.items()}
        step = direction(grads, memory, t)
        params = {k: p - rate(t) * (step[k] + (decay * p if k in mask else 0)) for k, p in params.items()}
        path.append(params)
    return path


def sgd(grads, memory, t):
    return grads


def momentum(grads, memory, t, beta=0.9, nesterov=False):
    out = {}
    for k, g in grads.items():
        memory[k] = beta * memory.get(k, 0) + g
        out[k] = g + beta * memory[k] if nesterov else memory[k]
    return out


def adagrad(grads, memory, t, epsilon=1e-10):
    for k, g in grads.items():
        memory[k] = memory.get(k, 0) + g**2
    return {k: g / (np.sqrt(memory[k]) + epsilon) for k, g in grads.items()}


def rmsprop(grads, memory, t, beta=0.9, heavy=0.0, epsilon=1e-8):
    out = {}
    for k, g in grads.items():
        memory[k] = beta * memory.get(k, 0) + (1 - beta) * g**2
        out[k] = memory[k, "m"] = heavy * memory.get((k, "m"), 0) + g / (np.sqrt(memory[k]) + epsilon)
    return out


def adam(grads, memory, t, beta1=0.9, beta2=0.999, epsilon=1e-8):
    out = {}
    for k, g in grads.items():
        memory[k, 1] = beta1 * memory.get((k, 1), 0) + (1 - beta1) * g
        memory[k, 2] = beta2 * memory.get((k, 2), 0) + (1 - beta2) * g**2
        first, second = memory[k, 1] / (1 - beta1 ** (t + 1)), memory[k, 2] / (1 - beta2 ** (t + 1))
        out[k] = first / (np.sqrt(second) + epsilon)
    return out


def lars(start, *, beta=0.9, trust=0.001, decay=1e-4, rate=RATE):
    """You et al. 2017, algorithm 1: the trust ratio and the decay for kernels alone, the rate inside the momentum."""
    params = {k: np.asarray(v, np.float64) for k, v in start.params["head"].items()}
    speed, path = dict.fromkeys(params, 0.0), []
    for _ in range(STEPS):
        grads = gradient(params)
        for k in params:
            step = grads[k]
            if k == "kernel":
                size, slope = np.linalg.norm(params[k]), np.linalg.norm(step)
                step = trust * size / (slope + decay * size) * (step + decay * params[k])
            speed[k] = beta * speed[k] - rate * step
        params = {k: params[k] + speed[k] for k in params}
        path.append(params)
    return path


def lamb(start, *, decay=0.01, rate=RATE):
    """You et al. 2019, algorithm 2: Adam's direction and the decay, scaled to the kernel's own norm."""
    params = {k: np.asarray(v, np.float64) for k, v in start.params["head"].items()}
    memory, path = {}, []
    for t in range(STEPS):
        step = adam(gradient(params), memory, t, epsilon=1e-6)
        step["kernel"] = step["kernel"] + decay * params["kernel"]
        step["kernel"] *= np.linalg.norm(params["kernel"]) / np.linalg.norm(step["kernel"])
        params = {k: params[k] - rate * step[k] for k in params}
        path.append(params)
    return path


def muon(grads, memory, t, beta=0.95):
    """Jordan et al. 2024: the kernel's momentum, with Nesterov's look ahead, made nearly orthogonal; for the bias Adam
    that looks ahead too, as in Optax."""

    def ahead(name, beta):
        memory[name] = beta * memory.get(name, 0) + (1 - beta) * grads[name]
        return beta * memory[name] / (1 - beta ** (t + 2)) + (1 - beta) * grads[name] / (1 - beta ** (t + 1))

    memory["square"] = 0.999 * memory.get("square", 0) + 0.001 * grads["bias"] ** 2
    bias = ahead("bias", 0.9) / (np.sqrt(memory["square"] / (1 - 0.999 ** (t + 1))) + 1e-8)
    x = ahead("kernel", beta)
    x /= np.linalg.norm(x)
    for _ in range(5):
        gram = x.T @ x
        x = 3.4445 * x + x @ (-4.7750 * gram + 2.0315 * gram @ gram)
    return {"kernel": x * np.sqrt(max(1, x.shape[1] / x.shape[0])), "bias": bias}


def sam(start, *, rho, **loss):
    """Foret et al. 2020, algorithm 1: the gradient at p + rho g / |g|."""
    params = {k: np.asarray(v, np.float64) for k, v in start.params["head"].items()}
    path = []
    for _ in range(STEPS):
        grads = gradient(params, **loss)
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        grads = gradient({k: params[k] + rho * grads[k] / norm for k in params}, **loss)
        params = {k: params[k] - RATE * grads[k] for k in params}
        path.append(params)
    return path


def schedule_free(start, *, beta=0.9, adam_beta=None, epsilon=1e-8, decay=0.0):
    """Defazio et al. 2024, section 1.1 and algorithm 1 (AdamW) at a constant rate: the points where the gradients are
    taken, y, each with the average, x, as "average"."""
    y = x = z = {k: np.asarray(v, np.float64) for k, v in start.params["head"].items()}
    square, path = dict.fromkeys(z, 0.0), []
    for t in range(STEPS):
        step = gradient(y)
        for k in step:
            if adam_beta is not None:
                square[k] = adam_beta * square[k] + (1 - adam_beta) * step[k] ** 2
                step[k] = step[k] / (np.sqrt(square[k] / (1 - adam_beta ** (t + 1))) + epsilon)
            step[k] = step[k] + (decay * y[k] if k == "kernel" else 0)
        z = {k: z[k] - RATE * step[k] for k in z}
        x = {k: x[k] + (z[k] - x[k]) / (t + 1) for k in x}
        y = {k: beta * x[k] + (1 - beta) * z[k] for k in x}
        path.append({**y, "average": x})
    return path


def with_(rule, **options) -> Rule:
    return lambda grads, memory, t: rule(grads, memory, t, **options)


BOTH = ("kernel", "bias")
# option -> (what the config says, the reference, what it must differ from)
CASES = {
    "sgd": (dict(), lambda s: reference(s, sgd), None),
    "momentum": (dict(momentum=0.9), lambda s: reference(s, momentum), "sgd"),
    "momentum 0.5": (
        dict(momentum=0.5), lambda s: reference(s, with_(momentum, beta=0.5)), "momentum"
    ),
    "nesterov": (dict(momentum=0.9, nesterov=True), lambda s: reference(s, with_(momentum, nesterov=True)), "momentum"),
    "adagrad": (dict(name="adagrad"), lambda s: reference(s, adagrad), "sgd"),
    "rmsprop": (dict(name="rmsprop"), lambda s: reference(s, rmsprop), "sgd"),
    "rmsprop, its options": (
        dict(name="rmsprop", beta2=0.5, momentum=0.9, epsilon=0.1),
        lambda s: reference(s, with_(rmsprop, beta=0.5, heavy=0.9, epsilon=0.1)),
        "rmsprop",
    ),
    "adam": (dict(name="adam"), lambda s: reference(s, adam), "sgd"),
    "adam, its options": (
        dict(name="adam", beta1=0.5, beta2=0.9, epsilon=0.1),
        lambda s: reference(s, with_(adam, beta1=0.5, beta2=0.9, epsilon=0.1)),
        "adam",
    ),
    "adamw": (dict(name="adamw"), lambda s: reference(s, adam, decay=0.01), "adam"),
    "lars": (dict(name="lars"), lars, "sgd"),
    "lars, its options": (
        dict(name="lars", momentum=0.5, trust_coefficient=0.1, weight_decay=0.1),
        lambda s: lars(s, beta=0.5, trust=0.1, decay=0.1),
        "lars",
    ),
    "lamb": (dict(name="lamb"), lamb, "adamw"),
    "lamb, its options": (dict(name="lamb", weight_decay=0.5), lambda s: lamb(s, decay=0.5), "lamb"),
    "muon": (dict(name="muon"), lambda s: reference(s, muon), "adam"),
    "muon, its options": (dict(name="muon", momentum=0.5), lambda s: reference(s, with_(muon, beta=0.5)), "muon"),
    "sam": (dict(sam_rho=0.5), lambda s: sam(s, rho=0.5), "sgd"),
    "sam, l2": (dict(sam_rho=0.5, l2=0.1), lambda s: sam(s, rho=0.5, l2=0.1), "sam"),
    "schedule_free_sgd": (dict(name="schedule_free_sgd"), schedule_free, "sgd"),
    "schedule_free_sgd, its options": (
        dict(name="schedule_free_sgd", beta1=0.5, weight_decay=0.1),
        lambda s: schedule_free(s, beta=0.5, decay=0.1),
        "schedule_free_sgd",
    ),
    "schedule_free_adamw": (
        dict(name="schedule_free_adamw"), lambda s: schedule_free(s, adam_beta=0.999, decay=0.01), "adamw"
    ),
    "schedule_free_adamw, its options": (
        dict(name="schedule_free_adamw", beta2=0.5, epsilon=0.1, weight_decay=0.0),
        lambda s: schedule_free(s, adam_beta=0.5, epsilon=0.1),
        "schedule_free_adamw",
    ),
    "weight_decay": (
        dict(momentum=0.9, weight_decay=0.5), lambda s: reference(s, momentum, decay=0.5), "momentum"
    ),
    "decay_mask all": (
        dict(momentum=0.9, weight_decay=0.5, decay_mask="all"),
        lambda s: reference(s, momentum, decay=0.5, mask=BOTH),
        "weight_decay",
    ),
    "l1": (dict(l1=0.01), lambda s: reference(s, sgd, l1=0.01), "sgd"),
    "l2": (dict(l2=0.1), lambda s: reference(s, sgd, l2=0.1), "sgd"),
    "l2, all": (dict(l2=0.1, decay_mask="all"), lambda s: reference(s, sgd, l2=0.1, mask=BOTH), "l2"),
    "label_smoothing": (dict(label_smoothing=0.2), lambda s: reference(s, sgd, smoothing=0.2), "sgd"),
    "binary_cross_entropy": (dict(loss="binary_cross_entropy"), lambda s: reference(s, sgd, binary=True), "sgd"),
    "binary_cross_entropy, label_smoothing": (
        dict(loss="binary_cross_entropy", label_smoothing=0.2),
        lambda s: reference(s, sgd, binary=True, smoothing=0.2),
        "binary_cross_entropy",
    ),
    "clip_norm": (dict(clip_norm=0.3), lambda s: reference(s, sgd, clip=0.3), "sgd"),
    "learning_rate": (dict(learning_rate=0.2), lambda s: reference(s, sgd, rate=lambda t: 0.2), "sgd"),
    "warmup_steps": (
        dict(warmup_steps=2), lambda s: reference(s, sgd, rate=lambda t: RATE * min(1, (t + 1) / 3)), "sgd"
    ),
    "cosine": (
        dict(schedule="cosine"),
        lambda s: reference(s, sgd, rate=lambda t: RATE * (1 + np.cos(np.pi * t / 3)) / 2),
        "sgd",
    ),
    "cosine, final_scale": (
        dict(schedule="cosine", end_lr_factor=0.5),
        lambda s: reference(s, sgd, rate=lambda t: RATE * (0.5 + 0.5 * (1 + np.cos(np.pi * t / 3)) / 2)),
        "cosine",
    ),
    "linear": (dict(schedule="linear"), lambda s: reference(s, sgd, rate=lambda t: RATE * (1 - t / 3)), "sgd"),
    "exponential": (
        dict(schedule="exponential"), lambda s: reference(s, sgd, rate=lambda t: RATE * 0.01 ** (t / 3)), "sgd"
    ),
    "step": (
        dict(schedule="step", milestones=(0.3, 0.7), gamma=0.5),
        lambda s: reference(s, sgd, rate=lambda t: RATE * [1, 0.5, 0.25][t]),
        "sgd",
    ),
    "step, where milestones meet": (
        dict(schedule="step", milestones=(0.6, 0.7), gamma=0.5),
        lambda s: reference(s, sgd, rate=lambda t: RATE * [1, 1, 0.25][t]),
        "sgd",
    ),
    "one_cycle": (
        dict(schedule="one_cycle", pct_start=0.34),
        # Up from a 25th of the peak to the peak at step int(0.34 x 3) = 1, and down along half a cosine.
        lambda s: reference(
            s, sgd, rate=lambda t: RATE * [1 / 25, 1, 4e-6 + (1 - 4e-6) * (1 + np.cos(np.pi / 2)) / 2][t]
        ),
        "sgd",
    ),
}  # fmt: skip
FOUND: dict[str, float] = {}


@pytest.fixture(scope="module", autouse=True)
def table():
    """FCNN_TABLE=1 prints the largest relative difference of each option, for the record."""
    yield
    if os.environ.get("FCNN_TABLE"):
        print("\n" + "\n".join(f"| {name} | {error:.1e} |" for name, error in FOUND.items()))


@pytest.mark.parametrize("name", CASES)
def test_three_steps_are_numpys(name):
    options, expected, other = CASES[name]
    start, state, _ = ours(make_config(**options))
    path = expected(start)
    first = {k: np.asarray(start.params["head"][k], np.float64) for k in BOTH}
    moved = {k: path[-1][k] - first[k] for k in BOTH}
    FOUND[name] = relative_error({k: state.params["head"][k] - first[k] for k in BOTH}, moved)
    # The way is a difference of float32 params: their last digit is all that a short one has.
    digit = 1e-7 * np.linalg.norm(first["kernel"]) / np.linalg.norm(moved["kernel"])
    assert FOUND[name] < max(1e-5, digit), "the way that the params went is not the reference's"
    if other is not None:
        default = CASES[other][1](start)[-1]
        assert relative_error(moved, {k: default[k] - first[k] for k in BOTH}) > 1e-3


@pytest.mark.parametrize("decay", [0.15, 0.7])
def test_averaged_weights_follow_their_formula(decay):
    """In step t the average keeps min(decay, (1 + t) / (10 + t)) of itself: 0.15 is reached in step 1, 0.7 never."""
    start, state, _ = ours(make_config(train={"ema_decay": decay}))
    average = {k: np.asarray(v, np.float64) for k, v in start.params["head"].items()}
    for t, params in enumerate(reference(start, sgd)):
        share = min(decay, (1 + t) / (10 + t))
        average = {k: share * average[k] + (1 - share) * params[k] for k in average}
    FOUND[f"ema_decay {decay}"] = relative_error(state.ema["params"]["head"], average)
    assert FOUND[f"ema_decay {decay}"] < 1e-6
    assert relative_error(state.ema["params"], state.params) > 1e-3


def test_schedule_frees_average_is_the_averaged_weights():
    start, state, _ = ours(make_config(name="schedule_free_sgd"))
    average = schedule_free(start)[-1]["average"]
    assert relative_error(state.ema["params"]["head"], average) < 1e-6
    assert relative_error(state.ema["params"], state.params) > 1e-3


def test_sam_leaves_metrics_and_running_statistics():
    """They are those of the weights before the ascent, of the one pass that counts."""
    model = models.create("preact_resnet110", num_classes=CLASSES, stage_sizes=(1, 1, 1), width_multiplier=0.25)
    batch = make_batch(jnp.asarray(RNG.normal(size=(8, 8, 8, 3)), jnp.float32), jnp.arange(8, dtype=jnp.int32) % 4)

    def after(optimizer):
        state = create_state(model, optimizer, (8, 8, 3), jax.random.key(0))
        return jax.jit(make_train_step(model, optimizer))(state, batch)

    (plain, before), (sharp, report) = after(optax.sgd(0.1)), after(sharpness_aware(optax.sgd(0.1), 0.5))
    chex.assert_trees_all_close(report.metrics, before.metrics, rtol=1e-5)
    chex.assert_trees_all_close(sharp.batch_stats, plain.batch_stats, rtol=1e-5)
    assert relative_error(plain.params, sharp.params) > 1e-4


@pytest.mark.parametrize("taken", [10, 80_000, 10**8])
def test_late_steps_average_with_their_own_decay(taken):
    """A pure function of the step, to float32's last digits also where the decay is near 1."""
    model, optimizer = models.create("linear", num_classes=CLASSES), optax.sgd(0.0)
    state = create_state(model, optimizer, (3, 3, 2), jax.random.key(0), ema=True)
    state = state.replace(step=jnp.asarray(taken, jnp.int32), ema=jax.tree.map(jnp.zeros_like, state.ema))
    step = jax.jit(make_train_step(model, optimizer, ema_decay=0.99999))
    after, _ = step(state, make_batch(jnp.zeros((4, 3, 3, 2)), jnp.zeros(4, jnp.int32)))
    share = 1 - min(0.99999, (1 + taken) / (10 + taken))
    kernel = np.asarray(state.params["head"]["kernel"], np.float64)
    np.testing.assert_allclose(after.ema["params"]["head"]["kernel"], share * kernel, rtol=1e-6)


@pytest.mark.slow
def test_averaged_batch_statistics_follow_theirs():
    config = make_config({"name": "resnet20"}, train={"ema_decay": 0.15})
    start, state, _ = ours(config)
    _, raw, _ = ours(make_config({"name": "resnet20"}))
    jax.tree.map(np.testing.assert_array_equal, state.batch_stats, raw.batch_stats)  # averaging changes nothing else
    # The stem sees the same images with weights that hardly move: its mean goes 0 -> 0.1 m -> 0.19 m -> 0.271 m.
    stem = state.ema["batch_stats"]["stem_norm"]["mean"] / state.batch_stats["stem_norm"]["mean"]
    expected = (0.15**2 * 0.9 * 0.1 + 0.15 * 0.85 * 0.19 + 0.85 * 0.271) / 0.271
    assert abs(float(np.median(stem)) / expected - 1) < 0.05
    assert relative_error(start.batch_stats, state.ema["batch_stats"]) > 0.01


@pytest.mark.parametrize("micro_batches", [2, 3])
def test_accumulation_is_one_batch_where_there_is_no_batch_norm(micro_batches):
    start, state, reports = ours(make_config(train={"grad_accum_steps": micro_batches}))
    path = reference(start, sgd)
    FOUND[f"accumulate {micro_batches}"] = relative_error(state.params["head"], path[-1])
    assert FOUND[f"accumulate {micro_batches}"] < 1e-6
    assert reports[0].metrics.count == N


def test_dropout_keeps_the_step_the_references_with_the_same_mask():
    """The masks come from our own function; what they do to loss and gradient is NumPy's."""
    rate = 0.4
    start, state, _ = ours(make_config({"dropout": rate}))
    model = make_model(make_config({"dropout": rate}), num_classes=CLASSES)
    params = {k: np.asarray(v, np.float64) for k, v in start.params["head"].items()}
    key = jax.random.wrap_key_data(start.key)
    for t in range(STEPS):
        rngs = {"dropout": jax.random.fold_in(key, t)}
        # With an identity kernel the model shows its dropped input.
        width = inputs().shape[1]
        shown = model.clone(num_classes=width).apply(
            {"params": {"head": {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}}},
            jnp.ones((N, 3, 3, 2)), train=True, rngs=rngs,
        )  # fmt: skip
        mask = np.asarray(shown) > 0
        np.testing.assert_allclose(np.asarray(shown)[mask], 1 / (1 - rate), rtol=1e-6)
        assert 0.3 < 1 - mask.mean() < 0.5
        x = inputs() * mask / (1 - rate)
        error = (softmax(x @ params["kernel"] + params["bias"]) - np.eye(CLASSES)[LABELS]) / N
        grads = {"kernel": x.T @ error, "bias": error.sum(axis=0)}
        params = {k: p - RATE * grads[k] for k, p in params.items()}
    FOUND["dropout"] = relative_error(state.params["head"], params)
    assert FOUND["dropout"] < 1e-6
    assert relative_error(params, reference(start, sgd)[-1]) > 1e-3


AUGMENTS = [
    {"resized_crop": 0.5}, {"zoom": 1.5}, {"rotation": 90.0}, {"crop_padding": 1}, {"flip": True},
    {"flip_vertical": True}, {"brightness": 0.5}, {"contrast": 0.5}, {"saturation": 0.5}, {"hue": 0.3}, {"noise": 0.2},
    {"cutout": 2}, {"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}, {"random_erasing": 1.0},
    {"auto_augment": "rand_augment", "num_ops": 3, "magnitude": 20}, {"auto_augment": "trivial_augment"},
    {"auto_augment": "auto_augment"},
]  # fmt: skip


def test_every_augmentation_is_tried():
    fields = {field.name for field in dataclasses.fields(AugmentConfig)}
    assert {name for augment in AUGMENTS for name in augment} | {"mixup_off_epochs"} == fields


@pytest.mark.parametrize("augment", [{}, *AUGMENTS], ids=str)
def test_augmentation_is_drawn_anew_in_each_step(augment, monkeypatch):
    """With a rate of next to nothing, only other images can make another loss."""
    colors = np.random.default_rng(1).integers(0, 256, (N, 3, 3, 3)).astype(np.uint8)
    split = Split(colors, LABELS)
    monkeypatch.setattr(sys.modules[__name__], "DATASET", dataclasses.replace(DATASET, train=split, test=split))
    config = make_config(learning_rate=1e-12, label_smoothing=0.1)
    _, _, reports = ours(dataclasses.replace(config, augment=AugmentConfig(**augment)))
    losses = [float(report.metrics.loss) for report in reports]
    assert len({round(loss, 4) for loss in losses}) == (STEPS if augment else 1)
    assert all(report.metrics.count == N for report in reports)


def test_the_last_epochs_are_without_mixup():
    config = make_config(learning_rate=1e-12)
    augment = AugmentConfig(mixup=1.0, mixup_off_epochs=2.0)
    _, _, reports = ours(dataclasses.replace(config, augment=augment))
    losses = [round(float(report.metrics.loss), 4) for report in reports]  # an epoch has one step
    assert len(set(losses[:-2])) == STEPS - 2
    assert losses[-2] == losses[-1]
    assert losses[-1] not in losses[:-2]
    with pytest.raises(UserError, match=rf"mixup-off-epochs {STEPS} leaves no step with mixup or cutmix"):
        ours(dataclasses.replace(config, augment=AugmentConfig(mixup=1.0, mixup_off_epochs=STEPS)))


def test_bfloat16_computes_low_and_keeps_high():
    start, state, reports = ours(make_config({"name": "resnet20"}, "bfloat16"))
    _, full, full_reports = ours(make_config({"name": "resnet20"}))
    for tree in (state.params, state.batch_stats, state.opt_state, reports):
        floats = {str(leaf.dtype) for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)}
        assert floats <= {"float32"}
    # Against float32, bfloat16's rounding of 2^-9 to 2^-8 an operation, and no more.
    FOUND["bfloat16 (loss, against float32)"] = abs(reports[0].metrics.loss / full_reports[0].metrics.loss - 1)
    assert 0 < FOUND["bfloat16 (loss, against float32)"] < 0.02
    assert 0 < relative_error(state.batch_stats, full.batch_stats) < 0.05
    assert relative_error(start.params, state.params) > 1e-4


@pytest.mark.slow
def test_remat_computes_again_and_changes_no_number():
    """One checkpoint a stage: its 18 convolutions stand in the program twice. On a CPU, XLA merges them again."""
    _, state, reports = ours(make_config({"name": "resnet20", "remat": True, "dropout": 0.3}))
    _, plain, plain_reports = ours(make_config({"name": "resnet20", "dropout": 0.3}))
    FOUND["remat (against none)"] = relative_error(reports[0].grad_norms, plain_reports[0].grad_norms)
    assert FOUND["remat (against none)"] < 1e-5
    assert relative_error(state.params, plain.params) < 1e-5
    convolutions, images = {}, jnp.zeros((8, 32, 32, 3))
    for remat in (False, True):
        model = make_model(make_config({"name": "resnet20", "remat": remat}), num_classes=CLASSES)
        variables = jax.eval_shape(lambda model=model: model.init(jax.random.key(0), images, train=False))

        def loss(variables, model=model):
            return model.apply(variables, images, train=True, mutable=["batch_stats"])[0].sum()

        program = jax.jit(jax.grad(loss)).trace(variables).lower(lowering_platforms=("cuda",)).as_text()
        convolutions[remat] = program.count("stablehlo.convolution")
    assert convolutions[True] == convolutions[False] + 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shortcut": "projektion"}, "model.options.shortcut must be 'A' or 'projection' or 'none', got 'projektion'"),
        ({"zero_init": 1}, "model.options.zero_init must be True or False, got 1"),
        ({"hidden": ()}, "unknown option of resnet20 'hidden'"),
        ({"name": "mlp", "hidden": (8.5,)}, "model.options.hidden must be whole numbers like (256, 128), got (8.5,)"),
        ({"name": "mlp", "hidden": (8, 0)}, "model.options.hidden must be numbers from 1, got (8, 0)"),
        ({"name": "resnet50", "groups": 0}, "model.options.groups must be at least 1, got 0"),
        ({"stochastic_depth": 1.0}, "model.options.stochastic_depth must be at least 0 and less than 1, got 1.0"),
        ({"name": "linear", "hidden": (8,)}, "linear has no model.options, got 'hidden'"),
    ],
)
def test_options_of_the_architecture_are_checked(options, message):
    name = options.pop("name", "resnet20")
    with pytest.raises(UserError, match=re.escape(message)):
        make_model(make_config({"name": name, "options": options}), num_classes=CLASSES)


def test_options_of_the_architecture_reach_it():
    options = {"shortcut": "projection", "zero_init": False}
    model: Any = make_model(make_config({"name": "resnet20", "options": options}), num_classes=CLASSES)
    assert (model.shortcut, model.zero_init) == ("projection", False)
    for name in ("vgg11", "mlp"):
        model = make_model(make_config({"name": name, "options": {"hidden": (64, 32)}}), num_classes=CLASSES)
        assert model.hidden == (64, 32)
