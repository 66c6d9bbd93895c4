"""Optimizers and schedules against PyTorch's and NumPy's, in float64: ten steps, gradients of every size."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from harness import relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnn.config import OptimConfig
from fcnn.training.optim import make_optimizer, make_schedule

STEPS, RATE = 10, 0.1
RNG = np.random.default_rng(0)
START = RNG.standard_normal((4, 3))
GRADS = RNG.standard_normal((STEPS, 4, 3)) * 10.0 ** RNG.uniform(-6, 1, (4, 3))
"""Each weight has gradients of its own size, from 1e-6 to 10."""


def path(config: OptimConfig, grads: np.ndarray = GRADS, start: np.ndarray = START) -> np.ndarray:
    """What a kernel of `start` has moved in all by our optimizer at a constant rate."""
    optimizer = make_optimizer(config, optax.constant_schedule(config.learning_rate))
    params = {"kernel": jnp.zeros(start.shape, jnp.float32)}
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    moved = np.zeros(start.shape)
    for grad in grads:
        params = {"kernel": jnp.asarray(start + moved, jnp.float32)}
        updates, state = update({"kernel": jnp.asarray(grad, jnp.float32)}, state, params)
        moved += np.asarray(updates["kernel"], np.float64)
    return moved


Make = Callable[..., torch.optim.Optimizer]
TORCH: dict[str, tuple[dict[str, Any], Make]] = {
    "sgd": ({}, lambda p: torch.optim.SGD(p, RATE, momentum=0.9)),
    "sgd, no momentum": ({"momentum": 0.0}, lambda p: torch.optim.SGD(p, RATE)),
    "sgd, nesterov": ({"nesterov": True}, lambda p: torch.optim.SGD(p, RATE, momentum=0.9, nesterov=True)),
    "adagrad": ({}, lambda p: torch.optim.Adagrad(p, RATE)),
    "rmsprop": ({"momentum": 0.5}, lambda p: torch.optim.RMSprop(p, RATE, alpha=0.9, momentum=0.5)),
    "adam": ({}, lambda p: torch.optim.Adam(p, RATE)),
    "adamw": ({}, lambda p: torch.optim.AdamW(p, RATE)),
}


@pytest.mark.parametrize("name", TORCH)
def test_ten_steps_are_pytorchs(name):
    options, make = TORCH[name]
    weights = torch.nn.Parameter(torch.tensor(START))
    optimizer = make([weights])
    for grad in GRADS:
        weights.grad = torch.tensor(grad)
        optimizer.step()
    expected = weights.detach().numpy() - START
    ours = path(OptimConfig(name=name.partition(",")[0], learning_rate=RATE, **options))
    np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-12)


def test_adagrads_epsilon_is_outside_of_the_root():
    """A first step is rate x g / (|g| + epsilon), all but the rate itself however small the gradient."""
    grads = np.asarray([[[1e-5, 1e-6, 0.0]]])
    moved = path(OptimConfig(name="adagrad", learning_rate=RATE), grads, np.ones((1, 3)))
    np.testing.assert_allclose(moved, [[-RATE, -RATE, 0]], rtol=2e-4)


@pytest.mark.parametrize("decay", [0.0, 1e-4, 0.1])
def test_lars_is_the_papers_algorithm(decay):
    """You et al. 2017, algorithm 1, line by line."""
    weights, speed = START.copy(), np.zeros_like(START)
    for grad in GRADS:
        local = 0.01 * np.linalg.norm(weights) / (np.linalg.norm(grad) + decay * np.linalg.norm(weights))
        speed = 0.9 * speed + RATE * local * (grad + decay * weights)
        weights = weights - speed
    config = OptimConfig(name="lars", learning_rate=RATE, trust_coefficient=0.01, weight_decay=decay)
    assert relative_error(path(config), weights - START) < 1e-6


def test_lars_moves_kernels_of_zeros_and_keeps_those_without_a_gradient():
    config = OptimConfig(name="lars", learning_rate=RATE, weight_decay=0.0)
    np.testing.assert_allclose(path(config, GRADS[:1], np.zeros((4, 3))), -RATE * GRADS[0], rtol=1e-6)
    assert not path(config, np.zeros((1, 4, 3))).any()


def rates(config: OptimConfig, steps: int, warmup: int = 0) -> np.ndarray:
    return np.asarray(jax.vmap(make_schedule(config, steps=steps, warmup=warmup))(jnp.arange(steps)), np.float64)


def torch_rates(steps: int, make: Callable[..., torch.optim.lr_scheduler.LRScheduler]) -> np.ndarray:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.asarray(found)


@pytest.mark.parametrize("steps", [1, 2, 3, 100])
def test_schedules_are_pytorchs(steps):
    schedulers = torch.optim.lr_scheduler
    cases: tuple[tuple[dict[str, Any], Callable], ...] = (
        ({"schedule": "constant"}, lambda o: schedulers.ConstantLR(o, 1.0)),
        ({"schedule": "cosine"}, lambda o: schedulers.CosineAnnealingLR(o, steps)),
        ({"schedule": "linear", "end_lr_factor": 0.1}, lambda o: schedulers.LinearLR(o, 1.0, 0.1, steps)),
        ({"schedule": "exponential"}, lambda o: schedulers.ExponentialLR(o, 0.01 ** (1 / steps))),
        (
            {"schedule": "step", "milestones": (0.25, 0.5, 0.75)},
            lambda o: schedulers.MultiStepLR(o, [max(round(mark * steps), 1) for mark in (0.25, 0.5, 0.75)]),
        ),
    )
    for options, make in cases:
        ours = rates(OptimConfig(learning_rate=1.0, **options), steps)
        np.testing.assert_allclose(ours, torch_rates(steps, make), rtol=1e-4, atol=1e-6, err_msg=str(options))


def test_milestones_are_shares_of_the_whole_run():
    config = OptimConfig(learning_rate=1.0, schedule="step")
    found = rates(config, 100, warmup=50)
    np.testing.assert_allclose(found[:50], np.arange(1, 51) / 51, rtol=1e-5)
    np.testing.assert_allclose(found[50:], [0.1] * 25 + [0.01] * 25, rtol=1e-5)
    np.testing.assert_allclose(rates(config, 3), [1, 1, 0.01], rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    schedule=st.sampled_from(["constant", "step", "cosine", "linear", "exponential", "one_cycle"]),
    steps=st.integers(1, 40),
    warmup=st.integers(0, 60),
)
def test_rates_are_positive_and_never_above_the_warm_ups(schedule, steps, warmup):
    """Whatever the lengths: the first step is at the peak or on the way to it, and no step is at rate zero."""
    warmup = 0 if schedule == "one_cycle" else warmup
    found = rates(OptimConfig(learning_rate=2.0, schedule=schedule), steps, warmup)
    bound = 2 * np.minimum((np.arange(steps) + 1) / (warmup + 1), 1)
    assert (found > 0).all()
    assert (found <= bound * (1 + 1e-5)).all()
    if schedule == "one_cycle":
        assert found.max() > 1.9 or steps < 3
    else:
        np.testing.assert_allclose(found[0], bound[0], rtol=1e-5)
