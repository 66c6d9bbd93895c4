"""Winograd's algorithm: the numbers of the convolution as written, for every shape, and where it is used."""

import functools
from typing import get_args

import jax
import numpy as np
import pytest
from compare import THOROUGH, error, normal, quick
from convolutions import NHWC, arrays_for, ended, ended_arrays_for, ended_by_lax, in_float64, products, single
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax

from fcnn.nn import conv_general_dilated, cpu_convolutions
from fcnn.nn.onednn import dispatch, winograd, winograd_plan
from fcnn.nn.onednn.plan import Activation

HERE = cpu_convolutions()
needs_onednn = pytest.mark.skipif(
    not HERE.startswith("oneDNN"), reason=f"only oneDNN computes it so, and this is {HERE}"
)

LIMIT = 3e-5  # of the largest entry, which for few outputs can be small beside what was summed

rows = st.tuples(st.integers(1, 13), st.integers(0, 2)).filter(lambda row: row[0] + 2 * row[1] >= winograd.TAPS)


@given(rows)
def test_the_matrices_are_a_convolution(row):
    size, padding = row
    rng = np.random.default_rng(0)
    x, w = normal(rng, size), normal(rng, winograd.TAPS)
    values = np.tile(winograd.weights_matrix() @ w, winograd.tiles(size, padding)) * (
        winograd.input_matrix(size, padding) @ x
    )
    wanted = np.convolve(np.pad(x, padding), w[::-1], "valid")
    np.testing.assert_allclose(winograd.output_matrix(size, padding) @ values, wanted, rtol=0, atol=1e-13)


def options_for(padding):
    return {"window_strides": (1, 1), "padding": tuple((each, each) for each in padding)} | NHWC


@st.composite
def cases(draw):
    (height, above), (width, beside) = draw(rows), draw(rows)
    inputs, outputs = draw(st.sampled_from([1, 3, 16, 33])), draw(st.sampled_from([1, 5, 16, 48]))
    return (draw(st.integers(1, 5)), height, width, inputs), (3, 3, inputs, outputs), options_for((above, beside))


@pytest.fixture
def always(monkeypatch):
    """The algorithm for each convolution that it computes, fast or not, and images in several turns."""
    monkeypatch.setattr(dispatch, "better_by_winograd", winograd.suits)
    monkeypatch.setattr(winograd_plan, "_LARGEST", 20_000)
    winograd_plan.winograd_plan.cache_clear()
    yield
    winograd_plan.winograd_plan.cache_clear()


@needs_onednn
@settings(max_examples=10 * THOROUGH, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases())
def test_output_and_gradients_of_every_shape(always, case):
    x, w, options = case
    arrays = arrays_for(x, w, options)
    wanted = in_float64(functools.partial(products, functools.partial(lax.conv_general_dilated, **options)), *arrays)
    function = functools.partial(products, functools.partial(conv_general_dilated, **options))
    program = jax.jit(function, compiler_options=quick()).lower(*single(arrays))
    tiny = max(x[1:3]) <= 2
    assert program.as_text().count("winograd") == (0 if tiny else 3)
    for actual, expected in zip(program.compile()(*single(arrays)), wanted, strict=True):
        assert error(actual, expected) < LIMIT


@needs_onednn
@settings(max_examples=8 * THOROUGH, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases(), st.booleans(), st.booleans(), st.sampled_from([*get_args(Activation), None]))
def test_every_ending(always, case, scale, add, activation):
    x, w, options = case
    arrays = ended_arrays_for(x, w, options, scale=scale, add=add)
    how = {"options": options, "activation": activation}
    program = jax.jit(functools.partial(ended, **how), compiler_options=quick()).lower(*single(arrays))
    assert program.as_text().count("winograd") == (max(x[1:3]) > 2)  # tiny images are left to products
    actual = program.compile()(*single(arrays))
    wanted, before = (
        in_float64(functools.partial(ended_by_lax, **how | last), *arrays) for last in ({}, NO_ACTIVATION)
    )
    # A sigmoid or tanh leaves 1 of large numbers, and of their errors all that lies around 0.
    assert error(actual, wanted) * np.abs(wanted).max() < LIMIT * max(np.abs(before).max(), 1e-3)


NO_ACTIVATION = {"activation": None}
LARGE = (8, 8, 8, 256), (3, 3, 256, 256), options_for((1, 1))


@needs_onednn
def test_where_it_is_used():
    """With many channels, and where nobody asked for every digit."""
    arrays = single(arrays_for(*LARGE))

    def calls(x, w, y, **more):
        convolve = functools.partial(conv_general_dilated, **LARGE[2], **more)
        return jax.jit(functools.partial(products, convolve)).lower(x, w, y).as_text().count("winograd")

    assert calls(*arrays) == 3
    assert calls(*arrays, precision="highest") == 0
    assert calls(*arrays, precision=lax.Precision.DEFAULT) == 3
    with jax.default_matmul_precision("float32"):
        assert calls(*arrays) == 0
    few = single(arrays_for((*LARGE[0][:3], 32), (3, 3, 32, 32), LARGE[2]))
    assert calls(*few) == 0


@needs_onednn
def test_its_rounding_errors():
    """A few times those of the convolution as written, far below what training notices."""
    arrays = arrays_for(*LARGE)
    convolve = functools.partial(conv_general_dilated, **LARGE[2])
    wanted = in_float64(functools.partial(products, functools.partial(lax.conv_general_dilated, **LARGE[2])), *arrays)
    for actual, expected in zip(jax.jit(functools.partial(products, convolve))(*single(arrays)), wanted, strict=True):
        assert np.sqrt(np.mean((actual - expected) ** 2)) < 2e-6 * expected.std()
