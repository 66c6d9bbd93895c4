"""The parts of the preset cifar10_fast: properties of each, without CIFAR-10."""

import dataclasses
import runpy
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import ROOT

from fcnn.config import DataConfig, TrainConfig
from fcnn.utils.batch import make_batch

preset: Any = runpy.run_path(str(ROOT / "configs/cifar10_fast.py"))
# On the digits, which need no download: the steps of an epoch are counted there.
CONFIG = dataclasses.replace(preset["CONFIG"], data=DataConfig(), train=TrainConfig(epochs=9, batch_size=64))
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3)).astype(np.uint8)


def test_the_first_filters_whiten():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(200, 9, 9, 3)) @ rng.normal(size=(3, 3))
    filters = preset["whitening_filters"](images)
    patches = np.stack([images[:, i : i + 2, j : j + 2] for i in range(8) for j in range(8)]).reshape(-1, 12)
    found = patches @ filters.reshape(12, 24)[:, :12]
    np.testing.assert_allclose(found.T @ found / len(found), np.eye(12), atol=0.02)
    np.testing.assert_array_equal(filters[..., 12:], -filters[..., :12])


@pytest.mark.parametrize("outputs", [2, 4, 7])
def test_a_convolution_starts_as_the_identity(outputs):
    kernel = preset["identity"](jax.random.key(0), (3, 3, 4, outputs))
    x = jax.random.normal(jax.random.key(1), (2, 5, 5, 4))
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    same = min(outputs, 4)
    np.testing.assert_allclose(y[..., :same], x[..., :same], rtol=1e-6)
    assert outputs <= 4 or jnp.abs(y[..., 4:]).max() > 0.1


def test_six_views_of_an_image():
    views = preset["views"](IMAGES)
    assert sum(share for _, share in views) == 1
    for view, mirrored in zip(views[::2], views[1::2], strict=True):
        np.testing.assert_array_equal(view[0], mirrored[0][:, :, ::-1])
    np.testing.assert_array_equal(views[0][0], IMAGES)
    np.testing.assert_array_equal(views[2][0][:, 1:, 1:], IMAGES[:, :-1, :-1])
    np.testing.assert_array_equal(views[4][0][:, :-1, :-1], IMAGES[:, 1:, 1:])


def test_each_image_is_mirrored_every_other_epoch():
    augment = preset["augment"](CONFIG)
    step = preset["steps_per_epoch"](CONFIG)
    changed = jax.jit(lambda at: augment(jax.random.key(3), {**make_batch(IMAGES, np.zeros(64)), "step": at})["image"])
    first, second, third = (changed(jnp.int32(epoch * step)) for epoch in range(3))
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(first, second[:, :, ::-1])  # the same shift, which the key alone decides
    assert (first != IMAGES).any(axis=(1, 2, 3)).mean() > 0.9


def test_kernels_keep_the_norm_of_orthogonal_ones_and_fixed_ones_stay():
    model = preset["FastNet"](nn.initializers.lecun_normal(), channels=(16, 16, 16))
    params = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=True))()["params"]
    optimizer = preset["optimizer"](CONFIG)
    grads = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)

    @jax.jit
    def two_steps(params):
        state = optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update(grads, state, params)
            params = jax.tree.map(jnp.add, params, updates)
        return params

    params["conv2_1"] = jax.tree.map(lambda kernel: 3 * kernel, params["conv2_1"])  # the norm comes back
    after = two_steps(params)
    chex.assert_trees_all_equal(after["whiten"]["kernel"], params["whiten"]["kernel"])
    chex.assert_trees_all_equal(after["norm1_1"]["scale"], params["norm1_1"]["scale"])
    assert jnp.abs(after["head"]["kernel"] - params["head"]["kernel"]).max() > 0
    assert jnp.abs(after["norm1_1"]["bias"]).max() > 0
    kernel = after["conv2_1"]["kernel"]
    # Two steps of a matrix of singular values near 1 and length 0.24 leave the norm sqrt(16) within 0.24 sqrt(16).
    assert 0.7 * 4 < jnp.linalg.norm(kernel) < 1.4 * 4


def test_the_schedule_ends_with_the_run():
    """However the length is given, and whatever is held out for validation: the last step is nearly none."""
    for config, last in (
        (CONFIG, 9 * 20),
        (dataclasses.replace(CONFIG, train=TrainConfig(steps=7, batch_size=64)), 7),
        (dataclasses.replace(CONFIG, data=DataConfig(val_fraction=0.5)), 9 * 11),
    ):
        optimizer, params = preset["optimizer"](config), {"head": {"kernel": jnp.zeros((4, 10))}}
        update, state = jax.jit(optimizer.update), optimizer.init(params)
        sizes = []
        for _ in range(last + 1):
            updates, state = update(jax.tree.map(jnp.ones_like, params), state, params)
            sizes.append(float(jnp.abs(updates["head"]["kernel"]).max()))
        assert sizes[last - 1] > sizes[last] == 0
