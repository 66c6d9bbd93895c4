"""Normalization: subtracts a mean, divides by a deviation and gives scale and bias back, so that deep networks train.

What tells the layers apart is what they average over. For x (B, H, W, C), and likewise with one or three spatial axes:

| function | mean and variance over | there are | scale and bias |
|---|---|---|---|
| `batch_norm` | B, H, W | C (kept as running statistics for evaluation) | C |
| `layer_norm` | C; or the last axes, as many as `axes` says | B * H * W | C; or those axes |
| `instance_norm` | H, W | B * C | C |
| `group_norm` | H, W and the C / groups channels of a group | B * groups | C |
| `local_response_norm` | `size` neighbouring channels (squares only, no mean) | B * H * W * C | none |

All but `batch_norm` treat every example by itself, in training as in evaluation. The variance is the biased one
(divided by the number of entries). It is computed from entries that the mean was subtracted from, since E[x²] - E[x]²
loses all digits of float32 at mean 1000 and deviation 0.01; float16 and bfloat16 are averaged in float32.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from fcnn.nn.geometry import along_channels


def batch_norm(
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    mean: jax.Array,
    var: jax.Array,
    *,
    train: bool,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
    axis_name: str | None = None,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Gives each channel mean 0 and variance 1 over the batch and all positions, then scale and bias.

        y = (x - m) / sqrt(v + epsilon) * scale + bias
        train:      m, v = mean and variance of x over all axes but the last
                    new_mean = momentum * mean + (1 - momentum) * m,   new_var likewise with v
        otherwise:  m, v = mean, var, which stay as they are

    PyTorch's `momentum` is 1 minus this one, and its running variance (though not the one it normalizes with) is the
    unbiased n / (n - 1) * v. The convention here is Flax's.

    Args:
      x: (B, ..., C) of a floating type, e.g. (B, C), (B, W, C), (B, H, W, C) or (B, D, H, W, C).
      scale, bias: (C,) or None for 1 and 0.
      mean, var: (C,), the running statistics.
      train: whether to use the batch's statistics, and to update the running ones.
      momentum: the share of the old running statistics that stays.
      epsilon: what keeps a constant channel from a division by 0.
      axis_name: the pmap or shard_map axis to average the statistics over as well, so that all devices together
        normalize one batch; every device must have the same number of entries.

    Returns:
      (y, (new_mean, new_var)): y of x's shape and type.

    Raises:
      ValueError: if x isn't floating with at least 2 axes, or one of the vectors isn't (C,).

    Source: Ioffe & Szegedy 2015, "Batch normalization", algorithm 1 and section 3.1.

    >>> x = jnp.array([[1.0, 10.0], [3.0, 30.0]])
    >>> zeros, ones = jnp.zeros(2), jnp.ones(2)
    >>> y, (mean, var) = batch_norm(x, ones, zeros, zeros, ones, train=True, epsilon=0.0)
    >>> print(y[0], y[1], mean, var)
    [-1. -1.] [1. 1.] [0.2 2. ] [ 1.  10.9]
    """
    x, dtype = _floating("batch_norm", x, at_least=2)
    for name, v in (("scale", scale), ("bias", bias), ("mean", mean), ("var", var)):
        _check("batch_norm", name, v, x.shape[-1:], x.shape)
    if not train:
        centred, v = x - along_channels(mean, x.ndim).astype(x.dtype), along_channels(var, x.ndim).astype(x.dtype)
        return _affine(centred, v, scale, bias, epsilon).astype(dtype), (mean, var)
    m, v, centred = _moments(x, tuple(range(x.ndim - 1)), axis_name)
    new_mean = momentum * mean + (1 - momentum) * m.ravel().astype(mean.dtype)
    new_var = momentum * var + (1 - momentum) * v.ravel().astype(var.dtype)
    return _affine(centred, v, scale, bias, epsilon).astype(dtype), (new_mean, new_var)


def layer_norm(
    x: jax.Array,
    scale: jax.Array | None = None,
    bias: jax.Array | None = None,
    *,
    axes: int = 1,
    epsilon: float = 1e-5,
) -> jax.Array:
    """Normalizes each position over its channels, or each example over its last `axes` axes.

        y = (x - m) / sqrt(v + epsilon) * scale + bias,   m, v = mean and variance of x over the last axes

    Args:
      x: (B, ..., C) of a floating type.
      scale, bias: of the shape of those axes, (C,) for one, or None for 1 and 0.
      axes: how many of the last axes to average over: 1 is what ConvNeXt and transformers do; x.ndim - 1 averages over
        a whole example.
      epsilon: what keeps a constant input from a division by 0.

    Returns:
      Of x's shape and type.

    Raises:
      ValueError: if x isn't floating, has not more than `axes` axes, or scale or bias isn't of their shape.

    Source: Ba, Kiros & Hinton 2016, "Layer normalization", eq. 3; PyTorch's `LayerNorm`.

    >>> layer_norm(jnp.array([[1.0, 3.0], [10.0, 30.0]]), epsilon=0.0).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """
    x, dtype = _floating("layer_norm", x, at_least=max(axes, 1) + 1)
    shape = x.shape[x.ndim - axes :] if axes > 0 else ()
    if not shape:
        raise ValueError(f"layer_norm: axes must be at least 1, got {axes} for x {x.shape}")
    for name, v in (("scale", scale), ("bias", bias)):
        _check("layer_norm", name, v, shape, x.shape)
    _, v, centred = _moments(x, tuple(range(x.ndim - axes, x.ndim)))
    return _affine(centred, v, scale, bias, epsilon).astype(dtype)


def instance_norm(
    x: jax.Array, scale: jax.Array | None = None, bias: jax.Array | None = None, *, epsilon: float = 1e-5
) -> jax.Array:
    """Normalizes each channel of each example over its positions.

        y = (x - m) / sqrt(v + epsilon) * scale + bias,   m, v = mean and variance of x over the spatial axes

    Args:
      x: (B, ..., C) of a floating type with at least one spatial axis.
      scale, bias: (C,) or None for 1 and 0.
      epsilon: what keeps a constant channel from a division by 0.

    Returns:
      Of x's shape and type.

    Raises:
      ValueError: if x isn't floating with at least 3 axes, or scale or bias isn't (C,).

    Source: Ulyanov, Vedaldi & Lempitsky 2016, "Instance normalization", eq. 4; PyTorch's `InstanceNorm2d`.

    >>> instance_norm(jnp.array([[[1.0, 10.0], [3.0, 30.0]]]), epsilon=0.0).tolist()
    [[[-1.0, -1.0], [1.0, 1.0]]]
    """
    x, dtype = _floating("instance_norm", x, at_least=3)
    for name, v in (("scale", scale), ("bias", bias)):
        _check("instance_norm", name, v, x.shape[-1:], x.shape)
    _, v, centred = _moments(x, tuple(range(1, x.ndim - 1)))
    return _affine(centred, v, scale, bias, epsilon).astype(dtype)


def group_norm(
    x: jax.Array,
    scale: jax.Array | None = None,
    bias: jax.Array | None = None,
    *,
    groups: int,
    epsilon: float = 1e-5,
) -> jax.Array:
    """Normalizes each group of neighbouring channels of each example over its positions and channels.

        y = (x - m) / sqrt(v + epsilon) * scale + bias,   m, v over the spatial axes and the C / groups channels

    With one group that is a layer norm over the whole example, with C groups an instance norm.

    Args:
      x: (B, ..., C) of a floating type.
      scale, bias: (C,) or None for 1 and 0.
      groups: into how many groups of equal size the channels are cut.
      epsilon: what keeps a constant group from a division by 0.

    Returns:
      Of x's shape and type.

    Raises:
      ValueError: if x isn't floating with at least 2 axes, `groups` doesn't divide C, or scale or bias isn't (C,).

    Source: Wu & He 2018, "Group normalization", section 3; PyTorch's `GroupNorm`.

    >>> x = jnp.array([[1.0, 3.0, 10.0, 30.0]])
    >>> group_norm(x, groups=2, epsilon=0.0).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    x, dtype = _floating("group_norm", x, at_least=2)
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"group_norm: {groups} groups don't divide the channels of x {x.shape}")
    for name, v in (("scale", scale), ("bias", bias)):
        _check("group_norm", name, v, x.shape[-1:], x.shape)
    grouped = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    _, v, centred = _moments(grouped, (*range(1, x.ndim - 1), x.ndim))
    normalized = _affine(centred, v, None, None, epsilon).reshape(x.shape)
    return _affine(normalized, None, scale, bias, 0.0).astype(dtype)


def local_response_norm(x: jax.Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> jax.Array:
    """Divides each entry by a power of the mean square of `size` neighbouring channels at its position.

        y[..., c] = x[..., c] / (k + alpha / size * sum_j x[..., j]²)^beta,   c - size // 2 <= j <= c + (size - 1) // 2

    with channels outside x counted as zeros. This is PyTorch's convention; the paper's has no `/ size`, so that
    AlexNet's own n = 5, alpha = 1e-4, beta = 0.75, k = 2 are `size=5, alpha=5e-4, beta=0.75, k=2.0` here.

    Args:
      x: (..., C) of a floating type.
      size, alpha, beta, k: as in the formula.

    Returns:
      Of x's shape and type.

    Raises:
      ValueError: if x isn't floating with at least 2 axes, or `size` is below 1.

    Source: Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks",
    section 3.3; PyTorch's `LocalResponseNorm`.

    >>> print(local_response_norm(jnp.ones((1, 3)), 3, alpha=3.0, beta=1.0))
    [[0.33333334 0.25       0.33333334]]
    """
    x, dtype = _floating("local_response_norm", x, at_least=2)
    if size < 1:
        raise ValueError(f"local_response_norm: size must be at least 1, got {size} for x {x.shape}")
    squares = jnp.pad(x * x, ((0, 0),) * (x.ndim - 1) + ((size // 2, (size - 1) // 2),))
    total = sum(jax.lax.slice_in_dim(squares, j, j + x.shape[-1], axis=-1) for j in range(size))
    return (x * (k + alpha / size * total) ** -beta).astype(dtype)


def _moments(
    x: jax.Array, axes: tuple[int, ...], axis_name: str | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(mean, variance, x - mean), with the averaged axes kept as axes of length 1.

    The first mean carries a rounding error of the size of its last digit, so its digits are fetched a second time from
    what is left. It only shifts what the second mean is taken of, which is why no gradient needs to flow through it.
    """

    def average(v: jax.Array) -> jax.Array:
        m = jnp.mean(v, axis=axes, keepdims=True)
        return m if axis_name is None else jax.lax.pmean(m, axis_name)

    shift = jax.lax.stop_gradient(average(x))
    rest = average(x - shift)
    centred = x - shift - rest
    return shift + rest, average(centred * centred), centred


def _affine(
    centred: jax.Array, var: jax.Array | None, scale: jax.Array | None, bias: jax.Array | None, epsilon: float
) -> jax.Array:
    """centred / sqrt(var + epsilon) * scale + bias; scale and bias belong to the last axes."""
    factor = None if var is None else jax.lax.rsqrt(var + epsilon)
    if scale is not None:
        scale = jnp.reshape(scale, (1,) * (centred.ndim - scale.ndim) + scale.shape).astype(centred.dtype)
        factor = scale if factor is None else factor * scale
    y = centred if factor is None else centred * factor
    return y if bias is None else y + jnp.reshape(bias, (1,) * (y.ndim - bias.ndim) + bias.shape).astype(y.dtype)


def _check(caller: str, name: str, v: jax.Array | None, shape: Sequence[int], x: Sequence[int]) -> None:
    if v is not None and jnp.shape(v) != tuple(shape):
        raise ValueError(f"{caller}: {name} must have shape {tuple(shape)} for x {tuple(x)}, got {jnp.shape(v)}")


def _floating(caller: str, x: jax.Array, at_least: int) -> tuple[jax.Array, jnp.dtype]:
    """x in the type to average it in, at least float32, and its own type."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating) or x.ndim < at_least:
        raise ValueError(f"{caller}: x must be floating with at least {at_least} axes, got {x.dtype} {x.shape}")
    return (x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x), x.dtype
