"""Backward passes by hand, as a course derives them: what `jax.grad` does, with nothing hidden.

Each takes the inputs of the forward pass and dy, the gradient of the loss in the layer's output, and returns the
gradient of the loss in each of the layer's inputs; the chain rule does the rest. Source: Goodfellow, Bengio & Courville
2016, "Deep learning", sections 6.5 and 9.5.
"""

import itertools

import jax
import jax.numpy as jnp

from fcnn.nn.geometry import Ints, Padding, Windows
from fcnn.nn.pool import pool_windows
from fcnn.nn.pool_by_lax import pad_for_max
from fcnn.nn.teaching.edges import pad
from fcnn.nn.teaching.geometry import conv_windows


def dense_backward(x: jax.Array, w: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The gradients of y = x w + bias.

        dx = dy w^T,   dw = x^T dy,   dbias = sum of dy over the batch

    Args:
      x: (B, I).
      w: (I, O).
      dy: (B, O).

    Returns:
      (dx, dw, dbias) of the shapes (B, I), (I, O) and (O,).

    Raises:
      ValueError: if the shapes don't match.

    >>> dx, dw, dbias = dense_backward(jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.ones((2, 4)))
    >>> dx[0].tolist(), dw[0].tolist(), dbias.tolist()
    ([4.0, 4.0, 4.0], [2.0, 2.0, 2.0, 2.0], [2.0, 2.0, 2.0, 2.0])
    """
    if not (x.ndim == w.ndim == dy.ndim == 2 and x.shape[1] == w.shape[0] and dy.shape == (x.shape[0], w.shape[1])):
        raise ValueError(
            f"dense_backward: x (B, I), w (I, O), dy (B, O) have shapes {x.shape}, {w.shape} and {dy.shape}"
        )
    return dy @ w.T, x.T @ dy, jnp.sum(dy, axis=0)


def relu_backward(x: jax.Array, dy: jax.Array) -> jax.Array:
    """The gradient of y = max(x, 0).

        dx = dy where x > 0, else 0

    At 0 any number from 0 to 1 would do; 0 is everybody's choice.

    Args:
      x, dy: of one shape.

    Returns:
      dx of the same shape.

    Raises:
      ValueError: if the shapes differ.

    >>> relu_backward(jnp.array([-1.0, 0.0, 2.0]), jnp.array([5.0, 5.0, 5.0])).tolist()
    [0.0, 0.0, 5.0]
    """
    if x.shape != dy.shape:
        raise ValueError(f"relu_backward: x and dy must have one shape, got {x.shape} and {dy.shape}")
    return jnp.where(x > 0, dy, jnp.zeros_like(dy))


def softmax_cross_entropy_backward(logits: jax.Array, labels: jax.Array, dloss: jax.Array | None = None) -> jax.Array:
    """The gradient of loss = -sum_k p_k log softmax(logits)_k, one loss an example.

        dlogits = (softmax(logits) sum_k p_k - p) dloss

    Since p sums to 1, that is the difference of what the network says and what is true.

    Args:
      logits: (..., classes).
      labels: p, (..., classes) of logits' type; or (...) of an integer type, for p = 1 at the label.
      dloss: (...), the gradient in each example's loss; ones if None. It is 1 / B for the mean over a batch.

    Returns:
      dlogits (..., classes).

    Raises:
      ValueError: if the shapes don't match.

    >>> softmax_cross_entropy_backward(jnp.zeros((1, 2)), jnp.array([1])).tolist()
    [[0.5, -0.5]]
    """
    p = labels
    if jnp.issubdtype(labels.dtype, jnp.integer) and labels.shape == logits.shape[:-1]:
        p = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    if dloss is None:
        dloss = jnp.ones(logits.shape[:-1], logits.dtype)
    if p.shape != logits.shape or dloss.shape != logits.shape[:-1]:
        raise ValueError(
            f"softmax_cross_entropy_backward: logits {logits.shape} don't go with labels {labels.shape} "
            f"and dloss {dloss.shape}"
        )
    e = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))  # the same softmax, and no overflow
    softmax = e / jnp.sum(e, axis=-1, keepdims=True)
    return (softmax * jnp.sum(p, axis=-1, keepdims=True) - p) * dloss[..., None]


def conv_backward(
    x: jax.Array,
    w: jax.Array,
    dy: jax.Array,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The gradients of `conv_sliding(x, w, bias, ...)` with padding of zeros.

    Since y[i] = bias + sum_k xpad[S i + D k] w[k] (b, c and o left out), xpad[S i + D k] meets w[k] in y[i], and so

        dxpad[S i + D k] += dy[i] w[k]^T        for all i and k; dx is what lies inside the padding
        dw[k]             = sum_i xpad[S i + D k]^T dy[i]
        dbias             = sum_i dy[i]

    With stride 1 the first line is the full convolution of dy with the flipped kernel, the second the convolution of x
    with dy.

    Args:
      x, w and the rest: as in `conv_sliding`.
      dy: of the output's shape.

    Returns:
      (dx, dw, dbias) of the shapes of x, of w and (O,).

    Raises:
      ValueError: as `conv_sliding`, and if dy doesn't have the output's shape.

    >>> x, w = jnp.arange(4.0).reshape(1, 4, 1), jnp.array([1.0, 10.0]).reshape(2, 1, 1)
    >>> dx, dw, dbias = conv_backward(x, w, jnp.ones((1, 3, 1)))
    >>> dx.ravel().tolist(), dw.ravel().tolist(), dbias.tolist()
    ([1.0, 11.0, 11.0, 10.0], [3.0, 6.0], [3.0])
    """
    windows = conv_windows("conv_backward", x.shape, w.shape, stride, padding, dilation, groups)
    _check_dy("conv_backward", dy, (x.shape[0], *windows.output, w.shape[-1]))
    xpad = pad("conv_backward", x, windows.padding, "zeros")
    dy_grouped = dy.reshape(*dy.shape[:-1], groups, -1)
    w_grouped = w.reshape(*w.shape[:-1], groups, -1)
    dxpad, dw = jnp.zeros_like(xpad), jnp.zeros_like(w)
    for k in itertools.product(*map(range, windows.kernel)):
        tap = windows.taps(xpad, k)  # xpad[S i + D k] for all i
        dw_k = jnp.einsum("...gc,...go->cgo", tap.reshape(*tap.shape[:-1], groups, -1), dy_grouped)
        dw = dw.at[k].set(dw_k.reshape(w.shape[-2:]))
        dx_k = jnp.einsum("...go,cgo->...gc", dy_grouped, w_grouped[k])
        dxpad = dxpad.at[_at(windows, k)].add(dx_k.reshape(tap.shape))
    return _inside(dxpad, windows, x), dw, jnp.sum(dy, axis=range(dy.ndim - 1))


def max_pool_backward(
    x: jax.Array,
    dy: jax.Array,
    window: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> jax.Array:
    """The gradient of `fcnn.nn.max_pool(x, window, ...)`: it goes to the entry that won, and to no other.

        dxpad[S i + k] += dy[i]   for the first k in row-major order whose xpad[S i + k] is the window's maximum

    An entry that wins in several windows gets the sum of what they give.

    Args:
      x and the rest: as in `fcnn.nn.max_pool`.
      dy: of the output's shape.

    Returns:
      dx of x's shape.

    Raises:
      ValueError: as `fcnn.nn.max_pool`, and if dy doesn't have the output's shape.

    >>> x = jnp.array([1.0, 3.0, 2.0]).reshape(1, 3, 1)
    >>> max_pool_backward(x, jnp.array([10.0, 1.0]).reshape(1, 2, 1), 2, stride=1).ravel().tolist()
    [0.0, 11.0, 0.0]
    """
    windows = pool_windows("max_pool_backward", x.shape, window, stride, padding, ceil_mode)
    _check_dy("max_pool_backward", dy, (x.shape[0], *windows.output, x.shape[-1]))
    xpad = pad_for_max(x, windows)
    offsets = list(itertools.product(*map(range, windows.kernel)))
    largest = jnp.max(jnp.stack([windows.taps(xpad, k) for k in offsets]), axis=0)
    dxpad, taken = jnp.zeros_like(xpad), jnp.zeros(dy.shape, bool)
    for k in offsets:
        won = (windows.taps(xpad, k) == largest) & ~taken
        dxpad = dxpad.at[_at(windows, k)].add(jnp.where(won, dy, jnp.zeros_like(dy)))
        taken |= won
    return _inside(dxpad, windows, x)


def _at(windows: Windows, k: tuple[int, ...]) -> tuple[slice, ...]:
    """Where in the padded input tap k of all windows lies: S i + D k for all i."""
    axes = zip(k, windows.stride, windows.dilation, windows.output, strict=True)
    return (slice(None), *(slice(d * j, d * j + (o - 1) * s + 1, s) for j, s, d, o in axes))


def _inside(padded: jax.Array, windows: Windows, x: jax.Array) -> jax.Array:
    """What is left of `padded` without its padding."""
    axes = zip(windows.padding, x.shape[1:-1], strict=True)
    return padded[(slice(None), *(slice(before, before + size) for (before, _), size in axes))]


def _check_dy(caller: str, dy: jax.Array, shape: tuple[int, ...]) -> None:
    if dy.shape != shape:
        raise ValueError(f"{caller}: dy must have the output's shape {shape}, got {dy.shape}")
