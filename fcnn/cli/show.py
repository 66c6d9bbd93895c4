"""`fcnn show`: pictures of what a trained network has learned."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fcnn.cli.parse import PresetFile, parse
from fcnn.runtime.ready import get_ready
from fcnn.utils.files import make_folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataArgs:
    """Where the images are."""

    name: Annotated[str | None, tyro.conf.arg(metavar="folder:PATH")] = None
    """The run's images, if they were moved."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowArgs:
    """Look inside a trained network: filters of the first layer; one image's activation maps, Grad-CAM, receptive
    fields, nearest neighbors and prediction; the confusion matrix and the most confident mistakes. Figures (.png),
    their data (.csv) and a page with all of them (show.html) are written to WORKDIR/show."""

    workdir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WORKDIR")]
    """The run's folder."""
    image: Annotated[str, tyro.conf.arg(metavar="INDEX|FILE")] = "0"
    """The image for the activation maps, Grad-CAM and neighbors: its index in the split, or a file."""
    split: Literal["validation", "test", "train"] = "validation"
    """Split to use. If you change the network after a look at the test split, its test accuracy is no longer valid."""
    preset: PresetFile = None
    """Preset file of a run with its own model or data set."""
    data: DataArgs = dataclasses.field(default_factory=DataArgs)


def show_command(args: list[str]) -> int:
    """`fcnn show WORKDIR [--image INDEX|FILE] [--split validation]`."""
    parsed = parse(ShowArgs, args, "fcnn show")

    from fcnn.training import workdir

    config = workdir.read_config(parsed.workdir)  # a wrong folder is answered before jax is imported
    data = None
    if parsed.data.name is not None:
        data = workdir.resolved(workdir.with_data(config, parsed.data.name)).data
    get_ready()

    from fcnn.analysis import show
    from fcnn.report import Console
    from fcnn.report.records import WEIGHTS
    from fcnn.training.evaluate import restore
    from fcnn.training.overrides import Overrides

    console = Console()
    setup, best = restore(
        parsed.workdir,
        console,
        parsed.split,
        data=data,
        overrides=Overrides.of_network(parsed.preset, str(parsed.workdir)),
    )
    if setup.config.averages_weights:
        console.log(f"{parsed.workdir}: {WEIGHTS[best.weights]} of step {best.step:,}")
    folder, figures = parsed.workdir / "show", []
    for figure in show.draw_figures(setup, best.variables, parsed.split, parsed.image, console.progress):
        make_folder(folder)
        console.log(f"{f'{figure.name}.png' if figure.picture else figure.name:20} {figure.caption}")
        figure.write(folder)
        figures.append(figure)
    show.write_page(folder / "show.html", f"{setup.config.model.name} on {setup.dataset.name}", figures)
    console.log(f"Pictures, their numbers as .csv, and show.html with all of them are in {folder}")
    return 0
