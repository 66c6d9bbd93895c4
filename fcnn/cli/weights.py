"""`fcnn convert`: trained networks of other programs as files with all that they need."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.cli.model_options import parse_options, take_words
from fcnn.cli.parse import parse
from fcnn.config import ModelConfig
from fcnn.config.names import Interpolation
from fcnn.utils.errors import UserError
from fcnn.utils.text import printable_lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertArgs:
    """Convert weights from torchvision, timm or another program to .safetensors, with the architecture, classes and
    preprocessing in the header: fcnn convert FILE --model NAME."""

    file: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE|NAME")]
    """A .safetensors or PyTorch file (.pth, .pt, .th, .pth.tar, .ckpt, .bin; PyTorch isn't needed), or a name from
    `fcnn zoo`, which is downloaded."""
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """The architecture; `fcnn models` lists them. Not needed if the names and shapes in the file fit only one. Its
    options are written as --options.NAME: --options.no-auxiliary."""
    labels: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Text file with the class names, one per line, in the order of the network's outputs; numbers by default."""
    image_size: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Height and width in pixels of the images that the network was trained on; the paper's by default."""
    mean: tuple[float, ...] | None = None
    """Pixel mean per channel, from 0 to 1, that the network was trained with; by default ImageNet's, or 0.5 for
    GoogLeNet and Inception v3, as in torchvision."""
    std: tuple[float, ...] | None = None
    """Standard deviation per channel, from 0 to 1; requires --mean."""
    crop: Annotated[float | None, tyro.conf.arg(metavar="FRACTION")] = None
    """Center crop, as a fraction of a photograph's height and width: 0.875 for weights that were evaluated on the
    central 224 pixels of 256; 1 by default (no crop)."""
    interpolation: Interpolation | None = None
    """Interpolation for resizing photographs; bilinear by default."""
    ema: bool = True
    """Read averaged weights (EMA) if the file has both; --no-ema reads the raw ones."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.safetensors")] = None
    """File to write; NAME.safetensors in the current folder by default."""


def convert_command(args: list[str]) -> int:
    """`fcnn convert FILE|NAME [--model NAME] [options]`."""
    words, args = take_words(args, "--options.")
    parsed = parse(ConvertArgs, args, "fcnn convert")
    if words and parsed.model is None:
        raise UserError(f"{words[0]} is an option of an architecture: give --model NAME, too")
    if (parsed.mean is None) != (parsed.std is None):
        raise UserError("--mean and --std go together: give both or neither")
    try:
        model = None if parsed.model is None else ModelConfig(name=parsed.model)
    except ValueError as error:
        raise UserError(str(error)) from None
    if model is not None:
        model = dataclasses.replace(model, options=parse_options(model.name, words, "fcnn convert", "--options."))
    labels = None if parsed.labels is None else _labels(parsed.labels)

    from fcnn.training.pretrained import load_network
    from fcnn.weights import Network, write_network

    network = load_network(parsed.file, model, ema=parsed.ema)
    out = parsed.out or Path(f"{network.info.name}.safetensors")
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out} must end in .safetensors")
    if out.exists():
        raise UserError(f"{out} exists; take another --out")
    info = _changed(network.info, parsed, labels)
    write_network(out, Network(info=info, variables=network.variables))
    print(printable_lines("\n".join([*_notes(network, info, parsed), f"{out}: {described(info)}"])))
    return 0


def _notes(network: Any, info: Any, args: ConvertArgs) -> list[str]:
    """Returns the notes on a file, without what the command line says of how images are prepared."""
    from fcnn.weights import preprocessing_note

    given = {"image_shape": args.image_size, "mean": args.mean, "crop": args.crop, "interpolation": args.interpolation}
    rest = preprocessing_note(info, [name for name, value in given.items() if value is not None])
    notes = [rest if note == preprocessing_note(network.info) else note for note in network.notes]
    return [note for note in notes if note]


def described(info: Any) -> str:
    from fcnn.report.records import WEIGHTS

    height, width, channels = info.image_shape
    mean, std = (" ".join(f"{value:.3g}" for value in values) for values in (info.mean, info.std))
    names = "" if info.named else " without names (fcnn convert --labels gives them)"
    read = "" if info.crop == 1 else f" ({100 * info.crop:.3g} % of a photograph, {info.interpolation})"
    weights = "" if info.weights is None else f", {WEIGHTS[info.weights]}"
    return (
        f"{info.name}, {len(info.classes):,} classes{names}, images of {height} x {width} x {channels}{read}, "
        f"mean {mean}, standard deviation {std}{weights}"
    )


def _labels(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--labels {path} can't be read: {error}") from None


def _changed(info: Any, args: ConvertArgs, labels: tuple[str, ...] | None) -> Any:
    """Return what is known of a network, with what the command line changes."""
    if labels is not None and len(labels) != len(info.classes):
        raise UserError(f"--labels {args.labels} has {len(labels)} lines, the network {len(info.classes)} classes")
    height, width, channels = info.image_shape
    if args.image_size is not None and args.image_size < 1:
        raise UserError(f"--image-size must be at least 1, got {args.image_size}")
    if args.crop is not None and not 0 < args.crop <= 1:
        raise UserError(f"--crop must be above 0 and at most 1, got {args.crop}")
    for name, values in (("mean", args.mean), ("std", args.std)):
        if values is not None and len(values) != channels:
            raise UserError(f"--{name} has {len(values)} numbers, the network's images have {channels} channels")
    return dataclasses.replace(
        info,
        classes=labels or info.classes,
        named=info.named or labels is not None,
        image_shape=(args.image_size or height, args.image_size or width, channels),
        mean=args.mean or info.mean,
        std=args.std or info.std,
        crop=info.crop if args.crop is None else args.crop,
        interpolation=args.interpolation or info.interpolation,
    )
