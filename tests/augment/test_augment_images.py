"""Augmentation on real photographs: geometry against Pillow, color against torchvision's formulas in NumPy float64."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from fcnn import augment
from fcnn.augment.color import blend, gray, shift_hue
from fcnn.augment.geometric import box_at_full_size, rotated
from fcnn.utils.batch import make_batch

CHINA, FLOWER = (np.asarray(image) for image in load_sample_images().images)  # (427, 640, 3) uint8
PHOTOGRAPHS = {"china": CHINA[100:196, 250:378], "flower": FLOWER[150:240, 260:321]}  # even sides, and an odd one
BOX, ROTATED, HUE = jax.jit(box_at_full_size), jax.jit(rotated), jax.jit(shift_hue)
SMALL = CHINA[100:420:10, 200:520:10]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("degrees", [0.0, 7.3, -30.0, 45.0, 90.0, 123.4, 180.0])
def test_rotation_is_pillows(name, degrees):
    image = PHOTOGRAPHS[name]
    ours = np.asarray(ROTATED(jnp.asarray(image), jnp.float32(degrees)))
    theirs = np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR), np.float64)
    # Pillow rounds to whole levels. At the very border a rounding decides whether a pixel is inside.
    off = np.abs(ours - theirs).max(axis=-1) > 1.01
    assert off.mean() < 0.002
    assert off[2:-2, 2:-2].mean() < 0.002


@given(
    st.sampled_from(list(PHOTOGRAPHS)), st.floats(0, 30), st.floats(0, 20), st.floats(10, 60), st.floats(10, 40)
)  # fmt: skip
def test_a_box_at_full_size_is_pillows(name, top, left, height, width):
    image = PHOTOGRAPHS[name]
    place = [jnp.float32(x) for x in (top, left, height, width)]
    ours = np.asarray(BOX(jnp.asarray(image), *place))
    size = (image.shape[1], image.shape[0])
    theirs = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, (left, top, left + width, top + height))
    # Pillow rounds after the rows and again after the columns.
    assert np.abs(ours - np.asarray(theirs, np.float64)).max() < 1.6


@pytest.mark.parametrize("factor", [2, 3])
def test_an_image_drawn_smaller_is_pillows_in_black(factor):
    image = np.tile(PHOTOGRAPHS["china"], (3, 3, 1))[: 24 * factor, : 36 * factor]
    height, width = image.shape[:2]
    box = (height * (1 - factor) / 2, width * (1 - factor) / 2, height * factor, width * factor)
    ours = np.asarray(BOX(jnp.asarray(image), *(jnp.float32(x) for x in box)))
    small = Image.fromarray(image).resize((36, 24), Image.Resampling.BILINEAR)
    expected = np.zeros_like(image, np.float64)
    top, left = (height - 24) // 2, (width - 36) // 2
    expected[top : top + 24, left : left + 36] = np.asarray(small)
    assert np.abs(ours - expected).max() < 1.6


@pytest.mark.parametrize("least", [0.08, 0.5])
def test_resized_crops_are_boxes_of_the_size_that_was_asked_for(least):
    """Of an image whose first channel is a row's number and whose second a column's, a box tells where it was."""
    side, count = 64, 400
    ramp = np.broadcast_to(np.arange(side)[:, None], (side, side))
    image = jnp.asarray(np.stack([ramp, ramp.T, 0 * ramp], axis=-1).astype(np.uint8))
    batch = make_batch(jnp.broadcast_to(image, (count, *image.shape)), jnp.zeros(count, jnp.int32))
    boxes = np.asarray(jax.jit(augment.resized_crop(least))(jax.random.key(0), batch)["image"], np.float64)
    inner = slice(side // 4, -side // 4)  # away from the border, where it is clamped
    height = np.diff(boxes[:, inner, 32, 0], axis=1).mean(axis=1) * side
    width = np.diff(boxes[:, 32, inner, 1], axis=1).mean(axis=1) * side
    area, ratio = height * width / side**2, width / height
    assert least - 0.01 < area.min() < least + 0.05
    assert area.max() <= 1.01
    assert abs(area.mean() - (1 + least) / 2) < 0.08  # a large box fits less often
    assert 3 / 4 - 0.01 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 4 / 3 + 0.01
    assert abs(np.log(ratio).mean()) < 0.03
    top = boxes[:, 31:33, 32, 0].mean(axis=1) + 0.5 - height / 2
    room = side - height
    assert (top > -0.1).all()
    assert (top < room + 0.1).all()
    assert abs((top / room)[room > 5].mean() - 0.5) < 0.06


def test_zoom_is_as_often_in_as_out():
    side, count = 64, 400
    ramp = np.broadcast_to(np.arange(side)[:, None, None], (side, side, 1)).astype(np.uint8)
    batch = make_batch(jnp.broadcast_to(ramp, (count, *ramp.shape)), jnp.zeros(count, jnp.int32))
    images = np.asarray(jax.jit(augment.zoom(2.0))(jax.random.key(0), batch)["image"], np.float64)
    factor = 1 / np.diff(images[:, 24:40, 32, 0], axis=1).mean(axis=1)
    assert 0.49 < factor.min() < 0.53
    assert 1.9 < factor.max() < 2.01
    assert abs(np.log2(factor).mean()) < 0.07
    np.testing.assert_allclose(images[:, 31:33, 32, 0].mean(axis=1), 31.5, atol=1e-3)  # the center stays


def test_angles_are_uniform_either_way():
    side, count = 65, 400
    ramp = np.broadcast_to(np.arange(side)[:, None, None] + 50, (side, side, 1)).astype(np.uint8)
    batch = make_batch(jnp.broadcast_to(ramp, (count, *ramp.shape)), jnp.zeros(count, jnp.int32))
    images = np.asarray(jax.jit(augment.rotate(40.0))(jax.random.key(0), batch)["image"], np.float64)[..., 0]
    down, right = images[:, 42, 32] - images[:, 22, 32], images[:, 32, 42] - images[:, 32, 22]
    angle = np.rad2deg(np.arctan2(right, down))
    assert -40.1 < angle.min() < -38
    assert 38 < angle.max() < 40.1
    assert abs(angle.mean()) < 3
    assert abs(angle.std() - 80 / np.sqrt(12)) < 2


# torchvision's functional_tensor, version 0.20, for float images (C, H, W) in [0, 1], written again in NumPy.
def torch_grey(x):
    return x if len(x) == 1 else (0.2989 * x[0] + 0.587 * x[1] + 0.114 * x[2])[None]


def torch_blend(x, other, factor):
    return np.clip(factor * x + (1 - factor) * other, 0, 1)


def torch_hue(x, turns):
    """Pixel by pixel through the standard library's HSV."""
    pixels = x.reshape(3, -1).T
    turned = []
    for pixel in pixels:
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        turned.append(colorsys.hsv_to_rgb((h + turns) % 1, s, v))
    return np.asarray(turned).T.reshape(x.shape)


REFERENCE = {
    "brightness": lambda x, f: torch_blend(x, 0, f),
    "contrast": lambda x, f: torch_blend(x, torch_grey(x).mean(), f),
    "saturation": lambda x, f: torch_blend(x, torch_grey(x), f),
    "hue": torch_hue,
}


def unit(image):
    """(H, W, C) of 0 to 255 -> (C, H, W) of 0 to 1, float64."""
    return np.moveaxis(np.asarray(image, np.float64), -1, 0) / 255


@given(st.floats(0, 3))
def test_blends_are_torchvisions(factor):
    planes, f = jnp.moveaxis(jnp.asarray(SMALL, jnp.float32), -1, 0), jnp.float32(factor)
    light = gray(planes)
    others = {"brightness": jnp.zeros_like(light), "contrast": jnp.full_like(light, light.mean()), "saturation": light}
    for name, other in others.items():
        np.testing.assert_allclose(blend(planes, other, f) / 255, REFERENCE[name](unit(SMALL), factor), atol=2e-6)


@given(st.floats(-0.5, 0.5))
def test_hue_is_colorsys(turns):
    planes = jnp.moveaxis(jnp.asarray(SMALL, jnp.float32), -1, 0)
    np.testing.assert_allclose(HUE(planes, jnp.float32(turns)) / 255, torch_hue(unit(SMALL), turns), atol=5e-6)


def test_black_white_and_gray_have_no_hue():
    greys = jnp.broadcast_to(jnp.asarray([0.0, 100, 255]).reshape(1, 1, 3), (3, 1, 3))
    np.testing.assert_array_equal(shift_hue(greys, jnp.float32(0.3)), greys)


@pytest.mark.parametrize("name", REFERENCE)
def test_one_jitter_is_its_operation_with_some_strength_in_range(name):
    """Each image of a batch is the reference's for one factor, found by search, and factors fill their range."""
    count, strength = 48, 0.4
    batch = make_batch(jnp.broadcast_to(jnp.asarray(SMALL), (count, *SMALL.shape)), jnp.zeros(count, jnp.int32))
    changed = jax.jit(augment.color_jitter(**{name: strength}))(jax.random.key(0), batch)["image"]
    small = np.ascontiguousarray(SMALL[::4, ::4]) if name == "hue" else SMALL
    low, high = (-strength, strength) if name == "hue" else (1 - strength, 1 + strength)
    grid = np.linspace(low, high, 401)
    table = np.stack([REFERENCE[name](unit(small), f) for f in grid]).reshape(len(grid), -1)
    ours = np.stack([unit(image[::4, ::4] if name == "hue" else image) for image in changed]).reshape(count, -1)
    found, distance = zip(*((grid[(d := np.abs(table - x).mean(axis=1)).argmin()], d.min()) for x in ours), strict=True)
    assert max(distance) < 0.003
    assert low <= min(found) < low + 0.15 * (high - low)
    assert high - 0.15 * (high - low) < max(found) <= high
    assert abs(np.mean(found) - (low + high) / 2) < 0.15 * (high - low)


def test_four_jitters_follow_one_another_in_every_order():
    """With factors that are fixed, as a range of no width has them, the orders are all that is random."""
    import itertools
    from unittest import mock

    amounts = {"brightness": 0.7, "contrast": 1.6, "saturation": 1.8, "hue": 0.2}
    made = {}
    for order in itertools.permutations(REFERENCE):
        x = unit(SMALL[::4, ::4])
        for name in order:
            x = REFERENCE[name](x, amounts[name])
        made[order] = x
    image = jnp.asarray(np.ascontiguousarray(SMALL[::4, ::4]))
    count = 24 * 40
    batch = make_batch(jnp.broadcast_to(image, (count, *image.shape)), jnp.zeros(count, jnp.int32))

    def fixed(key, shape=(), **_):
        return jnp.asarray([0.7, 1.6, 1.8]) if shape else jnp.float32(0.2)

    with mock.patch("jax.random.uniform", fixed):
        jitter = augment.color_jitter(brightness=1, contrast=1, saturation=1, hue=0.5)
        changed = jax.jit(jitter)(jax.random.key(0), batch)["image"]
    table = np.stack(list(made.values()))
    seen = np.zeros(len(made), int)
    for x in changed:
        distance = np.abs(table - unit(x)).max(axis=(1, 2, 3))
        seen[distance.argmin()] += 1
        assert distance.min() < 1e-5
    # Some orders give the same image; by groups of equal ones, each is as frequent as it should be.
    same = np.abs(table[:, None] - table[None]).max(axis=(2, 3, 4)) < 1e-6
    groups = {tuple(np.flatnonzero(row)) for row in same}
    assert len(groups) > 12
    for group in groups:
        assert abs(seen[list(group)].sum() - 40 * len(group)) < 4 * np.sqrt(40 * len(group))
