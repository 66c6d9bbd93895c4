"""The zoo: what ships is what its card says; what is downloaded is whole, verified, and never asked for twice."""

import contextlib
import functools
import hashlib
import http.server
import json
import re
import socket
import threading

import numpy as np
import pytest
from harness import ROOT, random_network
from PIL import Image

from fcnn import cli, zoo
from fcnn.config import ModelConfig
from fcnn.training.pretrained import load_network
from fcnn.utils.errors import UserError
from fcnn.utils.version import without_version
from fcnn.weights import read_network, write_network
from fcnn.weights.files import read_arrays

BUILT_IN = [entry for entry in zoo.TABLE.values() if entry.url is None and entry.package is None]


class Server(http.server.SimpleHTTPRequestHandler):
    """A server that knows Range, and may cut the connection."""

    cut: int | None = None
    """After so many bytes of an answer."""
    ranges = True
    asked: list[str | None]

    def do_GET(self):
        self.asked.append(self.headers["Range"])
        data = (self.server.root / self.path.lstrip("/")).read_bytes()  # pyright: ignore[reportAttributeAccessIssue]
        first = 0
        if self.ranges and (found := re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")):
            first = int(found[1])
        if first >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        self.wfile.write(data[first:][: self.cut])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A network on a server, as the zoo's only entry; and the class that answers."""
    monkeypatch.setenv("FCNN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "published").mkdir()
    write_network(tmp_path / "published" / "lenet.safetensors", random_network("lenet5", width_multiplier=0.5))
    handler = type("Handler", (Server,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.root = tmp_path / "published"  # pyright: ignore[reportAttributeAccessIssue]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    entry = functools.partial(
        zoo.Entry, name="lenet", model=ModelConfig(name="lenet5", width_multiplier=0.5),
        source="nothing", accuracy=0.25,
        megabytes=0.1, license="none",
    )  # fmt: skip
    digits = hashlib.sha256((tmp_path / "published" / "lenet.safetensors").read_bytes()).hexdigest()
    made = entry(sha256=digits[:8], url=f"http://127.0.0.1:{server.server_port}/lenet.safetensors")
    monkeypatch.setitem(zoo.TABLE, "lenet", made)
    yield made, handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_name_is_downloaded_once_and_read_as_any_file(served, tmp_path, capsys):
    entry, handler = served
    assert not zoo.is_here(entry)
    network = load_network("lenet")
    assert network.info == random_network("lenet5", width_multiplier=0.5).info
    assert zoo.where(entry) == tmp_path / "cache" / "weights" / "lenet.safetensors"
    assert f"Downloading {entry.url}, 0." in capsys.readouterr().err
    load_network("lenet")
    assert handler.asked == [None]
    assert sorted(path.name for path in zoo.folder().iterdir()) == ["lenet.safetensors", "lenet.safetensors.lock"]
    # By the commands.
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    assert cli.main(["predict", "lenet", str(tmp_path / "black.png")]) == 0
    assert cli.main(["zoo", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["here"] for row in told["networks"] if row["name"] == "lenet"] == [True]
    with pytest.raises(UserError, match=r"the network in lenet has model\.name lenet5, not resnet20"):
        load_network("lenet", ModelConfig(name="resnet20"))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_goes_on_where_it_ended(served, ranges):
    entry, handler = served
    handler.cut, handler.ranges = 1000, ranges
    with pytest.raises(UserError, match=rf"{entry.url} can't be downloaded .* put it there: {zoo.where(entry)}"):
        zoo.obtain(entry)
    part = zoo.where(entry).with_name("lenet.safetensors.part")
    assert part.stat().st_size == 1000
    assert not zoo.is_here(entry)
    handler.cut = None
    zoo.obtain(entry)
    assert handler.asked == [None, "bytes=1000-"]
    assert read_network(zoo.where(entry), None).info.model == entry.model
    assert not part.exists()


def test_a_part_that_is_already_whole_is_used(served, tmp_path):
    entry, handler = served
    zoo.folder().mkdir(parents=True)
    data = (tmp_path / "published" / "lenet.safetensors").read_bytes()
    zoo.where(entry).with_name("lenet.safetensors.part").write_bytes(data)
    zoo.obtain(entry)
    assert handler.asked == [f"bytes={len(data)}-"]


def test_another_file_than_the_published_one_never_gets_the_name(served, tmp_path, capsys):
    entry, _ = served
    path = tmp_path / "published" / "lenet.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=rf"is not the published lenet: its SHA-256 is \w{{8}}, not {entry.sha256}; it"):
        zoo.obtain(entry)
    assert [path.name for path in zoo.folder().iterdir()] == ["lenet.safetensors.lock"]
    zoo.where(entry).write_bytes(b"put there by hand")  # the same is asked of it
    assert cli.main(["export", "lenet", "--out", str(tmp_path / "out.safetensors")]) == 2
    assert re.search(
        r"fcnn: .*lenet\.safetensors is not the published lenet: .*; remove it\n$", capsys.readouterr().err
    )


def test_without_a_network_the_error_says_what_to_put_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FCNN_CACHE", str(tmp_path))
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/resnet18-f37072fd.pth"
    entry = zoo.TABLE["resnet18"]
    monkeypatch.setitem(zoo.TABLE, "resnet18", type(entry)(**{**vars(entry), "url": url}))
    assert cli.main(["convert", "resnet18", "--out", str(tmp_path / "out.safetensors")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{url} can't be downloaded" in said
    assert f"put it there: {tmp_path}/weights/resnet18-f37072fd.pth" in said
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("entry", BUILT_IN, ids=lambda entry: entry.name)
def test_what_ships_is_what_its_card_says(entry, tmp_path):
    """The file, its checksum, and the card beside it; where it was tested the accuracy is that of the table."""
    path = zoo.obtain(entry)
    assert len(entry.sha256) == 64
    assert path.stat().st_size <= 2e6
    assert f"{path.stat().st_size / 1e6:.1f}" == f"{entry.megabytes:.1f}"
    network = load_network(entry.name)
    assert network.info.model == entry.model
    card = path.with_suffix(".md").read_text()
    for told in (entry.sha256, f"{100 * entry.accuracy:.2f} %", entry.source, entry.license, "seed", "fcnn train"):
        assert told in card, told
    for name in network.info.classes:
        assert name in card
    Image.new("RGB", (40, 32)).save(tmp_path / "cat.png")
    assert cli.main(["predict", entry.name, str(tmp_path / "cat.png"), "--json"]) == 0
    assert cli.main(["export", entry.name, "--out", str(tmp_path / "again.safetensors")]) == 0
    (arrays, header), (shipped, of_shipped) = read_arrays(tmp_path / "again.safetensors"), read_arrays(path)
    assert {name: array.tobytes() for name, array in arrays.items()} == {n: a.tobytes() for n, a in shipped.items()}
    # Before there was a version in it.
    assert without_version(json.loads(str(header))) == without_version(json.loads(str(of_shipped)))
    assert str(ROOT) not in card
    assert np.isfinite(network.variables["params"]["head"]["bias"]).all()


def test_names_are_told_apart(capsys):
    assert cli.main(["zoo"]) == 0
    printed = capsys.readouterr().out
    for name, entry in zoo.TABLE.items():
        assert name == entry.name
        assert f"\n{name} " in printed
        assert entry.url is None or f"-{entry.sha256}." in entry.url
    with pytest.raises(UserError, match=r"unknown network 'resnet81'; did you mean resnet18"):
        load_network("resnet81")
