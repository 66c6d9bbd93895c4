"""The page in a Chromium: opened from a file, given images as a reader gives them, compared with `fcnn predict`."""

import base64
import csv
import dataclasses
import io
import os
import time
from pathlib import Path

import chromium
import numpy as np
import pytest
from harness import random_network
from PIL import Image

from fcnn.calibration import Calibration, similarities
from fcnn.cli.predictions import csv_text
from fcnn.inference.html import runtime, write_html
from fcnn.inference.predict import load_classifier, predict, read_image
from fcnn.weights import write_network

pytestmark = pytest.mark.slow
STATUS = "document.getElementById('status')?.textContent"
SEEN = """(() => {
  const canvas = document.querySelector("#seen-picture canvas");
  return canvas && Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
})()"""
CLEAR = "for (const id of ['said', 'seen-picture']) document.getElementById(id).replaceChildren()"


@pytest.fixture(scope="module")
def package():
    """The unpacked npm package onnxruntime-web."""
    if "ONNXRUNTIME_WEB" not in os.environ:
        pytest.skip("ONNXRUNTIME_WEB names no folder with the unpacked npm package onnxruntime-web")
    return Path(os.environ["ONNXRUNTIME_WEB"])


@pytest.fixture
def tab(tmp_path):
    program = chromium.find()
    if program is None:
        pytest.skip(f"no Chromium: CHROMIUM names none, and none of {', '.join(chromium.NAMES)} is on the path")
    with chromium.tab(program, tmp_path / "profile") as tab:
        yield tab
        assert tab.complaints() == []


def calibrated_network(channels=3, least_similarity=0.7):
    """A network that knows images of none of its classes, and makes sets; names of classes are HTML."""
    network = random_network("resnet20", size=120, channels=channels, width_multiplier=0.5)
    calibration = Calibration(images=200, temperature=0.7, thresholds=tuple(np.linspace(0.2, 0.9, 50)))
    means = np.random.default_rng(0).uniform(size=(4, 32))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    info = dataclasses.replace(
        network.info,
        classes=("<img src=x onerror=alert(1)>", "b, or not", "c", "</script>"),
        crop=0.875,
        interpolation="bicubic",
        calibration=calibration.with_means(means, least_similarity, "stage3"),
    )
    return dataclasses.replace(network, info=info)


def write_images(folder):
    """Files of all kinds that browsers read, and 100 photographs where FCNN_SHARED_DATA has some; returns the paths."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (6, 9, 3)).astype(np.uint8)).resize((90, 61), Image.Resampling.BICUBIC)
    gray, transparent = photo.convert("L"), photo.copy()
    transparent.putalpha(Image.fromarray(rng.integers(0, 256, (61, 90)).astype(np.uint8)))
    kinds = {"rgb.png": photo, "gray.png": gray, "palette.gif": photo.convert("P"), "bits.png": gray.convert("1"),
             "transparent.png": transparent, "gray.jpg": gray, "cmyk.jpg": photo.convert("CMYK"), "photo.bmp": photo,
             "photo.webp": photo, "tall.png": photo.resize((40, 200)), "progressive.jpg": photo}  # fmt: skip
    for name, image in kinds.items():
        image.save(folder / name, progressive=name.startswith("progressive"))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo.save(folder / f"turned{orientation}.jpg", exif=exif, subsampling=orientation % 3)
    photos = sorted(Path(os.environ.get("FCNN_SHARED_DATA") or folder, "trash").rglob("*.jpg"))
    return [*sorted(folder.iterdir()), *photos[:: max(1, len(photos) // 100)][:100]]


def between(values):
    """Returns a number that no value is close to, with a quarter of them at least above and below."""
    values = np.sort(values)[len(values) // 4 : -len(values) // 4]
    gap = np.argmax(np.diff(values))
    return float(values[gap : gap + 2].mean())


def download(tab, folder):
    folder.mkdir()
    tab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    tab.ask("document.getElementById('download').click()")
    path, end = folder / "predictions.csv", time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    return path.read_text(encoding="utf-8")


def compare(found, want):
    """All cells are equal, probabilities to 1e-4; classes whose probabilities are as close may change places."""
    rows, expected = (list(csv.DictReader(io.StringIO(text))) for text in (found, want))
    assert [row["path"] for row in rows] == [row["path"] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert {key: row[key] for key in ("class", "set", "error")} == {
            key: other[key] for key in ("class", "set", "error")
        }
        for key in (key for key in row if key.startswith("probability")):
            assert abs(float(row[key]) - float(other[key])) < 1e-4


@pytest.mark.parametrize("channels", [3, 1])
def test_the_page_sees_and_says_what_predict_does(channels, tab, package, tmp_path):
    network, paths = calibrated_network(channels), write_images(tmp_path / "images")
    pixels = np.stack([read_image(path, network.info) for path in paths])
    write_network(tmp_path / "model.safetensors", network)
    features = load_classifier(str(tmp_path / "model.safetensors"))[1](pixels).features
    means = network.info.calibration.means(4)
    assert means is not None
    least = between(similarities(np.asarray(features), means).max(axis=1))
    network = calibrated_network(channels, least)
    write_network(tmp_path / "model.safetensors", network)
    write_html(tmp_path / "model.html", network, package)
    tab.open(tmp_path / "model.html")
    tab.wait(f"{STATUS} === 'Ready.'")
    for path, want in zip(paths, pixels, strict=True):
        tab.ask(CLEAR)
        tab.choose("#files", [path])
        tab.wait("document.getElementById('said').children.length > 0")
        seen = np.array(tab.ask(SEEN), np.uint8).reshape(120, 120, 4)[..., :channels]
        difference = np.abs(seen.astype(int) - want).max()
        assert difference <= 1, f"{path} differs by {difference}"
    tab.ask("document.getElementById('coverage').value = '80'")
    tab.ask("document.getElementById('coverage').onchange()")
    info, classify = load_classifier(str(tmp_path / "model.safetensors"))
    answers = list(predict(info, classify, paths, top=5, coverage=0.8))
    assert {answer["none_of_these"] for answer in answers} == {True, False}
    want = csv_text([answer | {"image": Path(answer["image"]).name} for answer in answers], 4)
    compare(download(tab, tmp_path / "downloads"), want)
    assert tab.ask("document.querySelectorAll('img, script:not([id]):not([type=module])').length") == 0


def test_images_come_by_drop_paste_and_camera_and_what_is_none_is_told(tab, package, tmp_path):
    write_html(tmp_path / "model.html", calibrated_network(), package)
    folder = tmp_path / "many"
    (folder / "inner").mkdir(parents=True)
    Image.new("RGB", (60, 60), "red").save(folder / "inner" / "a.png")
    Image.new("RGB", (60, 60), "red").save(tmp_path / "b.png")
    (folder / "c.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image, and not meant as one")
    Image.fromarray(np.full((60, 60), 40000, np.uint16)).save(folder / "deep.png")
    tab.open(tmp_path / "model.html")
    tab.wait(f"{STATUS} === 'Ready.'")
    data = {"items": [], "files": [str(folder), str(tmp_path / "b.png")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        tab.call("Input.dispatchDragEvent", type=kind, x=200, y=150, data=data)
    tab.wait(f"{STATUS}.startsWith('2 images: ') && {STATUS}.endsWith('; 2 can\\'t be used')")
    tab.ask("""(async () => {
      const data = new DataTransfer();
      const image = await new Promise((resolve) => document.createElement("canvas").toBlob(resolve));
      data.items.add(new File([image], "pasted.png", { type: "image/png" }));
      document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
    })()""")
    tab.wait(f"{STATUS}.startsWith('3 images: ')")
    tab.ask("document.getElementById('camera-start').click()")
    tab.wait("document.getElementById('video').videoWidth > 0")
    tab.ask("document.getElementById('camera-take').click()")
    tab.wait(f"{STATUS}.startsWith('4 images: ')")
    rows = list(csv.DictReader(io.StringIO(download(tab, tmp_path / "downloads"))))
    assert {row["path"]: row["error"] for row in rows} == {
        "many/c.jpg": "not an image that this browser can read",
        "many/deep.png": "gray values of more than 8 bits, but the network was trained on 8 bits",
        **dict.fromkeys(["many/inner/a.png", "b.png", "pasted.png", "camera-1.png"], ""),
    }


@pytest.mark.parametrize("spoiled", [None, runtime.SCRIPT, runtime.WASM], ids=["unchanged", "script", "wasm"])
def test_a_loaded_runtime_must_be_what_its_hashes_say(spoiled, package, tmp_path):
    program = chromium.find()
    if program is None:
        pytest.skip("no Chromium")
    write_html(tmp_path / "model.html", calibrated_network())
    files = {file.url: (package / "dist" / file.name).read_bytes() for file in (runtime.SCRIPT, runtime.WASM)}
    if spoiled:
        files[spoiled.url] += b" "
    answered = []
    with chromium.tab(program, tmp_path / "profile") as tab:
        tab.call("Fetch.enable", patterns=[{"urlPattern": "http*"}])
        tab.open(tmp_path / "model.html")
        while (status := tab.ask(STATUS)) == "The network is loading ...":
            for event in [e for e in tab.events if e.get("method") == "Fetch.requestPaused"]:
                tab.events.remove(event)
                request, url = event["params"]["requestId"], event["params"]["request"]["url"]
                answered.append(url)
                headers = [{"name": "Access-Control-Allow-Origin", "value": "*"}]
                body = base64.b64encode(files[url]).decode()
                tab.call(
                    "Fetch.fulfillRequest", requestId=request, responseCode=200, responseHeaders=headers, body=body
                )
    assert (
        status == "Ready." if spoiled is None else status.startswith("The page loads its runtime from cdn.jsdelivr.net")
    )
    assert answered == list(files)[: 1 if spoiled is runtime.SCRIPT else 2]
