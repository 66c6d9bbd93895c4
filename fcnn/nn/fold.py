"""Folding batch norm away: at test time it is a scale and a shift, which the layer before it can do at no cost."""

import jax
import jax.numpy as jnp

from fcnn.nn.geometry import along_channels


def fold_into(
    kernel: jax.Array,
    bias: jax.Array | None,
    scale: jax.Array | None,
    bias_bn: jax.Array | None,
    mean: jax.Array,
    var: jax.Array,
    epsilon: float = 1e-5,
) -> tuple[jax.Array, jax.Array]:
    """Folds the batch norm after a convolution or dense layer into that layer.

        (x * kernel + bias - mean) s + bias_bn = x * (kernel s) + ((bias - mean) s + bias_bn)
        s = scale / sqrt(var + epsilon)

    Args:
      kernel: (..., O), outputs last: a convolution's, of any groups, or a dense layer's.
      bias: (O,) or None for 0.
      scale, bias_bn: the norm's, (O,) or None for 1 and 0.
      mean, var: the norm's running statistics, (O,).
      epsilon: the norm's.

    Returns:
      (kernel, bias) of the layer that does the work of both.

    Raises:
      ValueError: if one of the vectors isn't (O,).

    Source: Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
    inference", section 3.2.

    >>> one = jnp.ones(1)
    >>> kernel, bias = fold_into(jnp.full((1, 1), 3.0), None, 2 * one, 5 * one, one, 4 * one, epsilon=0.0)
    >>> kernel.tolist(), bias.tolist()  # (3 x - 1) / 2 * 2 + 5
    ([[3.0]], [4.0])
    """
    if len(shapes := {jnp.shape(v) for v in (scale, bias_bn, mean, var) if v is not None}) > 1:
        raise ValueError(f"fold_into: scale, bias, mean and var must have one shape, got {sorted(shapes)}")
    for name, v in (("bias", bias), ("mean", mean)):
        if v is not None and jnp.shape(v) != kernel.shape[-1:]:
            raise ValueError(f"fold_into: {name} must have shape {kernel.shape[-1:]}, got {jnp.shape(v)}")
    factor = jax.lax.rsqrt(var + epsilon)
    factor = factor if scale is None else factor * scale
    shift = -mean * factor if bias_bn is None else bias_bn - mean * factor
    return kernel * along_channels(factor, kernel.ndim), shift if bias is None else bias * factor + shift
