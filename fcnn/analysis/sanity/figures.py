"""The check's pictures, each with its numbers beside it: the signal by depth, the learning-rate range, the images."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcnn.analysis.sanity.depth import LARGE, SMALL, Layer
from fcnn.analysis.sanity.rates import RangeTest
from fcnn.analysis.sanity.trial import change
from fcnn.data.show import contact_sheet
from fcnn.report.files import png, write_table
from fcnn.training.setup import TrainSetup
from fcnn.utils.files import write_bytes


def draw_depth(layers: list[Layer], folder: Path) -> None:
    """`depth.png` and `depth.csv`: activations and gradients of each layer, at the start and after the trial."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True)
    places = np.arange(1, len(layers) + 1)
    pairs = (("signal_start", "at initialization"), ("signal_end", "after the trial"))
    _lines(axes[0], places, layers, pairs)
    axes[0].set(title="What a layer is given", ylabel="standard deviation over images")
    axes[0].axhspan(1e-30, SMALL, color="tab:red", alpha=0.1)
    axes[0].axhspan(LARGE, 1e30, color="tab:red", alpha=0.1)
    pairs = (("gradient_start", "first step"), ("gradient_largest", "largest of the trial"))
    _lines(axes[1], places, layers, pairs)
    axes[1].set(title="Its kernel's gradient", ylabel="L2 norm")
    shown = places[:: max(len(layers) // 12, 1)]
    for axis in axes:
        axis.set_xticks(shown, [layers[i - 1].name for i in shown], rotation=60, ha="right", fontsize=8)
        axis.grid(alpha=0.3)
        axis.legend()
    write_bytes(folder / "depth.png", png(figure))
    head = [field.name for field in dataclasses.fields(Layer)]
    write_table(folder / "depth.csv", head, (dataclasses.astuple(layer) for layer in layers))


def _lines(axis: Any, places: np.ndarray, layers: list[Layer], pairs: tuple[tuple[str, str], ...]) -> None:
    """A line for each field of a layer, on a logarithmic axis around what is finite and above zero."""
    kept = []
    for (field, label), marker in zip(pairs, "o.", strict=True):
        values = np.asarray([getattr(layer, field) for layer in layers])
        values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        axis.plot(places, values, marker=marker, label=label)
        kept.append(values)
    axis.set_yscale("log")
    if np.isfinite(kept).any():
        axis.set_ylim(np.nanmin(kept) / 3, np.nanmax(kept) * 3)


def draw_rates(found: RangeTest, rate: float, folder: Path) -> None:
    """`learning_rate.png` and `learning_rate.csv`: the loss by learning rate, with the run's own marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.plot(found.rates, found.losses, ".", color="tab:gray", alpha=0.5, label="of a step's batch")
    axis.plot(found.rates, found.smoothed, color="tab:blue", label="smoothed")
    axis.axvline(rate, color="tab:green", label=f"the run's rate, {rate:g}")
    axis.axvline(found.suggestion, color="tab:orange", linestyle="--", label=f"falls fastest, {found.suggestion:.2g}")
    if found.diverges != math.inf:
        axis.axvline(found.diverges, color="tab:red", linestyle=":", label=f"breaks, {found.diverges:.2g}")
    top = 1.5 * float(found.losses[0])
    axis.set(xscale="log", xlabel="learning rate", ylabel="loss", title="Learning-rate range test", ylim=(0, top))
    axis.grid(alpha=0.3)
    axis.legend()
    write_bytes(folder / "learning_rate.png", png(figure))
    rows = zip(found.rates.tolist(), found.losses.tolist(), found.smoothed.tolist(), strict=True)
    write_table(folder / "learning_rate.csv", ("learning_rate", "loss", "smoothed"), rows)


def draw_sheet(setup: TrainSetup, folder: Path) -> None:
    """`contact_sheet.png`: training images of each class, as stored and as the run augments them."""
    augmented = jax.jit(change(setup))

    def changed(images: np.ndarray) -> np.ndarray:
        index = np.arange(len(images), dtype=np.int32)
        batch = {"image": images, "label": np.zeros_like(index), "mask": index >= 0, "index": index}
        found = np.asarray(augmented(jax.random.key(setup.config.seed), batch)["image"])
        return np.clip(np.round(found), 0, 255).astype(np.uint8)

    write_bytes(folder / "contact_sheet.png", png(contact_sheet(setup.dataset, changed)))
