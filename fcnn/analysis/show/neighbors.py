"""Nearest neighbors in feature space: the training images that look most alike to the network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnn import models
from fcnn.analysis.figure import Figure, draw_image, subplots
from fcnn.analysis.show.input import AnalysisInput, normalized
from fcnn.data import AnySplit
from fcnn.data.parallel import Progress, no_progress
from fcnn.distributed import sharding
from fcnn.report.files import png
from fcnn.training.evaluate import compile_on_each
from fcnn.training.predictions import predicted_places
from fcnn.training.setup import TrainSetup

QUERIES, NEAREST = 6, 7
"""Images whose neighbors are drawn, the chosen one first; neighbors of each."""


def feature_space(setup: TrainSetup) -> tuple[str, Callable]:
    """What the classifier is given: its name, and `(variables, images (B, H, W, C)) -> (B, features)`."""
    places = models.endpoints(setup.model, setup.dataset.image_shape)
    if not places:
        return "the pixels", lambda variables, images: images.reshape(len(images), -1)
    name, spatial = places[-1].name, len(places[-1].shape) == 3

    def features(variables: Any, images: jax.Array) -> jax.Array:
        outputs: Any = setup.model.apply(variables, images, train=False, features=(name,))
        endpoint = outputs[1][name]
        return (endpoint.mean(axis=(1, 2)) if spatial else endpoint).astype(jnp.float32)

    return f"{name}, averaged over its positions" if spatial else name, features


def nearest(
    setup: TrainSetup, variables: Any, images: np.ndarray, max_count: int, *, exclude: np.ndarray,
    progress: Progress = no_progress,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The training images with the least Euclidean distance in feature space, of those that `predicted_places` names.

    Args:
      variables: on the devices.
      images: (Q, H, W, C) uint8.
      exclude: (Q,) for each a training image that is left out, itself for one; -1 for none.

    Returns:
      Their indices in the training split, (Q, max_count) int, the nearest first, and their distances, (Q, max_count)
      float32.
    """
    _, features = feature_space(setup)
    queries = jax.jit(features)(sharding.to_host(variables), normalized(setup, images))

    def distances(network_and_queries: Any, images: jax.Array) -> jax.Array:
        variables, queries = network_and_queries
        # Differences, not |a|^2 + |b|^2 - 2ab: that loses its digits where two images are alike.
        return jnp.sqrt(((features(variables, images)[:, None] - queries[None]) ** 2).sum(axis=-1))

    train = setup.dataset.train
    places = predicted_places(train)
    network_and_queries = variables, sharding.replicate(np.asarray(queries), setup.mesh)
    all_distances = compile_on_each(setup, distances, network_and_queries, train.take(places))(progress)
    all_distances = np.where(places[:, None] == exclude[None], np.inf, all_distances).T
    order = np.argsort(all_distances, axis=1, kind="stable")[:, :max_count]
    return places[order], np.take_along_axis(all_distances, order, axis=1)


def show_neighbors(
    inputs: AnalysisInput, variables: Any, split: AnySplit, index: int | None, progress: Progress
) -> Figure:
    """The neighbors of the chosen image, number `index` of `split` or a file (None), and of some others."""
    setup, train = inputs.setup, inputs.setup.dataset.train
    others = [i for i in np.linspace(0, len(split) - 1, QUERIES).astype(int).tolist() if i != index]
    others = list(dict.fromkeys(others))[: QUERIES - 1]
    images = np.concatenate([inputs.image[None], split.read(np.asarray(others, int))])
    places = [-1 if index is None else index, *others]
    exclude = np.asarray(places if split is train else [-1] * len(places))
    neighbors, distances = nearest(setup, variables, images, NEAREST, exclude=exclude, progress=progress)
    labels = [inputs.label, *split.labels[others].tolist()]
    titles = [inputs.title, *(f"image {i}" for i in others)]

    figure, axes = subplots(len(images), neighbors.shape[1] + 1, side=1.3)
    rows, files = [], setup.dataset.paths("train")
    for axis, image, title, label, near, far in zip(axes, images, titles, labels, neighbors, distances, strict=True):
        draw_image(axis[0], image, title if label is None else f"{title}\n{inputs.classes[label]}")
        for rank, (one, near_index, distance) in enumerate(zip(train.read(near), near, far, strict=True), start=1):
            of_class = int(train.labels[near_index])
            draw_image(axis[rank], one, f"{inputs.classes[of_class]}\n{distance:.2f}")
            axis[rank].title.set_color("tab:red" if label not in (None, of_class) else "black")
            rows.append((title, rank, int(near_index), files[near_index], inputs.classes[of_class], float(distance)))
    name, _ = feature_space(setup)
    caption = (
        f"At the left an image, beside it the training images that are nearest to it in {name}, with their class (red "
        "where it is another) and the Euclidean distance. Those of the chosen image: "
        f"{', '.join(inputs.classes[train.labels[i]] for i in neighbors[0])}."
    )
    head = ("image", "rank", "training image", "file", "class", "distance")
    return Figure("neighbors", "Nearest neighbors in feature space", caption, png(figure), head, rows)
