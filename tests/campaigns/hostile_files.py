"""Files from strangers: images, published sets, weights, checkpoints, exports, JSON and lists, damaged or made to hurt.

Promise: the command that reads one ends within a minute with exit code 0, or with 2 and a line or two (1 where some of
several images can't be read); no traceback, no memory beyond MEGABYTES, nothing run, nothing written elsewhere.
"""

import atexit
import functools
import json
import random
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _hostile as hostile
import numpy as np
from _in_process import Answer, Runner
from PIL import Image

MEGABYTES = 1100
"""By which memory may rise: one image of 100 million pixels, in color with transparency, takes 800."""
PRESET = """
from fcnn.config import Config, DataConfig, ModelConfig, TrainConfig

CONFIG = Config(
    data=DataConfig(image_size=8), model=ModelConfig(name="linear"), train=TrainConfig(steps=2, batch_size=4)
)
"""
SIZES = {"input_size": [3, 8, 8], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9, "label_names": ["a", "b", "c"]}
TIMM = {"architecture": "resnet18", "num_classes": 3, "pretrained_cfg": SIZES} | SIZES
HEADS = (b"\x08\x07\x12\x07pytorch", b"\x89HDF\r\n\x1a\n", b"<html>", b"PK\3\4", b"\x93NUMPY\1\0", b"GGUF", b"{}", b"")
SHAPES = {"classifier.weight": (3, 192), "classifier.bias": (3,)}


@functools.cache
def runner() -> Runner:
    """The process that runs the commands, and a place for what it compiles."""
    cache = tempfile.mkdtemp(prefix="fcnn-hostile-")
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    made = Runner(
        {"XDG_CACHE_HOME": cache, "TMPDIR": cache, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[2])}
    )
    atexit.register(made.close)
    return made


@functools.cache
def good() -> Path:
    """A folder with a small set of photographs, a run on it, and its exports."""
    folder = Path(tempfile.mkdtemp(prefix="fcnn-good-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    for name in "abc":
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 256, (10, 10, 3)).astype(np.uint8)).save(folder / f"photos/{name}/{i}.png")
    (folder / "mine.py").write_text(PRESET)
    for args in (
        ["train", "--config", "mine.py", "--data.name", "folder:photos", "--workdir", "run"],
        ["export", "run"],
        ["export", "run", "--format", "stablehlo"],
        ["export", "run", "--format", "onnx"],
    ):
        answer = runner().run(args, folder)
        assert answer.code == 0, answer
    return folder


def kind_of(number: int) -> str:
    """Returns the kind of a case."""
    weights = [weight for _, weight in KINDS.values()]
    return random.Random(f"kind {number}").choices(list(KINDS), weights)[0]


def case(number: int, folder: Path) -> tuple[str, str | None]:
    """Lays out the files of a case and opens them."""
    rng, kind = random.Random(number), kind_of(number)
    args = KINDS[kind][0](rng, folder)
    return f"{kind}: fcnn {' '.join(args)}", lost(runner().run(args, folder), args[0], folder)


def lost(answer: Answer, command: str, folder: Path) -> str | None:
    """Returns what was lost, None if nothing was."""
    if answer.error:
        return answer.error[-1500:]
    if answer.code not in ((0, 1, 2) if command == "predict" else (0, 2)):
        return f"exit code {answer.code}: {answer.printed[-500:]}"
    lines = answer.printed.strip().splitlines()
    if answer.code == 2 and (len(lines) > 3 or len(answer.printed) > 1500):
        return f"{len(lines)} lines: {answer.printed[:500]}"
    if "Traceback" in answer.printed or "\x1b" in answer.printed:
        return f"printed {answer.printed[-1500:]!r}"
    if answer.deeds or (folder / "marker").exists():
        return f"it did {answer.deeds or 'make a file'}"
    if answer.megabytes > MEGABYTES:
        return f"{answer.megabytes} MB"
    return None


def images(rng: random.Random, folder: Path) -> list[str]:
    for i in range(10):
        ending, data = hostile.image(rng)
        if rng.random() < 0.1:
            ending = rng.choice(("png", "jpg", "gif", "tif", "bmp", "webp"))
        path = folder / "photos" / "ab"[i % 2] / f"{i}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if rng.random() < 0.5:
        return ["predict", str(good() / "run/model.safetensors"), "photos", *rng.choice(([], ["--json"]))]
    skip = ["--data.on-bad-image", "skip"] if rng.random() < 0.8 else []
    return ["data", "prepare", "folder:photos", "--data.image-size", rng.choice(("8", "32")), *skip]


def mnist(rng: random.Random, folder: Path) -> list[str]:
    for split in ("train", "t10k"):
        for name in ("images-idx3", "labels-idx1"):
            (folder / f"{split}-{name}-ubyte").write_bytes(hostile.idx(rng))
    return ["data", "prepare", rng.choice(("mnist", "fashion_mnist")), "--data.manual-dir", "."]


def cifar(rng: random.Random, folder: Path) -> list[str]:
    name = rng.choice(("cifar10", "cifar100"))
    parts = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"] if name == "cifar10" else ["train", "test"]
    for part in parts:
        (folder / part).write_bytes(hostile.cifar(rng))
    return ["data", "prepare", name, "--data.manual-dir", "."]


def safetensors(rng: random.Random, folder: Path) -> list[str]:
    data = (good() / "run/model.safetensors").read_bytes()
    if rng.random() < 0.5:
        data = hostile.damaged(rng, data)
    else:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        if rng.random() < 0.6:
            header["__metadata__"]["fcnn"] = _text(hostile.damaged_json(rng, header["__metadata__"]["fcnn"]))
            made = json.dumps(header).encode()
        else:
            made = hostile.damaged_json(rng, json.dumps(header))
        data = struct.pack("<Q", len(made)) + made + data[8 + size :]
    (folder / "w.safetensors").write_bytes(data)
    return _open(rng, "w.safetensors")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _open(rng: random.Random, path: str) -> list[str]:
    """Returns a command that reads weights or a run."""
    if rng.random() < 0.5:
        return ["predict", path, str(good() / "photos/a/0.png")]
    return ["export", path, "--out", "out.safetensors"]


def torch(rng: random.Random, folder: Path) -> list[str]:
    (folder / "w.pth").write_bytes(hostile.torch_file(rng, SHAPES))
    if rng.random() < 0.3:
        (folder / "config.json").write_bytes(hostile.damaged_json(rng, json.dumps(TIMM)))
    model = ["--model", "linear"] if rng.random() < 0.7 else []
    return ["convert", "w.pth", *model, "--out", "out.safetensors"]


def other_weights(rng: random.Random, folder: Path) -> list[str]:
    """An ONNX model, an HDF5 file, a web page, an archive: nothing that is read."""
    name = rng.choice(("w.onnx", "w.bin", "w.safetensors", "w.pth", "w.h5", "w"))
    (folder / name).write_bytes(hostile.damaged(rng, rng.choice(HEADS) + rng.randbytes(rng.choice((0, 20, 2000)))))
    return ["convert", name, "--out", "out.safetensors"]


def checkpoint(rng: random.Random, folder: Path) -> list[str]:
    shutil.copytree(good() / "run", folder / "run", ignore=shutil.ignore_patterns("model.*", "tensorboard"))
    if rng.random() < 0.3:
        return _declared(rng, folder)
    files = sorted(path for path in (folder / "run/checkpoints").rglob("*") if path.is_file())
    first = files[0].read_bytes()
    for path in rng.sample(files, rng.choice((1, 1, 2, len(files)))):
        data = path.read_bytes()
        if rng.random() < 0.1:
            path.unlink()
        elif data[:1] == b"{":
            path.write_bytes(hostile.damaged_json(rng, data.decode()))
        else:
            path.write_bytes(hostile.damaged(rng, data) if rng.random() < 0.9 else first)
    return _open(rng, "run")


def _declared(rng: random.Random, folder: Path) -> list[str]:
    """A checkpoint whose arrays say another shape, type or chunks than they have; all checksums are right."""
    import tensorstore

    base = next((folder / "run/checkpoints").glob("*/state"))
    store: Any = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{base.absolute()}/"}).result()
    headers = [key for key in store.list().result() if key.endswith(b".zarray")]
    for key in rng.sample(headers, rng.choice((1, len(headers)))):
        header = json.loads(store.read(key).result().value)
        if rng.random() < 0.7:
            header["shape"] = [rng.choice((1, 10**4, 10**5, 10**6, 10**9)) for _ in header["shape"]]
            header["chunks"] = rng.choice((header["chunks"], header["shape"]))
            store.write(key, json.dumps(header).encode()).result()
        else:
            store.write(key, hostile.damaged_json(rng, json.dumps(header))).result()
    return _open(rng, "run")


def run_files(rng: random.Random, folder: Path) -> list[str]:
    shutil.copytree(good() / "run", folder / "run", ignore=shutil.ignore_patterns("model.*", "tensorboard"))
    path = folder / "run" / rng.choice(("config.json", "data.json"))
    path.write_bytes(hostile.damaged_json(rng, path.read_text()))
    return _open(rng, "run")


def stablehlo(rng: random.Random, folder: Path) -> list[str]:
    for name in ("model.stablehlo", "model.stablehlo.json"):
        shutil.copy(good() / "run" / name, folder / name)
    beside = folder / "model.stablehlo.json"
    beside.write_bytes(hostile.damaged_json(rng, beside.read_text()))
    return ["predict", "model.stablehlo", str(good() / "photos/a/0.png")]


def onnx(rng: random.Random, folder: Path) -> list[str]:
    path = folder / "model.onnx"
    path.write_bytes(hostile.onnx_file(rng, (good() / "run/model.onnx").read_bytes()))
    return ["predict", "model.onnx", str(good() / "photos/a/0.png")]


def lists(rng: random.Random, folder: Path) -> list[str]:
    """Corrections, or the splits of an earlier run."""
    shutil.copytree(good() / "photos", folder / "photos")
    if rng.random() < 0.5:
        text = "path,label\na/0.png,b\nb/1.png,-\nc/2.png,\n"
        (folder / "list.csv").write_bytes(hostile.damaged(rng, text.encode()))
        options = ["--data.corrections", "list.csv"]
    else:
        (folder / "list.csv").write_bytes(hostile.damaged(rng, (good() / "run/splits.csv").read_bytes()))
        options = ["--data.splits", "list.csv"]
    return ["data", "prepare", "folder:photos", "--data.image-size", "8", *options]


def cached(rng: random.Random, folder: Path) -> list[str]:
    """What an earlier command keeps of a folder: never believed where it is damaged."""
    shutil.copytree(good() / "photos", folder / "photos")
    args = ["data", "prepare", "folder:photos", "--data.image-size", "8"]
    assert runner().run(args, folder).code == 0
    for path in sorted(path for path in (folder / "prepared").rglob("*") if path.is_file()):
        if rng.random() < 0.6:
            data = path.read_bytes()
            path.write_bytes(
                hostile.damaged_json(rng, data.decode()) if data[:1] in b"{[" else hostile.damaged(rng, data)
            )
    return args


KINDS: dict[str, tuple[Callable[[random.Random, Path], list[str]], int]] = {
    "images": (images, 20), "mnist": (mnist, 8), "cifar": (cifar, 10), "safetensors": (safetensors, 14),
    "torch": (torch, 16), "other weights": (other_weights, 4), "checkpoint": (checkpoint, 10), "run": (run_files, 8),
    "stablehlo": (stablehlo, 3), "onnx": (onnx, 6), "lists": (lists, 4), "cache": (cached, 3),
}  # fmt: skip
"""How a case lays out its files, returning the command that reads them, and how often it is chosen."""
