"""`fcnn export`: a trained network as one file, for other programs."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fcnn import zoo
from fcnn.cli.parse import PresetFile, parse
from fcnn.cli.weights import described
from fcnn.utils.errors import UserError
from fcnn.utils.text import printable_lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Write a run's best weights to one file, with classes and preprocessing: fcnn export WORKDIR.

    safetensors: the weights under torchvision's names, with everything else in the header. onnx: a network that ONNX
    Runtime, OpenVINO and others run, compared with fcnn's answers; the result is in a .json file beside it. html: a
    page that classifies images in a browser. stablehlo: a program that JAX runs on a CPU, GPU or TPU without fcnn, with
    everything else in a .json file beside it. All take any number of images.
    """

    network: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORKDIR|NAME")]
    """A run's folder, a .safetensors file written by fcnn, or a name from `fcnn zoo`."""
    format: Literal["safetensors", "onnx", "html", "stablehlo"] = "safetensors"
    """Format of the file."""
    pixels: bool = False
    """onnx, stablehlo: the network takes uint8 pixels and normalizes them itself, instead of normalized float32 images;
    onnx: it then gives calibrated probabilities instead of logits."""
    dtype: Literal["float32", "float16", "int8"] = "float32"
    """onnx: type of weights and activations; float16 halves the file, int8 quarters it and is faster, at a loss of
    accuracy that is measured (calibrated on the training images of a run)."""
    runtime: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """html: the unpacked npm package onnxruntime-web, to put it into the page, which then works without a network."""
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
    if args.format in ("onnx", "html") and not importlib.util.find_spec("onnx"):
        raise UserError(f"--format {args.format} needs the package onnx: pip install 'fcnn[onnx]'")


def _write_onnx(out: Path, network: Any, args: ExportArgs, dataset: Any) -> list[str]:
    """Writes the file and its certificate; returns what to print."""
    from fcnn.inference.onnx.certificate import certify, images_to_compare, write_certified
    from fcnn.inference.onnx.export import to_onnx
    from fcnn.report import Console

    console = Console()
    data = to_onnx(network, pixels=args.pixels, dtype="float32" if args.dtype == "int8" else args.dtype)
    comparison = None
    if args.dtype == "int8":
        data, comparison = _quantized(data, network, args, dataset, console)
    images, source = images_to_compare(args.network, network.info, dataset, console)
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


def _quantized(data: bytes, network: Any, args: ExportArgs, dataset: Any, console: Any) -> tuple[bytes, dict[str, Any]]:
    """Returns the file in int8, and how it compares with that in float32."""
    from fcnn.inference.onnx.quantize import compare_files, quantize, run_splits

    train, validation = run_splits(args.network, dataset, console)
    small = quantize(data, network.info, train, pixels=args.pixels)
    return small, compare_files(data, small, network.info, validation, pixels=args.pixels)


def _int8_line(comparison: dict[str, Any]) -> str:
    ms, size, top1 = comparison["ms"], comparison["bytes"], comparison.get("top1")
    lines = [
        f"int8 has {size['int8'] / size['float32']:.0%} of the size in float32",
        f"takes {ms['int8']:.2f} ms an image instead of {ms['float32']:.2f}",
    ]
    if top1 is not None:
        lines.append(f"and gets {top1['int8']:.2%} of the validation images right instead of {top1['float32']:.2%}")
    return ", ".join(lines) + "."
