"""Pictures of what a trained network has learned, and of what it does with an image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fcnn.analysis.figure import Figure
from fcnn.analysis.show.activations import show_activations, show_filters
from fcnn.analysis.show.grad_cam import show_grad_cam
from fcnn.analysis.show.input import find_image, make_input
from fcnn.analysis.show.neighbors import show_neighbors
from fcnn.analysis.show.predictions import show_confusion, show_mistakes, show_prediction
from fcnn.analysis.show.receptive_field import show_receptive_field
from fcnn.data.parallel import Progress
from fcnn.training.predictions import predict_split
from fcnn.training.setup import TrainSetup
from fcnn.utils.files import write_bytes
from fcnn.utils.html import page, paragraph, picture

__all__ = ["Figure", "draw_figures", "write_page"]


def draw_figures(
    setup: TrainSetup, variables: Any, split_name: str, image: str, progress: Progress
) -> Iterator[Figure]:
    """Every picture of a network, each as soon as it's ready.

    Args:
      variables: on the devices.
      split_name: "validation", "test" or "train": the images that it classifies.
      image: the one whose way through the network is followed: its index in the split, or a file.

    Raises:
      UserError: there is no such image.
    """
    split = getattr(setup.dataset, split_name)
    pixels, title, label = find_image(image, split_name, split, setup.dataset.value_range)
    inputs = make_input(setup, variables, pixels, title, label)
    yield show_prediction(inputs)
    yield show_filters(inputs)
    yield show_activations(inputs)
    yield show_grad_cam(inputs)
    yield show_receptive_field(inputs)
    yield show_neighbors(inputs, variables, split, None if label is None else int(image), progress)
    predictions = predict_split(setup, variables, split, progress)
    yield show_confusion(inputs, predictions, split_name)
    yield show_mistakes(inputs, predictions, split_name)


def write_page(path: Path, title: str, figures: Sequence[Figure]) -> None:
    """Writes all of them on one page that needs nothing beside itself."""
    pictures = [picture(figure.picture, figure.caption) if figure.picture else "" for figure in figures]
    sections = [
        (figure.heading, drawn + paragraph(figure.caption)) for figure, drawn in zip(figures, pictures, strict=True)
    ]
    write_bytes(path, page(title, sections))
