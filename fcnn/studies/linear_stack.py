"""Stacked convolutions without activation: as many as there are, they are one."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.nn import INITIALIZERS
from fcnn.nn.teaching import im2col
from fcnn.studies.study import Row, Study, Verdict, levels, pick
from fcnn.studies.training import normalized

EXACT, FAR = 1e-12, 1e-2
"""Relative errors: rounding in float64, and a function of another kind."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearStack(Study):
    """Random convolutions one after the other, in float64 and without padding, against one: `composed` is the error
    ||stack - one|| / ||stack|| of the convolution by the kernels' composition, `fitted` that of the convolution that
    comes nearest to the stack on these images, found by least squares."""

    claim = "convolutions without an activation between them are one convolution, so depth needs the activation"
    paper = "Goodfellow, Bengio & Courville 2016, Deep Learning, section 6.1"
    criterion = (
        f"without activation, one convolution reproduces the stack within a relative error of {EXACT:g}; with ReLU, "
        f"none within {FAR:g}"
    )
    keys = ("layers", "between", "kernel")

    depths: tuple[int, ...] = (1, 2, 3)
    channels: int = 4
    images: int = 500

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        cases = [(depth, act, run) for depth in self.depths for act in ("none", "relu") for run in self.runs(seed)]
        x, _ = normalized(data, data.train, self.images)
        with jax.enable_x64(True):
            x = jnp.asarray(x, jnp.float64)
            return [self._compare(x, *case) for case in progress(cases, "stacks", len(cases))]

    def _compare(self, x: jax.Array, depth: int, act: str, run: int) -> Row:
        key, channels = jax.random.key(run), [x.shape[-1]] + [self.channels] * depth
        kernels = [
            INITIALIZERS["he_normal"](jax.random.fold_in(key, i), (3, 3, channels[i], channels[i + 1]), jnp.float64)
            for i in range(depth)
        ]
        stack = x
        for i, kernel in enumerate(kernels):
            stack = conv(jax.nn.relu(stack) if i and act == "relu" else stack, kernel)
        one = composed(kernels)
        errors = dict(composed=relative(conv(x, one), stack), fitted=relative(nearest(x, stack, one.shape[0]), stack))
        return dict(layers=depth, between=act, seed=run, kernel=one.shape[0], **errors)

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        deep = [row for row in rows if row["layers"] > 1]
        linear = float(pick(deep, "composed", between="none").max())
        bent = float(pick(deep, "fitted", between="relu").min())
        depth = max(levels(rows, "layers"))
        size = int(pick(rows, "kernel", layers=depth).max())
        return Verdict(
            linear < EXACT and bent > FAR,
            f"stacks of up to {depth} layers differ from one convolution, of a {size} x {size} kernel for {depth}, by "
            f"{linear:.1g} of their size at most; with ReLU between the layers they differ from the nearest one by "
            f"{bent:.1g} at least",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        axis = figure.subplots()
        depths = levels(rows, "layers")
        cases = [("none", "composed"), ("none", "fitted"), ("relu", "composed"), ("relu", "fitted")]
        for index, (act, column) in enumerate(cases):
            values = [pick(rows, column, layers=depth, between=act).mean() for depth in depths]
            label = f"{'ReLU' if act == 'relu' else 'nothing'} between, {column}"
            axis.bar(np.arange(len(depths)) + 0.2 * index - 0.3, np.maximum(values, 1e-17), 0.18, label=label)
        axis.axhline(EXACT, color="tab:gray", linestyle="--", linewidth=1)
        axis.set_xticks(range(len(depths)), [f"{depth} layer{'s' if depth > 1 else ''}" for depth in depths])
        axis.set(yscale="log", ylabel="relative error of one convolution", ylim=(1e-17, 30))
        axis.legend(fontsize=8, ncols=2, loc="upper left")
        axis.grid(alpha=0.3, axis="y")


def conv(x: jax.Array, kernel: jax.Array, margin: int = 0) -> jax.Array:
    """The convolution of x, (images, height, width, in), with `margin` zeros on each side."""
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), [(margin, margin)] * 2, dimension_numbers=numbers)


def composed(kernels: Sequence[jax.Array]) -> jax.Array:
    """The kernel of one convolution that does what those (height, width, in, out) do one after the other."""
    whole = kernels[0]
    for kernel in kernels[1:]:
        # A kernel is what a convolution makes of an impulse, turned by half a turn, with the inputs as the images.
        impulses = whole[::-1, ::-1].transpose(2, 0, 1, 3)
        margin = kernel.shape[0] - 1
        whole = conv(impulses, kernel, margin).transpose(1, 2, 0, 3)[::-1, ::-1]
    return whole


def nearest(x: jax.Array, target: jax.Array, size: int) -> jax.Array:
    """What the convolution without bias by a size x size kernel makes of x that comes nearest to `target`."""
    patches = im2col(x, size)
    flat = patches.reshape(-1, patches.shape[-2] * patches.shape[-1])
    weights, *_ = jnp.linalg.lstsq(flat, target.reshape(-1, target.shape[-1]))
    return (flat @ weights).reshape(target.shape)


def relative(actual: jax.Array, expected: jax.Array) -> float:
    """||actual - expected|| / ||expected||."""
    return float(jnp.linalg.norm((actual - expected).ravel()) / jnp.linalg.norm(expected.ravel()))
