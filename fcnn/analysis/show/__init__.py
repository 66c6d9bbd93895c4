"""Pictures of what a trained network has learned, and of what it does with an image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fcnn.analysis.show.field import show_field
from fcnn.analysis.show.grad_cam import show_grad_cam
from fcnn.analysis.show.layers import show_activations, show_filters
from fcnn.analysis.show.look import Look
from fcnn.analysis.show.mistakes import show_answers, show_confusion, show_mistakes
from fcnn.analysis.show.neighbors import show_neighbors
from fcnn.analysis.show.subject import find_image, make_subject
from fcnn.data.parallel import Progress
from fcnn.report.html import page, paragraph, picture
from fcnn.training.predictions import predict_split
from fcnn.training.setup import TrainSetup
from fcnn.utils.files import write_bytes

__all__ = ["Look", "looks", "write_page"]
FILE = "show.html"


def looks(setup: TrainSetup, variables: Any, split_name: str, image: str, progress: Progress) -> Iterator[Look]:
    """Every way to look at a network, each as soon as it's ready.

    Args:
      variables: on the devices.
      split_name: "validation", "test" or "train": the images that it is asked about.
      image: the one whose way through the network is followed: its index in the split, or a file.
      track: passes batches on and shows how far it is.

    Raises:
      UserError: there is no such image.
    """
    split = getattr(setup.dataset, split_name)
    pixels, title, label = find_image(image, split_name, split, setup.dataset.value_range)
    subject = make_subject(setup, variables, pixels, title, label)
    yield show_answers(subject)
    yield show_filters(subject)
    yield show_activations(subject)
    yield show_grad_cam(subject)
    yield show_field(subject)
    index = None if label is None else int(image)
    yield show_neighbors(subject, variables, split, index, progress)
    answers = predict_split(setup, variables, split, progress)
    yield show_confusion(subject, answers, split_name)
    yield show_mistakes(subject, answers, split, split_name)


def write_page(folder: Path, title: str, found: Sequence[Look]) -> Path:
    """`show.html`: all of them on one page that needs nothing beside itself."""
    sections = [
        (look.heading, (picture(look.picture, look.words) if look.picture else "") + paragraph(look.words))
        for look in found
    ]
    write_bytes(folder / FILE, page(title, sections))
    return folder / FILE
