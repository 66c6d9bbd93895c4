"""`fcnn export`: a trained network as one file, for other programs."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fcnn import zoo
from fcnn.cli.parse import PresetFile, parse
from fcnn.cli.weights import described
from fcnn.utils.errors import UserError, install
from fcnn.utils.text import printable_lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Write a run's best weights to one file, with classes and preprocessing: fcnn export WORKDIR.

    safetensors: the weights with torchvision's names, metadata in the header. onnx: a network for ONNX Runtime,
    OpenVINO and others, verified against fcnn's outputs; the result is in a .json file next to it. html: a page that
    classifies images in a browser. stablehlo: a program that JAX runs on a CPU, GPU or TPU without fcnn; metadata in a
    .json file next to it. The exported networks take any batch size.
    """

    network: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORKDIR|NAME")]
    """A run's folder, a .safetensors file written by fcnn, or a name from `fcnn zoo`."""
    format: Literal["safetensors", "onnx", "html", "stablehlo"] = "safetensors"
    """Format of the file."""
    pixels: bool = False
    """onnx, stablehlo: the network takes uint8 pixels (B, H, W, C) and normalizes them itself, instead of normalized
    float32 images; onnx: it then returns calibrated probabilities instead of logits."""
    dtype: Literal["float32", "float16", "int8"] = "float32"
    """onnx: type of weights and activations: float16 halves the file; int8 (static quantization, calibrated on a run's
    training images) quarters it, runs faster, and the loss of accuracy is printed."""
    runtime: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """html: the unpacked npm package onnxruntime-web, to embed in the page, which then works offline."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write; model.FORMAT in the run's folder by default."""
    preset: PresetFile = None
    """Preset file of a run with its own model or data set."""


def export_command(args: list[str]) -> int:
    """`fcnn export WORKDIR [--format safetensors|onnx|html|stablehlo] [--out FILE]`."""
    parsed = parse(ExportArgs, args, "fcnn export")
    out = _out(parsed)
    _check(parsed)

    from fcnn.training.overrides import Overrides
    from fcnn.training.pretrained import load_network

    overrides = Overrides.of_network(parsed.preset, parsed.network)
    network = load_network(parsed.network, module=overrides.model)
    for note in network.notes:
        print(printable_lines(note))
    if parsed.format == "safetensors":
        from fcnn.weights import write_network

        write_network(out, network)
        lines = [f"{out}: {described(network.info)}"]
    elif parsed.format == "stablehlo":
        from fcnn.inference.export import beside_of, write_stablehlo

        promise = write_stablehlo(out, network, pixels=parsed.pixels)["written_by"]["promise"]
        lines = [f"{out}, with {beside_of(out).name} beside it: {described(network.info)}", f"{promise}."]
    elif parsed.format == "html":
        from fcnn.inference.html.page import write_html

        size = write_html(out, network, parsed.runtime)
        lines = [f"{out} ({size / 1e6:.1f} MB), to be opened in a browser: {described(network.info)}"]
    else:
        lines = _write_onnx(out, network, parsed, overrides.dataset)
    print(printable_lines("\n".join(lines)))
    return 0


def _out(args: ExportArgs) -> Path:
    """Returns the file to write; UserError if it isn't one of the format."""
    suffix, source = f".{args.format}", Path(args.network).expanduser()
    is_run = source.is_dir() and args.network not in zoo.TABLE
    out = args.out or (source / f"model{suffix}" if is_run else source.with_suffix(suffix))
    if out.suffix != suffix:
        raise UserError(f"--out {out} must end in {suffix}")
    if out == source:
        raise UserError(f"{source} would be overwritten; take another --format or --out")
    return out


def _check(args: ExportArgs) -> None:
    """Raises UserError for options that the format doesn't have, and for one that needs a package that isn't there."""
    formats = {"pixels": ("onnx", "stablehlo"), "dtype": ("onnx",), "runtime": ("html",)}
    for name, having in formats.items():
        if getattr(args, name) not in (False, None, "float32") and args.format not in having:
            belongs = " and ".join(f"--format {each}" for each in having)
            raise UserError(f"--{name} has no effect with {args.format}; it belongs to {belongs}")
    packages = {"onnx": ("onnx", "onnxruntime"), "html": ("onnx",)}.get(args.format, ())
    if missing := [package for package in packages if not importlib.util.find_spec(package)]:
        raise UserError(f"--format {args.format} needs {' and '.join(missing)}: {install('onnx')}")


def _write_onnx(out: Path, network: Any, args: ExportArgs, dataset: Any) -> list[str]:
    """Writes the file and its validation report; returns what to print."""
    from fcnn.inference.onnx.certificate import certify, images_to_compare, write_certified
    from fcnn.inference.onnx.export import to_onnx
    from fcnn.report import Console

    console, comparison = Console(), None
    dataset = _dataset(args, dataset, console)
    data = to_onnx(network, pixels=args.pixels, dtype="float32" if args.dtype == "int8" else args.dtype)
    if args.dtype == "int8":
        from fcnn.inference.onnx.quantize import compare_files, quantize

        plain, data = data, quantize(data, network.info, dataset.train, pixels=args.pixels)
        comparison = compare_files(plain, data, network.info, dataset.validation, pixels=args.pixels)
    images, source = images_to_compare(network.info, dataset)
    options = {"pixels": args.pixels, "dtype": args.dtype}
    certificate = certify(network, data, images, source, console.progress, **options)
    if comparison is not None:
        certificate["int8"] = comparison
    beside = write_certified(out, data, certificate)
    lines = [f"{out} ({len(data) / 1e6:.1f} MB), with {beside.name} beside it: {described(network.info)}"]
    count = len(images)
    for name, row in certificate["engines"].items():
        lines.append(
            f"{name} {row['version']}: largest difference {row['difference']:.1e} of the largest output, same top-1 on "
            f"{row['same_top1']:,} of {count:,} images ({source})."
        )
    if comparison is not None:
        lines.append(_int8_line(comparison))
    return lines


def _dataset(args: ExportArgs, dataset: Any, console: Any) -> Any:
    """Returns the images of the run; None where there are none, which int8 doesn't take."""
    from fcnn.inference.onnx.certificate import run_dataset

    try:
        dataset = run_dataset(args.network, dataset, console)
    except UserError as error:
        if args.dtype == "int8":
            raise
        console.log(f"Note: the run's images can't be loaded, so random ones are compared: {error}")
        return None
    if dataset is None and args.dtype == "int8":
        raise UserError(
            f"--dtype int8 is calibrated on training images, so it takes a run's folder, not {args.network}"
        )
    return dataset


def _int8_line(comparison: dict[str, Any]) -> str:
    ms, size, top1 = comparison["ms"], comparison["bytes"], comparison.get("top1")
    lines = [
        f"int8 has {size['int8'] / size['float32']:.0%} of the size in float32",
        f"takes {ms['int8']:.2f} ms an image instead of {ms['float32']:.2f}",
    ]
    if top1 is not None:
        lines.append(f"and gets {top1['int8']:.2%} of the validation images right instead of {top1['float32']:.2%}")
    return ", ".join(lines) + "."
