"""The page: template, scripts and styles of this folder, with the network, its description and the runtime inside."""

import base64
import gzip
import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from fcnn.inference.html.runtime import SCRIPT, WASM, integrity, read_runtime
from fcnn.utils.errors import UserError
from fcnn.utils.files import write_bytes
from fcnn.utils.html import STYLE, table
from fcnn.utils.text import join, printable
from fcnn.utils.version import VERSION
from fcnn.weights import Network, NetworkInfo

FOLDER = Path(__file__).parent
SCRIPTS = ("resize.js", "jpeg.js", "answers.js", "files.js", "camera.js", "network.js", "view.js", "page.js")
"""In an order in which each imports only from those before it; in the page they are one script."""
MAX_BYTES = 256 << 20
"""Of a network in a page: browsers hold a text of at most half a gigabyte."""


def write_html(path: Path, network: Network, runtime: Path | None = None) -> int:
    """Writes a network as a page that classifies images, whole or not at all; returns its size in bytes.

    Args:
      runtime: the unpacked npm package onnxruntime-web, which is then inside; else the page loads it when it is opened.

    Raises:
      UserError: the page can't be written, or the network is nothing for a browser.
    """
    info = network.info
    if info.value_range is not None:
        raise UserError("the network's images have gray values of more than 8 bits, which browsers don't read")
    files = {} if runtime is None else read_runtime(runtime)  # before the network, which takes longer
    from fcnn.inference.onnx.export import to_onnx  # it needs the extra "onnx"

    model = to_onnx(network, pixels=True)
    if len(model) > MAX_BYTES:
        raise UserError(f"{info.name} has {len(model) >> 20:,} MB; a page can hold a network of {MAX_BYTES >> 20} MB")
    page = build_page(info, model, files)
    write_bytes(path, page)
    return len(page)


def build_page(info: NetworkInfo, model: bytes, runtime: Mapping[str, bytes]) -> bytes:
    """Returns the page of a network.

    Args:
      model: the network as ONNX, from pixels to probabilities.
      runtime: the files of the runtime by their ids; empty if the page is to load them.
    """
    means = info.calibration.means(len(info.classes))
    assets = {"model": model, **runtime} | ({} if means is None else {"means": means.astype("<f4").tobytes()})
    style, script = STYLE + _read("style.css"), "".join(map(_without_imports, SCRIPTS))
    page = Template(_read("template.html")).substitute(
        title=escape(_title(info)),
        policy=escape(_policy(style, script, bool(runtime))),
        style=style,
        promise=escape(_promise(bool(runtime))),
        calibrated="The set holds the right class for this share of images, on average over images like the "
        f"{info.calibration.images:,} of the calibration.",
        about_network=table(_rows(info)),
        about=json.dumps(_about(info, bool(runtime))).replace("<", "\\u003c"),  # no end of the element in a name
        assets="\n".join(_asset(name, content) for name, content in assets.items()),
        script=script,
    )
    return page.encode("utf-8", "backslashreplace")


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _without_imports(name: str) -> str:
    return re.sub(r'^import .* from "\./.*";\n', "", _read(name), flags=re.MULTILINE)


def _asset(name: str, content: bytes) -> str:
    packed = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    return f'<script type="application/gzip+base64" id="{name}">{packed}</script>'


def _policy(style: str, script: str, inside: bool) -> str:
    """Returns what the page may do: run this script, which may compile WebAssembly and run the runtime's script, whose
    hash it has checked or which is in the page, from a blob; and load the two files of the runtime. Nothing else is
    loaded, nothing sent, and no text becomes HTML."""
    sources = "'none'" if inside else f"{SCRIPT.url} {WASM.url}"
    return (
        f"default-src 'none'; script-src '{integrity(script.encode(), 'sha256')}' 'wasm-unsafe-eval' blob:; "
        f"style-src '{integrity(style.encode(), 'sha256')}'; connect-src {sources}; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _about(info: NetworkInfo, inside: bool) -> dict[str, Any]:
    """Returns what the script has to know."""
    files = {"script": SCRIPT, "wasm": WASM}
    return {
        "classes": info.classes,
        "shape": info.image_shape,
        "crop": info.crop,
        "interpolation": info.interpolation,
        "thresholds": info.calibration.thresholds,
        "leastSimilarity": info.calibration.least_similarity if info.calibration.class_means else None,
        "runtime": {
            name: {"id": file.id} if inside else {"url": file.url, "integrity": file.integrity}
            for name, file in files.items()
        },
    }


def _title(info: NetworkInfo) -> str:
    names = list(map(printable, info.classes))
    if not info.named:
        return f"{len(names):,} classes"
    return (
        f"{', '.join(names[:-1])} or {names[-1]}?" if 1 < len(names) <= 8 else f"{len(names):,} classes: {join(names)}"
    )


def _promise(inside: bool) -> str:
    text = "Everything stays in this browser: the network is in this page, and no image leaves this device."
    host = SCRIPT.url.split("/")[2]
    return text + (" It works offline." if inside else f" The program that runs it is loaded from {host}.")


def _rows(info: NetworkInfo) -> list[tuple[str, str]]:
    height, width, channels = info.image_shape
    return [
        ("architecture", info.name),
        ("classes", join(map(printable, info.classes), 1000)),
        ("images", f"{height} x {width} pixels, {'in color' if channels == 3 else 'in gray'}"),
        ("read", f"{100 * info.crop:.3g} % of a photograph's height and width, from its center, {info.interpolation}"),
        ("calibrated on", f"{info.calibration.images:,} images" if info.calibration.images else "nothing"),
        ("written by", f"fcnn {VERSION}"),
    ]
