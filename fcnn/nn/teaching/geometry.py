"""The arithmetic of sliding windows: how large an output is, and how much of the input one of its entries sees."""

from collections.abc import Sequence
from typing import NamedTuple, SupportsIndex

from fcnn.nn.geometry import Ints, Padding, Windows, padding_pairs, per_axis


def output_size(size: int, kernel: int, stride: int = 1, padding: int | tuple[int, int] = 0, dilation: int = 1) -> int:
    """Counts the positions of a sliding window along one axis.

        floor((W + 2P - D(K-1) - 1) / S) + 1

    A kernel of K taps that lie D apart spans D(K-1) + 1 entries; it starts at the first entry of the padded input and
    moves on by S as long as it fits.

    Args:
      size: W, the length of the axis.
      kernel: K, the number of taps.
      stride: S, the step between two windows.
      padding: P entries on both sides, or the pair (before, after), whose sum takes the place of 2P.
      dilation: D, the distance of two neighboring taps.

    Returns:
      The length of the output, at least 1.

    Raises:
      ValueError: if the window spans more than the padded input, or an argument is out of its range.

    Source: Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", relationship 15.

    >>> output_size(224, 7, stride=2, padding=3)  # the stem of ResNet
    112
    >>> output_size(5, 3, dilation=2)
    1
    """
    pair = (padding, padding) if isinstance(padding, SupportsIndex) else padding
    return _positions("output_size", size, kernel, stride, pair, dilation)


class ReceptiveField(NamedTuple):
    """How many entries along one axis an output depends on, in the `input` and in the `previous` layer's output."""

    input: int
    previous: int


def receptive_field(layers: Sequence[int | Sequence[int]]) -> ReceptiveField:
    """Counts how many entries along one axis an output of the last layer depends on.

        previous:  r = D_l (K_l - 1) + 1
        input:     R = 1 + sum_l D_l (K_l - 1) S_1 ... S_{l-1}

    since a step of one entry in layer l's input is a step of S_1 ... S_{l-1} entries in the image.

    Args:
      layers: from the input to the output, each K, (K, S) or (K, S, D): kernel, stride (1) and dilation (1).

    Returns:
      (input, previous): in the network's input, and in the previous layer, which is the last layer's own input. Both
      are 1 if there are no layers.

    Raises:
      ValueError: if a layer is not of this form or has an entry below 1.

    Source: Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural networks", equation 2.

    >>> receptive_field([3, 3, 3])  # three 3x3 convolutions have the receptive field of one 7x7
    ReceptiveField(input=7, previous=3)
    >>> receptive_field([(7, 2), (3, 2), (3, 1)])  # ResNet: stem, max pool, first convolution
    ReceptiveField(input=19, previous=3)
    """
    field, step, previous = 1, 1, 1
    for layer in layers:
        numbers = (layer,) if isinstance(layer, SupportsIndex) else tuple(layer)
        if not 1 <= len(numbers) <= 3 or min(numbers) < 1:
            raise ValueError(f"receptive_field: a layer is K, (K, S) or (K, S, D), each at least 1, got {layer}")
        kernel, stride, dilation = (*numbers, 1, 1)[:3]
        previous = dilation * (kernel - 1) + 1
        field += (previous - 1) * step
        step *= stride
    return ReceptiveField(field, previous)


def conv_windows(
    caller: str, x: tuple[int, ...], w: tuple[int, ...], stride: Ints, padding: Padding, dilation: Ints, groups: int
) -> Windows:
    """Checks the shapes of an image and a kernel against each other and lays out the windows of the convolution."""
    n = len(w) - 2
    if len(x) != len(w) or not 1 <= n <= 3:
        raise ValueError(
            f"{caller}: x (B, 1 to 3 spatial axes, C) and w (as many, C / groups, out) have shapes {x} and {w}"
        )
    if groups < 1 or x[-1] != groups * w[-2] or w[-1] % groups:
        raise ValueError(
            f"{caller}: {groups} groups must divide x's channels into w's inputs and must divide w's outputs, "
            f"got x {x} and w {w}"
        )
    stride, dilation = per_axis(caller, "stride", stride, n), per_axis(caller, "dilation", dilation, n)
    pairs = padding_pairs(caller, padding, x[1:-1], w[:-2], stride, dilation)
    axes = zip(x[1:-1], w[:-2], stride, pairs, dilation, strict=True)
    return Windows(w[:-2], stride, dilation, pairs, tuple(_positions(caller, *axis) for axis in axes))


def _positions(caller: str, size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int) -> int:
    if min(size, kernel, stride, dilation) < 1 or min(padding) < 0:
        raise ValueError(
            f"{caller}: size, kernel, stride and dilation must be at least 1 and padding at least 0, "
            f"got {size}, {kernel}, {stride}, {dilation} and {padding}"
        )
    span, padded = dilation * (kernel - 1) + 1, size + sum(padding)
    if span > padded:
        raise ValueError(
            f"{caller}: the window spans {span} (kernel {kernel}, dilation {dilation}) "
            f"but the padded input only {padded} (size {size}, padding {padding})"
        )
    return (padded - span) // stride + 1
