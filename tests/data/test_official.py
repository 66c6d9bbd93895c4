"""The published sets: files found, verified, read and prepared; the wrong ones named; the real ones where they are."""

import dataclasses
import gzip
import hashlib
import http.server
import pickle
import struct
import tarfile
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fcnn.config import DataConfig
from fcnn.data import builders, formats, load, obtain, official
from fcnn.utils.errors import UserError

RNG = np.random.default_rng(0)
SIZES = {"train": 20, "test": 10}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_files(brightness: int) -> dict[str, bytes]:
    """The four files of a small set like MNIST, gzipped."""
    files = {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        images = RNG.integers(0, brightness, (SIZES[split], 28, 28)).astype(np.uint8)
        files[f"{stem}-images-idx3-ubyte"] = idx(images)
        files[f"{stem}-labels-idx1-ubyte"] = idx(np.arange(SIZES[split], dtype=np.uint8) % 10)
    return files


def like(
    published: official.OfficialSet, files: dict[str, bytes], base: str = "http://localhost:1/"
) -> official.OfficialSet:
    """A published set whose files are these, by name and without .gz."""
    parts = []
    for file in published.files:
        packed = gzip.compress(files[file.name.removesuffix(".gz")], mtime=0)
        names = {name: hashlib.sha256(packed).hexdigest() if name.endswith(".gz") else None for name in file.names}
        parts.append(dataclasses.replace(file, url=base + file.name, names=names))
    mean = np.frombuffer(files["train-images-idx3-ubyte"], np.uint8, offset=16).mean() / 255
    counts = {split: (size // 10,) * 10 for split, size in SIZES.items()}
    return dataclasses.replace(published, files=tuple(parts), counts=counts, mean=(mean,), content={})


@pytest.fixture
def small(monkeypatch):
    """MNIST and Fashion-MNIST with a few images of noise, dark and bright, under their own file names."""
    files = {"mnist": idx_files(60), "fashion_mnist": idx_files(250)}
    for name, table in ((name, builders.BUILDERS[name]) for name in ("mnist", "fashion_mnist")):
        made = like(official.SETS[name], files[name])
        monkeypatch.setitem(official.SETS, name, made)
        monkeypatch.setattr(table, "OFFICIAL", made)
    return files


def lay(folder: Path, files: dict[str, bytes], *, packed: bool, dotted: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        name = name.replace("-idx", ".idx") if dotted else name
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data, mtime=0) if packed else data)


def find(name: str, folder: Path | None):
    return obtain.obtain(official.SETS[name], folder, lambda _: None)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["", "mnist", "MNIST/raw"])
def test_files_are_found_packed_or_not_here_or_in_a_folder_of_theirs(small, tmp_path, packed, place):
    lay(tmp_path / place, small["mnist"], packed=packed)
    images, labels = find("mnist", tmp_path)["train"]
    assert images.shape == (20, 28, 28, 1)
    assert idx(images[..., 0]) == small["mnist"]["train-images-idx3-ubyte"]
    assert labels.tolist() == [*range(10)] * 2


def test_two_sets_with_the_same_file_names_lie_side_by_side(small, tmp_path):
    lay(tmp_path / "mnist", small["mnist"], packed=False, dotted=True)
    lay(tmp_path / "fashion_mnist", small["fashion_mnist"], packed=True)
    assert find("mnist", tmp_path)["train"][0].max() < 60
    assert find("fashion_mnist", tmp_path)["train"][0].max() > 200


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("mine", "other"), [("mnist", "fashion_mnist"), ("fashion_mnist", "mnist")])
def test_the_other_sets_files_are_refused_by_name(small, tmp_path, packed, mine, other):
    lay(tmp_path, small[other], packed=packed)
    with pytest.raises(UserError, match=rf"it is (the one of )?{other}\. Put these 4 files") as caught:
        find(mine, tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_damaged_and_missing_files_are_named_with_what_would_be_right(small, tmp_path):
    files = small["mnist"]
    lay(tmp_path / "a", files, packed=True)
    (tmp_path / "a/t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte.gz is not the file that mnist is published as"):
        find("mnist", tmp_path / "a")
    lay(tmp_path / "b", files, packed=False)
    (tmp_path / "b/t10k-images-idx3-ubyte").write_bytes(files["t10k-images-idx3-ubyte"][:-5])
    with pytest.raises(UserError, match=r"should hold .* bytes"):
        find("mnist", tmp_path / "b")
    lay(tmp_path / "c", {**files, "train-labels-idx1-ubyte": idx(np.zeros(20, np.uint8))}, packed=False)
    with pytest.raises(UserError, match="images of each class are 20 0 0"):
        find("mnist", tmp_path / "c")
    (tmp_path / "b/t10k-images-idx3-ubyte").unlink()
    with pytest.raises(UserError, match=r"has no t10k-images-idx3-ubyte.gz. Put these 4 files"):
        find("mnist", tmp_path / "b")
    with pytest.raises(UserError, match="there is no folder"):
        find("mnist", tmp_path / "nowhere")


def test_a_known_content_is_compared_whole(small, tmp_path):
    lay(tmp_path, small["mnist"], packed=False)
    splits = find("mnist", tmp_path)
    content = hashlib.sha256(b"".join(array.astype(np.uint8).tobytes() for array in splits["train"])).hexdigest()
    known = dataclasses.replace(official.SETS["mnist"], content={"train": content})
    assert known.fault(splits) is None
    swapped = splits["train"][0][:, ::-1]
    assert "not the published ones" in (known.fault({**splits, "train": (swapped, splits["train"][1])}) or "")


@pytest.fixture
def server(tmp_path):
    """Serves a folder, and counts what is asked for."""
    predicted_places = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args) -> None:
            super().__init__(*args, directory=str(tmp_path / "served"))

        def do_GET(self) -> None:
            predicted_places.append(self.path)
            if self.path.endswith("cut"):
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"x" * 10)
                return
            super().do_GET()

        def log_message(self, *_) -> None:
            pass

    with http.server.ThreadingHTTPServer(("localhost", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://localhost:{web.server_port}/", predicted_places
        web.shutdown()


def test_files_are_downloaded_once_and_verified(server, tmp_path, data_folder):
    base, predicted_places = server
    files = idx_files(60)
    lay(tmp_path / "served", files, packed=True)
    mine = like(official.MNIST, files, base)
    said = []
    assert len(obtain.obtain(mine, None, said.append)["test"][1]) == 10
    assert (len(predicted_places), len(said)) == (4, 4)
    obtain.obtain(mine, None, said.append)
    assert len(predicted_places) == 4
    name = "t10k-images-idx3-ubyte.gz"
    (data_folder / "downloads/fcnn/mnist" / name).write_bytes(b"damaged")
    obtain.obtain(mine, None, said.append)
    assert predicted_places[4:] == [f"/{name}"]
    (data_folder / "downloads/fcnn/mnist" / name).unlink()
    (tmp_path / "served" / name).write_bytes(b"someone else's")
    with pytest.raises(UserError, match="is not the published mnist: its SHA-256 is"):
        obtain.obtain(mine, None, said.append)


def test_no_network_is_one_error_that_says_which_files_go_where(server, data_folder, monkeypatch):
    mine = like(official.MNIST, idx_files(60), server[0])
    with pytest.raises(UserError, match=r"can't be downloaded .*[Nn]ot [Ff]ound") as caught:
        obtain.obtain(mine, None, lambda _: None)
    for file in official.MNIST.files:
        assert file.name in str(caught.value)
    assert "--data.manual-dir" in str(caught.value)
    assert "\n" not in str(caught.value)
    cut = dataclasses.replace(mine.files[0], url=server[0] + "cut")
    with pytest.raises(UserError, match="ended after 10 of 1,000 bytes"):
        obtain.obtain(dataclasses.replace(mine, files=(cut,)), None, lambda _: None)
    assert not {file.name for file in mine.files} & {p.name for p in (data_folder / "downloads/fcnn/mnist").iterdir()}


def test_a_set_is_prepared_and_comes_back_as_published(small, tmp_path, data_folder):
    lay(tmp_path / "files", small["mnist"], packed=True)
    config = DataConfig(name="mnist", manual_dir=str(tmp_path / "files"), val_fraction=0.2)
    said = []
    found = load(config, log=said.append)
    assert said == [f"Preparing mnist in {data_folder}/fcnn_mnist/1.0.0 (once) ..."]
    assert list(data_folder.glob("fcnn_mnist/1.0.0/*.array_record*"))
    images, labels = obtain.obtain(official.SETS["mnist"], tmp_path / "files", lambda _: None)["test"]
    assert np.array_equal(found.test.images, images)
    assert np.array_equal(found.test.labels, labels)
    assert (len(found.train), len(found.validation)) == (16, 4)
    assert (found.classes, found.train.images.dtype) == (tuple("0123456789"), np.uint8)
    # From now on the files aren't needed, and nothing is decoded.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fcnn.data.stock.open_image", None)
        again = load(dataclasses.replace(config, manual_dir=None), log=said.append)
    assert np.array_equal(again.train.images, found.train.images)
    assert len(said) == 1


def cifar_parts(fine: bool) -> dict[str, tuple[np.ndarray, ...]]:
    """Rows of 3072 bytes and labels, by the name of the file they go into."""
    names = ["train", "test"] if fine else [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return {
        n: (RNG.integers(0, 256, (7, 3072)).astype(np.uint8), RNG.integers(0, 10, 7).astype(np.uint8)) for n in names
    }


def old_pickle(rows: np.ndarray, labels: np.ndarray, key: str) -> bytes:
    """As Python 2 and its NumPy wrote a batch: byte strings, `numpy.core`, a dtype with `align` as a number."""

    def string(data: bytes) -> bytes:
        return b"T" + struct.pack("<I", len(data)) + data

    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + string(b"b") + b"tR"
    array += b"(K\x01K\x07M\x00\x0c\x86cnumpy\ndtype\n(" + string(b"u1") + b"K\x00K\x01tR"
    array += b"(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array += b"\x89" + string(rows.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + string(b"data") + array + string(key.encode()) + numbers + b"u."


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("form", ["binary", "python 2", "python 3"])
@pytest.mark.parametrize("archive", [False, True])
def test_every_version_of_cifar_gives_the_same_images(tmp_path, fine, form, archive):
    parts = cifar_parts(fine)
    folder = tmp_path / "cifar"
    folder.mkdir()
    key = "fine_labels" if fine else "labels"
    for name, (rows, labels) in parts.items():
        if form == "binary":
            coarse = [np.full((7, 1), 99, np.uint8)] if fine else []
            (folder / f"{name}.bin").write_bytes(np.hstack([*coarse, labels[:, None], rows]).tobytes())
        elif form == "python 2":
            (folder / name).write_bytes(old_pickle(rows, labels, key))
        else:
            batch = {"data": rows, key: labels.tolist(), "coarse_labels": [1] * 7}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    source = folder
    if archive:
        source = tmp_path / "cifar.tar.gz"
        with tarfile.open(source, "w:gz") as tar:
            tar.add(folder, "cifar")
    found = formats.read_cifar(source, fine=fine)
    assert len(found["train"][1]) == (7 if fine else 35)
    rows, labels = parts["test" if fine else "test_batch"]
    assert np.array_equal(found["test"][0], rows.reshape(7, 3, 32, 32).transpose(0, 2, 3, 1))
    assert found["test"][1].tolist() == labels.tolist()


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_cannot_run_anything(tmp_path):
    victim = tmp_path / "touched"
    for made in (Harm(victim), {"data": Harm(victim)}, np.asarray([Harm(victim)], object)):
        with pytest.raises(ValueError, match="it wants to call"):
            formats.unpickle_batch(pickle.dumps(made, protocol=2), "labels")
    assert not victim.exists()
    for code in (b"cos\nsystem\n(X\x04\x00\x00\x00truetR.", b"cbuiltins\neval\n(X\x01\x00\x00\x001tR."):
        with pytest.raises(ValueError, match="it wants to call"):
            formats.unpickle_batch(code, "labels")


def numbers(count: int) -> bytes:
    return count.to_bytes(4, "little")


SMALL = (  # files of a few bytes that ask for gigabytes
    ("data_batch_1", b"\x80\x04Nr\xff\xff\xff\x0f."),  # a place in the memo
    ("data_batch_1", b"\x80\x05\x96" + numbers(2**31 - 1) + bytes(4) + b"."),
    ("data_batch_1", b"\x80\x02}(U\x04data](" + b"]q\x00" + (b"(" + b"h\x00" * 50 + b"eq\x00") * 50 + b"eu."),
    ("train-images-idx3-ubyte", struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)),
    ("train-images-idx3-ubyte", struct.pack(">4B3I", 0, 0, 8, 3, 2**14, 2**14, 1)),
    ("train-images-idx3-ubyte", gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 1, 1, 1) + bytes(10**8), 1)),
)


@pytest.mark.parametrize(("name", "data"), SMALL)
def test_a_small_file_takes_little_memory(name, data, tmp_path):
    names = [f"data_batch_{i}" for i in range(1, 6)] if "batch" in name else []
    others = ["train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"] if not names else []
    for one in {name, *names, "test_batch", *others}:
        (tmp_path / one).write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="can't be read as"):
            find("cifar10" if names else "mnist", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_the_real_cifar10_and_mnist_are_those_that_we_know(real):
    """By the SHA-256 of every pixel and label; CIFAR-10 lies there extracted, MNIST packed."""
    for name, size in (("cifar10", 50_000), ("mnist", 60_000)):
        splits = find(name, real)
        assert len(splits["train"][1]) == size
        assert set(official.SETS[name].content) == {"train", "test"}


def test_the_real_mnist_is_not_fashion_mnist(real, tmp_path):
    with pytest.raises(UserError, match="it is the one of mnist"):
        find("fashion_mnist", real / "mnist")
    for path in (real / "mnist").iterdir():
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert len(find("mnist", tmp_path)["test"][1]) == 10_000
    with pytest.raises(UserError, match="it is mnist"):
        find("fashion_mnist", tmp_path)
    with pytest.raises(UserError, match=r"can't be read as cifar100|it is cifar10|has no"):
        find("cifar100", real / "cifar-10-batches-bin")
