"""How sharp, how bright, how odd: what must hold of each measure."""

import numpy as np
import pytest
from images import pixels
from PIL import Image, ImageFilter

from fcnn.data.quality import ODD, deviations, measure_quality, oddness


def photograph(seed: int, size: tuple[int, int] = (300, 200)) -> Image.Image:
    """One with fine structure."""
    noise = np.random.default_rng(seed).integers(-40, 40, (size[1], size[0], 3))
    return Image.fromarray((pixels(seed, size[1], size[0]) + noise).clip(0, 255).astype(np.uint8))


def test_what_is_blurred_is_less_sharp():
    image = photograph(0)
    values = [measure_quality(image.filter(ImageFilter.GaussianBlur(r))).sharpness for r in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 10 * values[2]
    flat = measure_quality(Image.new("L", (7, 1), 200))
    assert (flat.sharpness, flat.brightness) == (0, 200)


def test_the_laplacian_is_scipys():
    from scipy.ndimage import laplace

    gray = photograph(1, (200, 100)).convert("L")
    expected = laplace(np.asarray(gray, float), mode="nearest").var()
    assert measure_quality(gray).sharpness == pytest.approx(expected, rel=1e-12)


def test_deviations_are_those_of_the_many():
    values = np.random.default_rng(0).normal(10, 2, 2000)
    found = deviations([*values, 1e6])
    np.testing.assert_allclose(found[:-1], (values - 10) / 2, atol=0.2)
    assert found[-1] > 1e5
    assert deviations([5.0, 5.0, 5.0, 6.0], 0.5).tolist() == [0, 0, 0, 2]


def test_who_is_alone_is_odd_and_who_has_a_copy_is_no_less():
    rng = np.random.default_rng(0)
    kinds = np.abs(rng.normal(size=(3, 40))) + 0.2
    features = np.abs(kinds[rng.integers(0, 3, 200)] + 0.1 * rng.normal(size=(200, 40)))
    strange = np.abs(rng.normal(size=(1, 40))) + 0.2
    features = np.concatenate([features, strange, strange])
    groups = np.asarray([*range(200), 200, 200])
    scores = deviations(oddness(features.astype(np.float32), groups))
    assert set(np.argsort(-scores)[:2]) == {200, 201}
    assert scores[200] > ODD
    alone = oddness(features[:-1].astype(np.float32), groups[:-1])
    np.testing.assert_allclose(oddness(features.astype(np.float32), groups)[200], alone[200], rtol=1e-6)
    assert np.isfinite(oddness(np.zeros((3, 4), np.float32), np.zeros(3, int))).all()
