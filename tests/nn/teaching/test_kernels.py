import jax.numpy as jnp
import numpy as np
import pytest
import reference
from compare import check, normal, properties
from hypothesis import given
from hypothesis import strategies as st

from fcnn.nn.teaching import (
    RIDGE,
    SHARPEN,
    box_blur,
    box_kernel,
    filter_image,
    gaussian_blur,
    gaussian_kernel,
    ridge,
    sharpen,
)


@properties
@given(st.integers(1, 7), st.integers(1, 7), st.sampled_from([1, 3, 5]), st.sampled_from([1, 3]), st.integers(0, 999))
def test_each_channel_is_convolved_by_itself(height, width, tall, wide, seed):
    rng = np.random.default_rng(seed)
    x, kernel = normal(rng, 2, height, width, 3), normal(rng, tall, wide)
    expected = one_by_one(x, kernel)
    check("filter_image", lambda x, kernel: filter_image(x, kernel), (x, kernel), expected)


def one_by_one(x, kernel):
    pairs = [(side // 2, side // 2) for side in kernel.shape]
    arguments = (0, (1, 1), pairs, (1, 1), 1, "edge")
    return np.concatenate(
        [reference.conv(x[..., c : c + 1], kernel[:, :, None, None], *arguments) for c in range(3)], -1
    )


def test_named_filters():
    x = normal(np.random.default_rng(0), 1, 9, 8, 3)
    distance = np.hypot(*np.mgrid[-3:4, -3:4])
    bell = np.exp(-(distance**2) / (2 * 1.5**2))
    for name, function, kernel in [
        ("ridge", ridge, np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])),
        ("sharpen", sharpen, np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])),
        ("box_blur", lambda x: box_blur(x, 5), np.ones((5, 5)) / 25),
        ("gaussian_blur", lambda x: gaussian_blur(x, 7, 1.5), bell / bell.sum()),
    ]:
        check(name, function, (x,), one_by_one(x, kernel))


def test_blurs_and_sharpening_keep_the_brightness_and_ridge_has_none():
    for kernel in (SHARPEN, box_kernel(), box_kernel(7), gaussian_kernel(), gaussian_kernel(9, 2.0)):
        assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert RIDGE.sum() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: box_kernel(4), "box_kernel: .*odd.*4"),
        (lambda: gaussian_kernel(0), "gaussian_kernel: .*odd.*0"),
        (lambda: gaussian_kernel(3, 0.0), r"gaussian_kernel: sigma .*0\.0"),
        (lambda: filter_image(jnp.ones((4, 4, 3)), RIDGE), r"filter_image: .*\(4, 4, 3\) and \(3, 3\)"),
        (lambda: filter_image(jnp.ones((1, 4, 4, 3), jnp.uint8), RIDGE), r"filter_image: .*uint8"),
        (lambda: filter_image(jnp.ones((1, 4, 4, 3)), RIDGE[:2]), r"filter_image: .*odd.*2"),
    ],
)
def test_errors_are_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
