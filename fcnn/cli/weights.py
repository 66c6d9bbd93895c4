"""`fcnn convert` and `fcnn export`: trained networks of other programs, or of a run, as complete files."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fcnn import zoo
from fcnn.cli.model_options import parse_options, take_words
from fcnn.cli.own import PresetFile, own_parts
from fcnn.cli.parse import parse
from fcnn.config import ModelConfig
from fcnn.utils.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertArgs:
    """Read weights of torchvision, timm or another program, and write them as .safetensors with the network's name,
    classes and preprocessing in its header: fcnn convert FILE --model NAME."""

    file: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE|NAME")]
    """.safetensors or PyTorch's (.pth, .pt, .th, .pth.tar, .ckpt, .bin), for which PyTorch isn't needed; or a name that
    `fcnn zoo` lists, which is downloaded."""
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """The architecture; `fcnn models` lists them. Not needed where the names and shapes in the file are those of one
    alone. Its own options go with it: --options.no-auxiliary, as --model.options.no-auxiliary in fcnn train."""
    labels: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The names of the classes, one a line in the order of the network's outputs; their numbers if not given."""
    image_size: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Height and width in pixels of the images that it was trained on; the paper's if not given."""
    mean: tuple[float, ...] | None = None
    """Pixel mean by channel, 0 to 1, of its preprocessing; ImageNet's, or 0.5 for GoogLeNet and Inception v3 as
    torchvision has them, if not given."""
    std: tuple[float, ...] | None = None
    """Standard deviation by channel, 0 to 1; goes with --mean."""
    ema: bool = True
    """Read averaged weights (EMA) where the file has both; --no-ema reads the raw ones."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.safetensors")] = None
    """Where to write; NAME.safetensors in the current folder if not given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Write a run's best weights on validation as one file, with its classes and preprocessing: fcnn export WORKDIR.

    safetensors: the weights under torchvision's names, the rest in the header. stablehlo: a program that any JAX runs
    on a CPU, a GPU or a TPU without fcnn, for any number of images, the rest in a .json beside it.
    """

    network: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORKDIR|NAME")]
    """A run's folder, a .safetensors file of fcnn's, or a name that `fcnn zoo` lists."""
    format: Literal["safetensors", "stablehlo"] = "safetensors"
    """What to write."""
    pixels: bool = False
    """stablehlo: take uint8 pixels and normalize them inside, instead of normalized float32 images."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Where to write; WORKDIR/model.safetensors or WORKDIR/model.stablehlo if not given."""
    preset: PresetFile = None
    """The preset that defines the run's own model or data set."""


def export_command(args: list[str]) -> int:
    """`fcnn export WORKDIR [--format safetensors|stablehlo] [--pixels] [--out FILE]`."""
    parsed = parse(ExportArgs, args, "fcnn export")
    suffix = f".{parsed.format}"
    source = Path(parsed.network).expanduser()
    is_run = source.is_dir() and parsed.network not in zoo.TABLE
    out = parsed.out or (source / f"model{suffix}" if is_run else source.with_suffix(suffix))
    if out.suffix != suffix:
        raise UserError(f"--out {out} must end in {suffix}")
    if out == source:
        raise UserError(f"{source} is what would be written; take another --format or --out")
    if parsed.pixels and parsed.format != "stablehlo":
        raise UserError("--pixels has no effect with safetensors; it belongs to --format stablehlo")

    from fcnn.inference.export import write_stablehlo
    from fcnn.training.pretrained import load_network
    from fcnn.weights import write_network

    network = load_network(parsed.network, module=own_parts(parsed.preset, parsed.network).model)
    for note in network.notes:
        print(note)
    if parsed.format == "safetensors":
        write_network(out, network)
        print(f"{out}: {_described(network.about)}")
        return 0
    beside = write_stablehlo(out, network, pixels=parsed.pixels)
    print(f"{out}, with {beside.name} beside it: {_described(network.about)}")
    return 0


def convert_command(args: list[str]) -> int:
    """`fcnn convert FILE|NAME [--model NAME] [options]`."""
    words, args = take_words(args, "--options.")
    parsed = parse(ConvertArgs, args, "fcnn convert")
    if words and parsed.model is None:
        raise UserError(f"{words[0]} belongs to an architecture: give --model NAME with it")
    if (parsed.mean is None) != (parsed.std is None):
        raise UserError("--mean and --std go together: give both or neither")
    try:
        model = None if parsed.model is None else ModelConfig(name=parsed.model)
    except ValueError as error:
        raise UserError(str(error)) from None
    if model is not None:
        model = dataclasses.replace(model, options=parse_options(model.name, words, "fcnn import", "--options."))
    labels = None if parsed.labels is None else _labels(parsed.labels)

    from fcnn.training.pretrained import load_network
    from fcnn.weights import Network, write_network

    network = load_network(parsed.file, model, ema=parsed.ema)
    out = parsed.out or Path(f"{network.about.name}.safetensors")
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out} must end in .safetensors")
    if out.exists():
        raise UserError(f"{out} exists; take another --out")
    about = _changed(network.about, parsed, labels)
    write_network(out, Network(about=about, variables=network.variables))
    print("\n".join([*network.notes, f"{out}: {_described(about)}"]))
    return 0


def _described(about: Any) -> str:
    from fcnn.report.records import WEIGHTS

    height, width, channels = about.image_shape
    mean, std = (" ".join(f"{value:.3g}" for value in values) for values in (about.mean, about.std))
    names = "" if about.named else " without names (fcnn convert --labels gives them)"
    weights = "" if about.weights is None else f", {WEIGHTS[about.weights]}"
    return (
        f"{about.name}, {len(about.classes):,} classes{names}, images of {height} x {width} x {channels}, "
        f"mean {mean}, standard deviation {std}{weights}"
    )


def _labels(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--labels {path} can't be read: {error}") from None


def _changed(about: Any, args: ConvertArgs, labels: tuple[str, ...] | None) -> Any:
    """Return what is known of a network, with what the command line changes."""
    if labels is not None and len(labels) != len(about.classes):
        raise UserError(f"--labels {args.labels} has {len(labels)} lines, the network {len(about.classes)} classes")
    height, width, channels = about.image_shape
    if args.image_size is not None and args.image_size < 1:
        raise UserError(f"--image-size must be at least 1, got {args.image_size}")
    for name, values in (("mean", args.mean), ("std", args.std)):
        if values is not None and len(values) != channels:
            raise UserError(f"--{name} has {len(values)} numbers, the network's images have {channels} channels")
    return dataclasses.replace(
        about,
        classes=labels or about.classes,
        named=about.named or labels is not None,
        image_shape=(args.image_size or height, args.image_size or width, channels),
        mean=args.mean or about.mean,
        std=args.std or about.std,
    )
