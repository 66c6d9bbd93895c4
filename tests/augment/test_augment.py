"""Augmentation: shapes and ranges kept, each image drawn by itself, whatever the batch it stands in."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from fcnn import augment
from fcnn.augment.mixing import mix
from fcnn.config import AugmentConfig
from fcnn.distributed import sharding
from fcnn.utils.batch import make_batch
from fcnn.utils.errors import UserError

CLASSES = 5


def images_of(size=16, shape=(9, 7, 3)):
    images = np.random.default_rng(0).integers(1, 256, (size, *shape)).astype(np.uint8)
    return make_batch(jnp.asarray(images), jnp.arange(size, dtype=jnp.int32) % CLASSES)


# Each field of the config by itself, with a value that shows, and all of them at once.
FIELDS = {
    "resized_crop": 0.3, "zoom": 1.5, "rotation": 30.0, "crop_padding": 3, "flip": True, "flip_vertical": True,
    "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2, "noise": 0.1, "cutout": 4, "mixup": 1.0,
    "cutmix": 1.0, "random_erasing": 1.0, "auto_augment": "trivial_augment",
}  # fmt: skip
MODIFIERS = {"num_ops", "magnitude", "mixup_off_epochs"}  # without an effect of their own
CONFIGS = {name: AugmentConfig(**{name: value}) for name, value in FIELDS.items()}
CONFIGS["all"] = AugmentConfig(**FIELDS)
KEEP_TYPE = {"crop_padding", "flip", "flip_vertical", "cutout", "random_erasing"}


def test_every_field_is_tried():
    assert set(FIELDS) | MODIFIERS == {field.name for field in dataclasses.fields(AugmentConfig)}


@pytest.mark.parametrize("name", CONFIGS)
def test_an_image_changes_by_its_index_and_the_key_alone(name):
    change, batch = jax.jit(augment.from_config(CONFIGS[name], CLASSES)), images_of()
    with jax.numpy_dtype_promotion("strict"):
        changed = change(jax.random.key(0), batch)
    mixes = name in ("mixup", "cutmix", "all")
    assert changed["image"].dtype == (jnp.uint8 if name in KEEP_TYPE else jnp.float32)
    chex.assert_equal_shape([changed["image"], batch["image"]])
    assert 0 <= changed["image"].min() <= changed["image"].max() <= 255
    same = {"image": 0, "label": 0} if mixes else {"image": 0}
    chex.assert_trees_all_equal({**changed, **same}, {**batch, **same})
    differs = (np.asarray(changed["image"], np.float32) != np.asarray(batch["image"])).any(axis=(1, 2, 3))
    assert differs.mean() >= 0.25
    # The same key, the same images; another key, others.
    chex.assert_trees_all_equal(change(jax.random.key(0), batch), changed)
    assert not np.array_equal(change(jax.random.key(1), batch)["image"], changed["image"])
    # The batch in another order: the same image at the same index.
    places = np.random.default_rng(1).permutation(16)
    moved = change(jax.random.key(0), jax.tree.map(lambda x: x[places], batch))
    chex.assert_trees_all_equal(moved, jax.tree.map(lambda x: x[places], changed))
    # Equal images at different indices become different ones.
    twins = {**batch, "image": jnp.broadcast_to(batch["image"][:1], batch["image"].shape)}
    made = np.asarray(change(jax.random.key(0), twins)["image"]).reshape(16, -1)
    least = {
        "flip": 2,
        "flip_vertical": 2,
        "crop_padding": 10,
        "cutout": 10,
        "mixup": 1,
        "cutmix": 1,
        "auto_augment": 10,
    }.get(name, 16)
    assert len(np.unique(made, axis=0)) >= least


def test_part_of_a_batch_gives_the_same_images():
    change, batch = augment.compose(augment.crop(3), augment.flip(), augment.rotate(30.0)), images_of()
    part = change(jax.random.key(0), jax.tree.map(lambda x: x[3:7], batch))
    whole = change(jax.random.key(0), batch)
    chex.assert_trees_all_close(part, jax.tree.map(lambda x: x[3:7], whole), rtol=1e-5, atol=1e-2)


def test_a_batch_cut_over_devices_gives_the_same_images():
    change, batch = jax.jit(augment.from_config(CONFIGS["all"], CLASSES)), images_of()
    mesh = Mesh(np.asarray(jax.devices()[:4]), (sharding.DATA_AXIS,), axis_types=(AxisType.Auto,))
    cut = change(sharding.replicate(jax.random.key(0), mesh), sharding.shard(batch, mesh))
    whole = change(jax.random.key(0), batch)
    chex.assert_trees_all_close(jax.device_get(cut), jax.device_get(whole), rtol=1e-5, atol=1e-2)


def test_the_defaults_cost_nothing():
    change = augment.from_config(AugmentConfig(), CLASSES)
    assert not jax.make_jaxpr(change)(jax.random.key(0), images_of()).eqns


@pytest.mark.parametrize(
    "change",
    [
        augment.resized_crop(1.0), augment.zoom(1.0), augment.rotate(0.0), augment.crop(0), augment.color_jitter(),
        augment.noise(0.0), augment.cutout(0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_no_strength_changes_nothing(change, channels):
    batch = images_of(shape=(9, 7, channels))
    np.testing.assert_array_equal(change(jax.random.key(0), batch)["image"], batch["image"])


@pytest.mark.parametrize("name", ["all", "mixup", "contrast"])
def test_gray_images_stay_grey(name):
    config = dataclasses.replace(CONFIGS[name], saturation=0.0, hue=0.0)
    batch = images_of(shape=(8, 8, 1))
    changed = jax.jit(augment.from_config(config, CLASSES))(jax.random.key(0), batch)
    chex.assert_shape(changed["image"], (16, 8, 8, 1))


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_colours_that_are_not_there_cannot_change(name):
    with pytest.raises(UserError) as error:
        augment.from_config(CONFIGS[name], CLASSES)(jax.random.key(0), images_of(shape=(8, 8, 1)))
    assert str(error.value) == f"augment.{name} needs images of 3 channels, these have 1"


def test_a_crop_is_a_window_of_the_padded_image():
    batch = images_of(64)
    cropped = np.asarray(augment.crop(2)(jax.random.key(0), batch)["image"])
    places = []
    for before, after in zip(np.asarray(batch["image"]), cropped, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)))
        found = [(y, x) for y in range(5) for x in range(5) if np.array_equal(padded[y : y + 9, x : x + 7], after)]
        assert len(found) == 1
        places += found
    assert len(set(places)) > 15  # of 25
    # The mean of |shift| for -2 to 2 is 1.2.
    assert 1.0 < np.abs(np.asarray(places) - 2).mean() < 1.4


@pytest.mark.parametrize("vertical", [False, True])
def test_a_flip_mirrors_about_half(vertical):
    batch = images_of(400, (3, 5, 1))
    flipped = np.asarray(augment.flip(vertical=vertical)(jax.random.key(0), batch)["image"])
    images = np.asarray(batch["image"])
    mirrored = (flipped == (images[:, ::-1] if vertical else images[:, :, ::-1])).all(axis=(1, 2, 3))
    same = (flipped == images).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 160 < mirrored.sum() < 240


def test_noise_has_the_deviation_that_was_asked_for():
    batch = make_batch(jnp.full((64, 16, 16, 3), 128, jnp.uint8), jnp.zeros(64, jnp.int32))
    added = np.asarray(augment.noise(0.05)(jax.random.key(0), batch)["image"], np.float64) - 128
    values = added.ravel() / (255 * 0.05)
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.01
    assert abs((values**4).mean() - 3) < 0.1  # a normal distribution's
    assert np.abs(np.corrcoef(added.reshape(64, -1)) - np.eye(64)).max() < 0.2  # images have noise of their own
    halves = added.reshape(64, 2, -1)
    assert abs((halves[:, 0] * halves[:, 1]).mean()) < 0.02 * added.var()


def test_cutout_blackens_a_square():
    batch = images_of(200, (12, 10, 1))
    cut = np.asarray(augment.cutout(3)(jax.random.key(0), batch)["image"])[..., 0]
    gone = cut == 0  # no pixel was
    np.testing.assert_array_equal(cut[~gone], np.asarray(batch["image"])[..., 0][~gone])
    for box in gone:
        rows, columns = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
        assert 2 <= len(rows) <= 3 >= len(columns) >= 2  # its center lies inside
        assert box.sum() == len(rows) * len(columns)
        assert np.ptp(rows) == len(rows) - 1
        assert np.ptp(columns) == len(columns) - 1
    # Whole unless the center is in the outermost row or column: 10/12 x 8/10 of the time.
    assert abs((gone.sum(axis=(1, 2)) == 9).mean() - 2 / 3) < 0.1
    assert gone.any(axis=0).all()


def shares(mixed, batch):
    """Of a mixture whose images are constant and whose labels tell one from another: each row's own and other share."""
    rows = np.asarray(mixed["label"], np.float64)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    own = rows[np.arange(len(rows)), np.asarray(batch["label"])]
    return own, np.where(np.arange(rows.shape[1]) == np.asarray(batch["label"])[:, None], 0, rows)


def one_class_each(size=64, side=(6, 8)):
    """Image i is all i and of class i."""
    label = jnp.arange(size, dtype=jnp.int32)
    return make_batch(jnp.broadcast_to(label.astype(jnp.uint8)[:, None, None, None], (size, *side, 1)), label)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_mixes_images_and_labels_alike(alpha):
    batch, change = one_class_each(), jax.jit(mix(64, mixup=alpha))
    mixed = change(jax.random.key(0), batch)
    # Pixels of image i are i: a mixture's pixels are what its label says, and all the same.
    expected = np.asarray(mixed["label"], np.float64) @ np.arange(64)
    np.testing.assert_allclose(mixed["image"], np.broadcast_to(expected.reshape(-1, 1, 1, 1), (64, 6, 8, 1)), atol=1e-4)
    own, other = shares(mixed, batch)
    partners = other.argmax(axis=1)
    assert len(set((partners - np.arange(64))[other.max(axis=1) > 1e-3] % 64)) == 1
    many = [np.asarray(shares(change(jax.random.key(i), batch), batch)[0]) for i in range(10)]
    own = np.concatenate(many)
    assert abs(own.mean() - 0.5) < 0.06
    assert own.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)  # Beta's


def test_cutmix_weighs_labels_by_the_area_that_is_left():
    batch, change, own = one_class_each(), jax.jit(mix(64, cutmix=1.0)), []
    for seed in range(10):
        mixed = change(jax.random.key(seed), batch)
        kept, other = shares(mixed, batch)
        image = np.asarray(mixed["image"])[..., 0]
        mine = image == np.arange(64).reshape(-1, 1, 1)
        np.testing.assert_allclose(kept, mine.mean(axis=(1, 2)), atol=1e-6)
        partner = np.where(other.any(axis=1), other.argmax(axis=1), 0)
        for i in range(64):
            box = ~mine[i]
            assert (image[i][box] == partner[i]).all()
            assert box.sum() == box.any(axis=1).sum() * box.any(axis=0).sum()
        own.append(kept)
    assert 0.5 < np.concatenate(own).mean() < 0.75  # a half, and what the border cuts off


def test_with_both_each_image_gets_one_of_them():
    batch = one_class_each(size=256)
    mixed = jax.jit(mix(256, mixup=1.0, cutmix=1.0))(jax.random.key(0), batch)
    image = np.asarray(mixed["image"])[..., 0].reshape(256, -1)
    own, _ = shares(mixed, batch)
    blended = ((image == image[:, :1]).all(axis=1) & (own > 0) & (own < 1)).mean()
    assert 0.4 < blended < 0.6
    np.testing.assert_allclose(image.mean(axis=1), np.asarray(mixed["label"]) @ np.arange(256), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("options", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_what_is_masked_is_mixed_into_nothing(options):
    batch, change = one_class_each(), jax.jit(mix(64, **options))
    mask = np.arange(64) % 2 == 0
    for seed in range(4):
        mixed = change(jax.random.key(seed), {**batch, "mask": jnp.asarray(mask)})
        assert not np.asarray(mixed["label"])[np.ix_(mask, ~mask)].any()
        assert np.asarray(mixed["image"]).max() <= 63


def test_shares_of_a_batch_are_mixed_with_partners_from_the_whole_of_it():
    """As on devices that run a program each: 4 shares of 16, the last example masked."""
    batch = one_class_each() | {"mask": jnp.arange(64) < 63}
    split = jax.tree.map(lambda x: x.reshape(4, 16, *x.shape[1:]), batch)
    change = jax.vmap(mix(64, cutmix=1.0, axis_name="data"), (None, 0), axis_name="data")
    found = jax.tree.map(lambda x: x.reshape(64, *x.shape[2:]), jax.jit(change)(jax.random.key(0), split))
    chex.assert_trees_all_equal(found, jax.jit(mix(64, cutmix=1.0))(jax.random.key(0), batch))


def test_a_batch_of_one_has_no_partner():
    batch = one_class_each(size=1)
    mixed = jax.jit(mix(3, mixup=1.0))(jax.random.key(0), batch)
    np.testing.assert_array_equal(mixed["label"], [[1, 0, 0]])


def test_mixtures_can_be_mixed_again():
    batch = one_class_each()
    twice = jax.jit(augment.compose(mix(64, mixup=1.0), mix(64, cutmix=1.0)))(jax.random.key(0), batch)
    np.testing.assert_allclose(twice["label"].sum(axis=1), np.ones(64), atol=1e-5)
    assert ((np.asarray(twice["label"]) > 0.01).sum(axis=1) > 2).any()


def test_normalization_is_the_textbooks():
    batch = images_of()
    mean, std = np.asarray([0.1, 0.5, 0.7], np.float32), np.asarray([0.2, 0.3, 0.4], np.float32)
    with jax.numpy_dtype_promotion("strict"):
        out = augment.normalize(mean, std)(batch)["image"]
    assert out.dtype == jnp.float32
    expected = (np.asarray(batch["image"], np.float64) / 255 - mean) / std
    np.testing.assert_allclose(out, expected, atol=1e-5)
