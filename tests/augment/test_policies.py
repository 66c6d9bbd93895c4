"""Augmentation policies against torchvision 0.28: each operation's images, the magnitudes, AutoAugment's statistics."""

from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnn import augment
from fcnn.augment import policies
from fcnn.augment.operations import NUMBER, OPERATIONS, apply_operation
from fcnn.utils.batch import make_batch
from fcnn.utils.errors import UserError

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "augment.npz")
APPLY = jax.jit(apply_operation)


def test_operations_are_torchvisions():
    """A photograph's 27x21 pixels under every operation, in uint8 as torchvision computes it."""
    image = jnp.asarray(GOLDEN["image"], jnp.float32)
    for name, magnitude, expected in zip(
        GOLDEN["operations"], GOLDEN["magnitudes"], GOLDEN["images"].astype(np.float32), strict=True
    ):
        result = np.asarray(APPLY(image, jnp.int32(NUMBER[str(name)]), jnp.float32(magnitude)))
        assert np.array_equal(result, np.round(result))
        # Where a source lies between two pixels, or a blend next to a whole number, the last bit decides.
        wrong = (result != expected).mean()
        assert wrong < 0.005, f"{name} {magnitude}: {wrong:.1%} of the values differ"
        assert not np.array_equal(expected, GOLDEN["image"])
    assert set(GOLDEN["operations"]) == set(OPERATIONS) - {"identity"}
    same = APPLY(image, jnp.int32(NUMBER["identity"]), jnp.float32(3))
    assert np.array_equal(same, image)


def test_magnitudes_are_torchvisions():
    image = GOLDEN["image"]
    used = {
        "rand_augment": (policies._magnitudes(*policies._wide(image), bins=31), OPERATIONS[:-1]),
        "trivial_augment": (
            policies._magnitudes(0.99, 32.0, 32.0, 135.0, 0.99, least_bits=2, bins=31),
            OPERATIONS[:-1],
        ),
        "auto_augment": (policies._magnitudes(*policies._wide(image), bins=10), OPERATIONS[1:]),
    }
    for name, (table, operations) in used.items():
        ours = np.stack([table[NUMBER[operation]] for operation in operations])
        np.testing.assert_allclose(ours, GOLDEN[name], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", ["rand_augment", "trivial_augment"])
def test_operations_are_drawn_alike(name, monkeypatch):
    """Each of fourteen, in both directions where there are two."""
    drawn = jax.jit(lambda key: _drawn(policies.POLICIES[name](), key, monkeypatch))(jax.random.key(0))
    counts = Counter(int(number) for number in drawn[:, 0])
    assert set(counts) == set(range(14))
    assert max(counts.values()) < 2.5 * min(counts.values())
    for number, magnitudes in ((n, drawn[drawn[:, 0] == n, 1]) for n in counts):
        assert (magnitudes.min() < 0) == (OPERATIONS[number] in policies.SIGNED)


def _drawn(policy, key, monkeypatch):
    """(N, 2): which operations a policy applies to 512 images, and how strongly."""

    def record(image, number, magnitude):
        return image.at[0, 0].set(jnp.stack([number.astype(jnp.float32), magnitude, 0]))

    monkeypatch.setattr(policies, "apply_operation", record)
    batch = make_batch(jnp.zeros((512, 4, 4, 3)), jnp.zeros(512, jnp.int32))
    return policy(key, batch)["image"][:, 0, 0, :2]


def test_auto_augments_pairs_come_with_their_probabilities(monkeypatch):
    """The share of images whose second operation is equalize: the sum of its probabilities over the 25 pairs."""
    drawn = jax.jit(lambda key: _drawn(augment.auto_augment(), key, monkeypatch))(jax.random.key(1))
    expected = sum(second[1] for _, second in policies.IMAGENET if second[0] == "equalize") / 25
    share = float((drawn[:, 0] == NUMBER["equalize"]).mean())
    assert abs(share - expected) < 3 * np.sqrt(expected * (1 - expected) / 512)


def test_gray_images_can_have_policies_and_others_not():
    batch = make_batch(jnp.full((4, 5, 5, 1), 7, jnp.uint8), jnp.zeros(4, jnp.int32))
    assert augment.rand_augment()(jax.random.key(0), batch)["image"].shape == (4, 5, 5, 1)
    with pytest.raises(UserError, match="auto-augment needs images of 1 or 3 channels, these have 4"):
        augment.rand_augment()(jax.random.key(0), make_batch(jnp.zeros((4, 5, 5, 4)), jnp.zeros(4, jnp.int32)))


def test_random_erasing_fills_a_box_of_its_share_with_random_values():
    batch = make_batch(jnp.zeros((1000, 32, 24, 3), jnp.uint8), jnp.zeros(1000, jnp.int32))
    erased = np.asarray(jax.jit(augment.random_erasing(0.25))(jax.random.key(0), batch)["image"])
    boxes = erased.any(axis=-1)
    hit = boxes.any(axis=(1, 2))
    assert abs(hit.mean() - 0.25) < 0.05
    for box in boxes[hit]:
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert box.mean() > 0.98 * height * width / box.size  # of three values one is almost always above 0
        assert 0.015 < height * width / box.size < 0.36
    assert abs(erased[boxes].mean() - 127.5) < 2


def test_the_last_steps_do_not_mix():
    batch = make_batch(jnp.asarray(np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3)), jnp.uint8), jnp.arange(8))
    change = augment.mix(8, mixup=1.0, cutmix=1.0, steps=5)
    for step, mixes in ((4, True), (5, False), (6, False)):
        mixed = change(jax.random.key(0), {**batch, "step": jnp.int32(step)})
        assert np.array_equal(mixed["image"], batch["image"]) != mixes
        assert np.array_equal(mixed["label"], np.eye(8)) != mixes
