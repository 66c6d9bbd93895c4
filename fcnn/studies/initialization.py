"""Initialization: how large the initial weights must be for the signal to propagate through a deep network."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.nn import INITIALIZERS
from fcnn.studies.study import Row, Study, Verdict, curve, levels, pick, select
from fcnn.studies.training import normalized

WEIGHTS: dict[str, jax.nn.initializers.Initializer] = {
    "too small, 0.01": jax.nn.initializers.normal(0.01),
    "too large, 0.3": jax.nn.initializers.normal(0.3),
    "LeCun": INITIALIZERS["lecun_normal"],
    "Xavier": INITIALIZERS["xavier_normal"],
    "He": INITIALIZERS["he_normal"],
}
"""Standard deviations, and rules; LeCun's and Xavier's are the same where a layer has as many inputs as outputs."""
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"tanh": jax.nn.tanh, "relu": jax.nn.relu}
KEPT, LOST = 10, 1000
"""A signal is kept if its size changes by less than the one factor, lost (or exploded) beyond the other."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Initialization(Study):
    """Images through a deep stack of dense layers that nobody trained: the `signal` behind each, the root mean square
    of the activations over units and images, and how `flat` they are, the share of activations where the derivative is
    below 0.1, which let next to no gradient through."""

    claim = "the scale of the initial weights determines whether the signal propagates: Xavier for tanh, He for ReLU"
    paper = (
        "LeCun et al. 1998, Efficient BackProp, section 4.6; Glorot & Bengio 2010, section 4.2.1; He et al. 2015, "
        "Delving deep into rectifiers, arXiv:1502.01852, section 2.2"
    )
    criterion = (
        f"from the first layer to the last the signal changes less than {KEPT}-fold with Xavier and tanh and with He "
        f"and ReLU, shrinks {LOST}-fold with small weights and with Xavier and ReLU, and large weights amplify ReLU's "
        f"{LOST}-fold and saturate half of the tanh units"
    )
    keys = ("activation", "weights", "layer")

    depth: int = 30
    width: int = 256
    images: int = 256

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        x, _ = normalized(data, data.train, self.images)
        x = x.reshape(len(x), -1)
        cases = [(act, weights, run) for act in ACTIVATIONS for weights in WEIGHTS for run in self.runs(seed)]
        rows = []
        for act, weights, run in progress(cases, "networks", len(cases)):
            signals = np.asarray(self._signals(ACTIVATIONS[act], WEIGHTS[weights], x, jax.random.key(run))).tolist()
            for layer, (signal, flat) in enumerate(signals, start=1):
                rows.append(dict(activation=act, weights=weights, layer=layer, seed=run, signal=signal, flat=flat))
        return rows

    def _signals(self, act: Callable, draw: Callable, x: jax.Array, key: jax.Array) -> jax.Array:
        """(images, pixels) -> (depth, 2): the signal and the flat share behind each layer."""
        signals = []
        for layer_key in jax.random.split(key, self.depth):
            x, signal = _layer(act, x, draw(layer_key, (x.shape[1], self.width)))
            signals.append(signal)
        return jnp.stack(signals)

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        last = max(levels(rows, "layer"))
        small, large, _, xavier, he = WEIGHTS

        def factor(activation: str, weights: str) -> float:
            first, end = (pick(rows, "signal", activation=activation, weights=weights, layer=i) for i in (1, last))
            return float(end.mean() / first.mean())

        def is_preserved(value: float) -> bool:
            return 1 / KEPT < value < KEPT

        good = {"Xavier and tanh": factor("tanh", xavier), "He and ReLU": factor("relu", he)}
        lost = {
            "small weights and tanh": factor("tanh", small),
            "small weights and ReLU": factor("relu", small),
            "Xavier and ReLU": factor("relu", xavier),
        }
        grown = factor("relu", large)
        flat = float(pick(rows, "flat", activation="tanh", weights=large, layer=last).mean())
        held = all(map(is_preserved, good.values())) and all(value < 1 / LOST for value in lost.values())
        held = held and grown > LOST and flat > 0.5
        factors = ", ".join(f"{value:.2g} with {name}" for name, value in (good | lost).items())
        return Verdict(
            held,
            f"over {last} layers the signal changed by a factor of {factors} and {grown:.2g} with large weights and "
            f"ReLU, and {100 * flat:.0f} % of the tanh units were saturated with large weights",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        panels = (("tanh", "signal"), ("relu", "signal"), ("tanh", "flat"))
        axes = figure.subplots(1, 3)
        for axis, (activation, column) in zip(axes, panels, strict=True):
            for weights in WEIGHTS:
                part = select(rows, activation=activation, weights=weights)
                curve(axis, part, "layer", column, label=weights, marker="")
            axis.set(title=activation, xlabel="layer")
            axis.grid(alpha=0.3)
        for axis in axes[:2]:
            axis.set(yscale="log", ylabel="activations, root mean square", ylim=(1e-12, 1e16))
        axes[2].set(ylabel="share that is flat (derivative below 0.1)", ylim=(-0.02, 1))
        axes[2].legend(fontsize=8)

    def table_rows(self, rows: Sequence[Row]) -> list[Row]:
        last = max(levels(rows, "layer"))
        return [row for row in rows if row["layer"] in (1, last // 2, last)]


@functools.partial(jax.jit, static_argnums=0)
def _layer(act: Callable, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What comes out of a layer, and [signal, flat share] of it."""
    y, backward = jax.vjp(act, x @ kernel)
    (slopes,) = backward(jnp.ones_like(y))
    return y, jnp.stack([jnp.sqrt((y**2).mean()), (slopes < 0.1).mean()])
