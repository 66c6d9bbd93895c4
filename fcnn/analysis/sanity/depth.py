"""How the signal passes through a network, layer by layer: forward its size, backward its gradient, and dead units."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fcnn import models
from fcnn.analysis.sanity.line import Line, judge, skip
from fcnn.analysis.sanity.trial import Trial, compile_once, trained
from fcnn.training.layers import evaluated
from fcnn.training.setup import TrainSetup

SMALL, LARGE = 1e-3, 1e3
"""A signal or a gradient that changes by more than this on its way has vanished or exploded."""
DEAD = 0.5
"""A larger share of a layer's inputs than this that never changes means that it is as good as dead."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution or a dense layer."""

    name: str
    signal_start: float
    """How much what it is given differs between images, before the first step: the standard deviation over the images,
    root mean square over units. About 1 for the first layer."""
    signal_end: float
    """The same after the trial."""
    dead: float
    """Share of its inputs (channels) that are the same for every image and position after the trial."""
    gradient_start: float
    """L2 norm of its kernel's gradient in the first step; 0 behind a branch that starts at zero."""
    gradient_largest: float
    """The largest over the trial."""


def measure(model: models.Classifier, trial: Trial, images: jax.Array, *, train: bool = True) -> list[Layer]:
    """The layers with kernels in the order of computation.

    Args:
      images: (B, H, W, C), normalized.
      train: whether they run as in training, or as in evaluation.
    """
    look, names = _looker(model, train)
    start = np.asarray(look(trial.start.variables, images, trial.start.key))
    end = np.asarray(look(trial.end.variables, images, trial.start.key))
    return [
        Layer(
            name,
            float(start[i, 0]),
            float(end[i, 0]),
            float(end[i, 1]) if i else 0.0,  # pixels of a margin that is always black aren't dead units
            trial.first_norms.get(f"{name}/kernel", 0.0),
            trial.largest_norms.get(f"{name}/kernel", 0.0),
        )
        for i, name in enumerate(names)
    ]


def _looker(
    model: models.Classifier, train: bool
) -> tuple[Callable[[Any, jax.Array, jax.Array], jax.Array], list[str]]:
    """A compiled function that gives (layers, 2): the signal and the dead share of what each layer is given; and the
    layers' names, known after its first call."""
    names: list[str] = []
    model = model.clone(remat=False)  # what is seen inside its blocks could not be taken out of them

    @compile_once
    def look(variables: Any, images: jax.Array, key: jax.Array) -> jax.Array:
        seen: dict[str, jax.Array] = {}

        def note(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
            module = context.module
            if isinstance(module, nn.Conv | nn.Dense) and context.method_name == "__call__":
                x = args[0].astype(jnp.float32)
                signal = jnp.sqrt(x.var(axis=0).mean())
                flat = x.reshape(-1, x.shape[-1])
                dead = (flat.max(axis=0) - flat.min(axis=0) <= 1e-6 * jnp.abs(flat).max()).mean()
                seen["/".join(module.path)] = jnp.stack([signal, dead])
            return call(*args, **kwargs)

        with evaluated(model.frozen), nn.intercept_methods(note):
            model.apply(variables, images, train=train, mutable=["batch_stats", "aux"], rngs={"dropout": key})
        names[:] = seen
        return jnp.stack(list(seen.values()))

    return look, names


def check_signal(setup: TrainSetup, layers: list[Layer]) -> Line:
    """What tells images apart neither dies out nor explodes on its way to the last layer."""
    hint = "initialize by the activation (leave model.kernel-init out), or normalize: --model.norm batch"
    if setup.transferred:
        hint = "the weights' normalization doesn't suit these images, or the weights are damaged"
    values = [layer.signal_start for layer in layers]
    worst = max(layers, key=lambda layer: abs(np.log10(max(layer.signal_start, 1e-30))))
    return judge(
        "signal",
        all(SMALL < value < LARGE for value in values),
        f"before the first step activations differ between images by {min(values):.2g} to {max(values):.2g} (standard "
        f"deviation); furthest from 1 before {worst.name}; see depth.png",
        hint,
    )


def check_gradient_depth(setup: TrainSetup, layers: list[Layer]) -> Line:
    """Gradients neither vanish nor explode on their way back to the first layers that are trained."""
    names = trained(setup, [layer.name for layer in layers])
    if len(names) < 2:
        return skip("gradient by depth", f"{names[0] if names else 'no layer'} alone is trained")
    layers = [layer for layer in layers if layer.name in names]
    norms = [max(layer.gradient_start, layer.gradient_largest) for layer in layers]
    third = max(len(norms) // 3, 1)
    early, late = float(np.median(norms[:third])), float(np.median(norms[-third:]))
    ratio = early / late if late else 0.0
    which = "trained " if setup.trainable.frozen else ""
    return judge(
        "gradient by depth",
        SMALL < ratio < LARGE,
        f"kernels' gradient norms: {early:.2g} in the first {third} {which}layers, {late:.2g} in the last, a ratio of "
        f"{ratio:.2g}; see depth.png",
        "take an activation that doesn't saturate (--model.activation relu), a network with shortcuts, or "
        "--model.norm batch",
    )


def check_dead(setup: TrainSetup, layers: list[Layer]) -> Line:
    """Units of layers that are trained answer differently to different images."""
    names = trained(setup, [layer.name for layer in layers])
    if not names:
        return skip("dead units", "no layer is trained")
    layers = [layer for layer in layers if layer.name in names]
    worst = max(layers, key=lambda layer: layer.dead)
    dead = [layer.name for layer in layers if layer.dead > DEAD]
    told = f"at most {100 * worst.dead:.0f} % of a layer's inputs never change (before {worst.name})"
    if dead:
        told += f"; nearly all before {', '.join(dead[:5])}"
    return judge(
        "dead units",
        not dead,
        told,
        "lower --optim.learning-rate, warm up, start biases at 0, or take --model.activation leaky_relu",
    )
