import pytest
import reference
from compare import properties
from hypothesis import given
from hypothesis import strategies as st

from fcnn.nn.geometry import padding_pairs
from fcnn.nn.teaching import output_size, receptive_field

small = st.integers(1, 5)


@properties
@given(st.integers(1, 30), small, small, st.integers(0, 4), small)
def test_output_size_counts_the_positions_of_the_window(size, kernel, stride, padding, dilation):
    taps = [dilation * k for k in range(kernel)]
    positions = [i for i in range(0, size + 2 * padding, stride) if i + taps[-1] < size + 2 * padding]
    if not positions:
        with pytest.raises(ValueError, match=f"size {size}"):
            output_size(size, kernel, stride, padding, dilation)
        return
    assert output_size(size, kernel, stride, padding, dilation) == len(positions)
    assert output_size(size, kernel, stride, (2 * padding, 0), dilation) == len(positions)


@properties
@given(st.lists(st.tuples(small, st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=4))
def test_receptive_field_is_the_span_of_the_inputs_that_an_output_depends_on(layers):
    field = receptive_field(layers)
    assert field.input == reference.receptive_field(layers)
    assert field.previous == reference.receptive_field(layers, previous_only=True)


def test_receptive_field_fills_in_stride_and_dilation():
    assert receptive_field([3, (3,), (3, 1), (3, 1, 1)]) == receptive_field([(3, 1, 1)] * 4) == (9, 3)
    assert receptive_field([]) == (1, 1)


@properties
@given(st.integers(1, 20), small, small, small)
def test_same_padding_is_the_smallest_that_gives_a_window_every_stride(size, kernel, stride, dilation):
    (pair,) = padding_pairs("test", "SAME", (size,), (kernel,), (stride,), (dilation,))
    assert pair == reference.same_padding(size, kernel, stride, dilation)


@pytest.mark.parametrize("arguments", [(5, 7), (5, 3, 0), (5, 3, 1, -1), (5, 0), (5, 3, 1, 0, 3), (0, 1)])
def test_output_size_refuses_what_has_no_output(arguments):
    with pytest.raises(ValueError, match=r"^output_size: .*\d"):
        output_size(*arguments)


@pytest.mark.parametrize("layers", [[0], [(3, 0)], [(3, 1, 1, 1)], [()]])
def test_receptive_field_refuses_what_is_no_layer(layers):
    with pytest.raises(ValueError, match=r"^receptive_field: "):
        receptive_field(layers)
