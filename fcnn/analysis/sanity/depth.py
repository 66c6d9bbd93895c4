"""How the signal passes through a network, layer by layer: forward its size, backward its gradient, and dead units."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fcnn.analysis.sanity.result import CheckResult, check, skip
from fcnn.analysis.sanity.trial import Trial, compile_once, trained, with_fields
from fcnn.report.files import new_figure, png, write_table
from fcnn.training.layers import evaluated
from fcnn.training.setup import TrainSetup
from fcnn.utils.files import write_bytes

SMALL, LARGE = 1e-3, 1e3
"""A signal or a gradient that changes by more than this on its way has vanished or exploded."""
DEAD = 0.5
"""A larger share of a layer's inputs than this that never changes means that it is as good as dead."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution or a dense layer."""

    name: str
    signal_start: float
    """How much its inputs differ between images, before the first step: the standard deviation over the images, root
    mean square over units. About 1 for the first layer."""
    signal_end: float
    """The same after the trial."""
    dead: float
    """Share of its inputs (channels) that are the same for every image and position after the trial."""
    gradient_start: float
    """L2 norm of its kernel's gradient in the first step; 0 behind a branch that starts at zero."""
    gradient_largest: float
    """The largest over the trial."""


def measure_layers(setup: TrainSetup, trial: Trial, images: jax.Array) -> list[Layer]:
    """The layers with kernels in the order of computation; as in evaluation if nothing is trained.

    Args:
      images: (B, H, W, C), normalized.
    """
    inspect, names = _inspector(setup)
    start = np.asarray(inspect(trial.start.variables, images, trial.start.key))
    end = np.asarray(inspect(trial.end.variables, images, trial.start.key))
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


def _inspector(setup: TrainSetup) -> tuple[Callable[..., jax.Array], list[str]]:
    """A compiled function `(variables, images, key) -> (layers, 2)`, the signal and the dead share of each layer's
    inputs; and the layers' names, known after its first call."""
    names: list[str] = []
    model: Any = with_fields(setup.model, remat=False)  # arrays inside its blocks could not be taken out of them

    @compile_once
    def inspect(variables: Any, images: jax.Array, key: jax.Array) -> jax.Array:
        statistics: dict[str, jax.Array] = {}

        def note(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
            module = context.module
            if isinstance(module, nn.Conv | nn.Dense) and context.method_name == "__call__":
                x = args[0].astype(jnp.float32)
                signal = jnp.sqrt(x.var(axis=0).mean())
                flat = x.reshape(-1, x.shape[-1])
                dead = (flat.max(axis=0) - flat.min(axis=0) <= 1e-6 * jnp.abs(flat).max()).mean()
                statistics["/".join(module.path)] = jnp.stack([signal, dead])
            return call(*args, **kwargs)

        options, train = {"mutable": ["batch_stats", "aux"], "rngs": {"dropout": key}}, setup.total_steps > 0
        with evaluated(setup.trainable.frozen), nn.intercept_methods(note):
            model.apply(variables, images, train=train, **options)
        names[:] = statistics
        return jnp.stack(list(statistics.values())) if statistics else jnp.zeros((0, 2))

    return inspect, names


def check_signal(setup: TrainSetup, layers: list[Layer]) -> CheckResult:
    """The difference between images neither vanishes nor explodes on its way to the last layer."""
    hint = "initialize by the activation (leave model.kernel-init out), or normalize: --model.norm batch"
    if setup.transferred:
        hint = "the weights' normalization doesn't suit these images, or the weights are damaged"
    if not layers:
        return skip("signal", "the model has no layer nn.Conv or nn.Dense")
    values = [layer.signal_start for layer in layers]
    worst = max(layers, key=lambda layer: abs(np.log10(max(layer.signal_start, 1e-30))))
    return check(
        "signal",
        all(SMALL < value < LARGE for value in values),
        f"before the first step activations differ between images by {min(values):.2g} to {max(values):.2g} (standard "
        f"deviation); furthest from 1 before {worst.name}; see depth.png",
        hint,
    )


def check_gradient_depth(setup: TrainSetup, layers: list[Layer]) -> CheckResult:
    """Gradients neither vanish nor explode on their way back to the first layers that are trained."""
    names = trained(setup, [layer.name for layer in layers])
    if len(names) < 2:
        return skip("gradient by depth", f"{names[0] if names else 'no layer'} alone is trained")
    layers = [layer for layer in layers if layer.name in names]
    norms = [max(layer.gradient_start, layer.gradient_largest) for layer in layers]
    third = max(len(norms) // 3, 1)
    early, late = float(np.median(norms[:third])), float(np.median(norms[-third:]))
    ratio = early / late if late else 0.0
    kind = "trained layers" if setup.trainable.frozen else "layers"
    return check(
        "gradient by depth",
        SMALL < ratio < LARGE,
        f"kernels' gradient norms: {early:.2g} in the first {third} {kind}, {late:.2g} in the last, a ratio of "
        f"{ratio:.2g}; see depth.png",
        "take an activation that doesn't saturate (--model.activation relu), a network with shortcuts, or "
        "--model.norm batch",
    )


def check_dead(setup: TrainSetup, layers: list[Layer]) -> CheckResult:
    """The units of layers that are trained differ from image to image."""
    names = trained(setup, [layer.name for layer in layers])
    if not names:
        return skip("dead units", "no layer is trained")
    layers = [layer for layer in layers if layer.name in names]
    worst = max(layers, key=lambda layer: layer.dead)
    dead = [layer.name for layer in layers if layer.dead > DEAD]
    reason = f"at most {100 * worst.dead:.0f} % of a layer's inputs never change (before {worst.name})"
    if dead:
        reason += f"; nearly all before {', '.join(dead[:5])}"
    return check(
        "dead units",
        not dead,
        reason,
        "lower --optim.learning-rate, warm up, start biases at 0, or take --model.activation leaky_relu",
    )


def draw_depth(layers: list[Layer], folder: Path) -> None:
    """Writes `depth.png` and `depth.csv`: activations and gradients of each layer, at the start and after the trial."""
    figure = new_figure(10, 5)
    axes = figure.subplots(1, 2, sharex=True)
    _draw_lines(axes[0], layers, {"signal_start": "at initialization", "signal_end": "after the trial"})
    axes[0].set(title="A layer's inputs", ylabel="standard deviation over images")
    axes[0].axhspan(1e-30, SMALL, color="tab:red", alpha=0.1)
    axes[0].axhspan(LARGE, 1e30, color="tab:red", alpha=0.1)
    _draw_lines(axes[1], layers, {"gradient_start": "first step", "gradient_largest": "largest of the trial"})
    axes[1].set(title="Its kernel's gradient", ylabel="L2 norm")
    places = range(0, len(layers), max(len(layers) // 12, 1))
    for axis in axes:
        axis.set_xticks(places, [layers[i].name for i in places], rotation=60, ha="right", fontsize=8)
        axis.grid(alpha=0.3)
        axis.legend()
    head = [field.name for field in dataclasses.fields(Layer)]
    write_table(folder / "depth.csv", head, [dataclasses.astuple(layer) for layer in layers])
    write_bytes(folder / "depth.png", png(figure))


def _draw_lines(axis: Any, layers: list[Layer], labels: dict[str, str]) -> None:
    """A line for each field of a layer, on a logarithmic axis around what is finite and above zero."""
    values = np.asarray([[getattr(layer, field) for layer in layers] for field in labels])
    values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    for line, label, marker in zip(values, labels.values(), "o.", strict=True):
        axis.plot(line, marker=marker, label=label)
    axis.set_yscale("log")
    if np.isfinite(values).any():
        axis.set_ylim(np.nanmin(values) / 3, np.nanmax(values) * 3)
