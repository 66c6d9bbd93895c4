"""Folding batch norm away: at test time it is a scale and a shift, which the layer before it can do at no cost."""

from collections.abc import Mapping
from typing import Any

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
    factor, shift = _scale_and_shift("fold_into", scale, bias_bn, mean, var, epsilon)
    for name, v in (("bias", bias), ("mean", mean)):
        if v is not None and jnp.shape(v) != kernel.shape[-1:]:
            raise ValueError(f"fold_into: {name} must have shape {kernel.shape[-1:]}, got {jnp.shape(v)}")
    return kernel * along_channels(factor, kernel.ndim), shift if bias is None else bias * factor + shift


def fold_batch_norm(
    variables: Mapping[str, Any], follows: Mapping[str, str], *, epsilon: float = 1e-5
) -> dict[str, Any]:
    """Takes every batch norm out of a Linen tree: into the layer it follows, or else as a scale and a shift.

    A tree has no order, so the caller says which norm follows which layer. A norm follows a layer if it reads the
    layer's output and nothing else does: with an activation or an addition in between it doesn't.

        norm in `follows`      the layer's kernel and bias change (a missing bias is added), the norm is gone
        any other norm         its scale and bias become those of `fcnn.nn.Affine`, y = x * scale + bias

    Args:
      variables: {"params": ..., "batch_stats": ..., ...}. Every subtree of "batch_stats" that holds `mean` and `var` is
        a batch norm, with its scale and bias, if any, at the same place in "params".
      follows: path of the norm -> path of the layer with `kernel` and perhaps `bias`, such as
        {"stem_norm": "stem", "stage1/block1/norm2": "stage1/block1/conv2"}.
      epsilon: the norms'.

    Returns:
      The variables of the network without norms: as `variables`, but without "batch_stats". The model that they are for
      has no norm where one was folded, a bias in its layer, and an `Affine` in the place of any other norm.

    Raises:
      ValueError: if a path isn't there, two norms follow one layer, or the channels don't match.

    Source: as `fold_into`.

    >>> vector = lambda v: jnp.full((1,), v)
    >>> norm, statistics = {"scale": vector(2.0), "bias": vector(5.0)}, {"mean": vector(1.0), "var": vector(4.0)}
    >>> variables = {
    ...     "params": {"conv": {"kernel": jnp.full((1, 1, 1, 1), 3.0)}, "norm": norm, "last": norm},
    ...     "batch_stats": {"norm": statistics, "last": statistics},
    ... }
    >>> folded = fold_batch_norm(variables, {"norm": "conv"}, epsilon=0.0)
    >>> jax.tree.map(lambda v: v.ravel().tolist(), folded)
    {'params': {'conv': {'bias': [4.0], 'kernel': [3.0]}, 'last': {'bias': [4.0], 'scale': [1.0]}}}
    """
    params = _flatten(variables["params"])
    statistics = _flatten(variables.get("batch_stats", {}))
    norms = [path for path, leaves in statistics.items() if {"mean", "var"} <= leaves.keys()]
    for norm, layer in follows.items():
        if norm not in norms:
            raise ValueError(f'fold_batch_norm: there is no batch norm "{norm}", only {", ".join(sorted(norms))}')
        if "kernel" not in params.get(layer, {}):
            raise ValueError(f'fold_batch_norm: "{layer}", which "{norm}" follows, has no kernel')
    if len(set(follows.values())) < len(follows):
        raise ValueError(f"fold_batch_norm: two norms follow one layer in {dict(follows)}")
    for norm in norms:
        affine, mean, var = params.pop(norm, {}), statistics[norm]["mean"], statistics[norm]["var"]
        scale, bias = affine.get("scale"), affine.get("bias")
        if norm not in follows:
            scale, bias = _scale_and_shift(f'fold_batch_norm: "{norm}"', scale, bias, mean, var, epsilon)
            params[norm] = {"scale": scale, "bias": bias}
            continue
        layer = params[follows[norm]]
        kernel, bias = fold_into(layer["kernel"], layer.get("bias"), scale, bias, mean, var, epsilon)
        params[follows[norm]] = {**layer, "kernel": kernel, "bias": bias}
    others = {name: tree for name, tree in variables.items() if name not in ("params", "batch_stats")}
    return {"params": _unflatten(params), **others}


def _scale_and_shift(
    caller: str, scale: jax.Array | None, bias: jax.Array | None, mean: jax.Array, var: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array]:
    """A batch norm at test time as y = x * scale + shift."""
    shapes = {jnp.shape(v) for v in (scale, bias, mean, var) if v is not None}
    if len(shapes) > 1:
        raise ValueError(f"{caller}: scale, bias, mean and var must have one shape, got {sorted(shapes)}")
    factor = jax.lax.rsqrt(var + epsilon)
    factor = factor if scale is None else factor * scale
    return factor, -mean * factor if bias is None else bias - mean * factor


def _flatten(tree: Mapping[str, Any], path: str = "") -> dict[str, dict[str, Any]]:
    """The leaves of each layer by the layer's path, such as "stage1/block1/conv2"."""
    layers: dict[str, dict[str, Any]] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            layers |= _flatten(value, f"{path}/{name}" if path else name)
        else:
            layers.setdefault(path, {})[name] = value
    return layers


def _unflatten(layers: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, leaves in layers.items():
        node = tree
        for name in path.split("/") if path else ():
            node = node.setdefault(name, {})
        node.update(leaves)
    return tree
