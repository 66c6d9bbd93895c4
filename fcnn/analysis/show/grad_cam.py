"""Grad-CAM: where in the image the last convolutional layer finds evidence for a class.

R. R. Selvaraju et al.: Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
arXiv:1610.02391, section 3.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnn import models
from fcnn.analysis.figure import Figure, draw_image, subplots
from fcnn.analysis.show.input import AnalysisInput
from fcnn.report.files import png

CLASSES = 3
"""The likeliest classes are drawn, and the label if it isn't among them."""


def show_grad_cam(inputs: AnalysisInput) -> Figure:
    """The image's heat map for each of the likeliest classes."""
    heading, kind = "The evidence for each class: Grad-CAM", type(inputs.setup.model).__name__
    places = [name for name in inputs.spatial if inputs.activations[name][..., 0].size > 1]
    if not places:
        return Figure(
            "grad_cam", heading, f"Grad-CAM needs a convolutional layer with positions, which {kind} does not name."
        )
    layer, image = places[-1], inputs.image
    likeliest = np.argsort(-inputs.probabilities, kind="stable")[:CLASSES].tolist()
    if inputs.label is not None and inputs.label not in likeliest:
        likeliest.append(inputs.label)
    model, shape = inputs.setup.classifier, inputs.setup.dataset.image_shape
    maps = grad_cam(model, inputs.variables, inputs.activations[layer], layer, likeliest, shape)
    figure, axes = subplots(1, len(likeliest) + 1, side=2.4)
    draw_image(axes[0, 0], image, inputs.title)
    for axis, label, heat in zip(axes[0, 1:], likeliest, maps, strict=True):
        draw_image(axis, image, f"{inputs.classes[label]}: {100 * inputs.probabilities[label]:.1f} %")
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        color = {"cmap": "jet", "alpha": 0.45, "vmin": 0, "vmax": heat.max() or 1}
        axis.imshow(heat, extent=extent, interpolation="bilinear", **color)
    height, width = maps.shape[1:]
    caption = (
        f"{inputs.title}, and over it, for each of the likeliest classes, where {layer} ({height} x {width} "
        "positions) finds evidence for it: red is most, blue is nothing."
    )
    rows = [
        (inputs.classes[label], y, x, float(heat[y, x]))
        for label, heat in zip(likeliest, maps, strict=True)
        for y, x in np.ndindex(height, width)
    ]
    return Figure("grad_cam", heading, caption, png(figure), ("class", "y", "x", "grad_cam"), rows)


def grad_cam(
    model: models.Classifier, variables: Any, activation: np.ndarray, layer: str, classes: Sequence[int],
    image_shape: tuple[int, int, int],
) -> np.ndarray:  # fmt: skip
    """The maps ReLU(sum_k alpha_k A_k), where alpha_k is the mean over positions of the gradient of a class's logit by
    the activation map A_k (equations 1 and 2).

    Args:
      activation: A, of an endpoint, (H, W, C).
      layer: the endpoint's name.
      image_shape: (H, W, C) of the model's images.

    Returns:
      (classes, H, W) float32.
    """
    rest = model.clone(start=(layer, image_shape))  # the logits as a function of that activation

    def maps(variables: Any, activation: jax.Array) -> jax.Array:
        def forward(activation: jax.Array) -> Any:
            return rest.apply(variables, activation, train=False)

        logits, pull = jax.vjp(forward, activation)
        heat = []
        for label in classes:
            (gradient,) = pull(jax.nn.one_hot(jnp.asarray([label]), logits.shape[-1], dtype=logits.dtype))
            weights = gradient.mean(axis=(1, 2), keepdims=True)
            heat.append(jax.nn.relu((weights * activation).sum(axis=-1))[0])
        return jnp.stack(heat)

    return np.asarray(jax.jit(maps)(variables, jnp.asarray(activation)[None]), np.float32)
