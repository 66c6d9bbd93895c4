"""The service of docs/service.md: its own code behind a real server, asked by real HTTP."""

import concurrent.futures
import contextlib
import http.client
import io
import json
import re
import shlex
import shutil
import socket
import struct
import subprocess
import threading
import time
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from harness import ROOT, start
from PIL import Image

PAGE = (ROOT / "docs/service.md").read_text()
PROGRAM = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
SERVE, ASK = re.findall(r"^(?:uvicorn|curl) .*$", PAGE, re.MULTILINE)
DIGIT = (ROOT / "docs/digit.png").read_bytes()


@contextlib.contextmanager
def serving(folder: Path, monkeypatch, **values: Any):
    """Runs the page's program with other values of its constants; yields it and its port."""
    shutil.copytree(ROOT / "tests/upgrades/0.1.0/run", folder / "runs/mine")
    monkeypatch.chdir(folder)
    service = types.ModuleType("service")
    exec(compile(PROGRAM, "service.py", "exec"), vars(service))
    vars(service).update(values)
    server = uvicorn.Server(uvicorn.Config(vars(service)["app"], port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield service, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def ask(port: int, data: bytes, path: str = "/predict", method: str = "POST") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, data)
        response = connection.getresponse()
        return response.status, response.read().decode()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class Counted:
    """A network that takes its time and counts the images of each batch."""

    def __init__(self, network):
        self.network, self.sizes = network, []

    def __getattr__(self, name):
        return getattr(self.network, name)

    def classify(self, images):
        self.sizes.append(len(images))
        time.sleep(0.2)
        return self.network.classify(images)


def test_many_ask_at_once_and_each_gets_its_answer(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    with serving(tmp_path, monkeypatch) as (service, port):
        network: Any = Counted(vars(service)["network"])
        vars(service)["network"] = network
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(lambda image: ask(port, png(image)), images))
        want = network.network.predict(images[..., None])
    for (status, text), row in zip(answers, want, strict=True):
        found = json.loads(text)
        order = row.argsort()[::-1][:5]
        assert status == 200
        assert found["class"] == network.classes[order[0]]
        assert [one["class"] for one in found["top"]] == [network.classes[i] for i in order]
        assert [one["probability"] for one in found["top"]] == pytest.approx(row[order], abs=1e-5)
    assert sum(network.sizes) == 40
    assert max(network.sizes) <= 32
    assert len(network.sizes) < 8


def test_what_can_t_be_answered_is_refused_and_the_next_is_answered(tmp_path, monkeypatch):
    noise = png(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    bomb = noise[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + noise[33:]
    with serving(tmp_path, monkeypatch, MAX_BYTES=20_000, SECONDS=0.5) as (_, port):
        assert ask(port, bytes(20_001)) == (413, "an image may have at most 20000 bytes")
        for data, words in (
            (b"", "not an image"),
            (b"hello", "not an image"),
            (noise[:5000], "truncated"),
            (bomb, "a decompression bomb"),
        ):
            status, text = ask(port, data)
            assert status == 400
            assert re.match(f"the image can't be read: .*{words}", text), text
            assert "\n" not in text
        assert ask(port, b"", method="GET")[0] == 405
        assert ask(port, b"", "/")[0] == 404
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        status, text = ask(port, DIGIT)
        assert status == 200
        assert json.loads(text)["class"] == "3"


@pytest.mark.slow
def test_the_page_s_commands(tmp_path):
    shutil.copytree(ROOT / "tests/upgrades/0.1.0/run", tmp_path / "runs/mine")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "service.py").write_text(PROGRAM)
    with start("-m", *shlex.split(SERVE), cwd=tmp_path) as server:
        try:
            assert server.stderr is not None
            assert any("Uvicorn running on http://127.0.0.1:8000" in line for line in server.stderr)
            answer = subprocess.run(shlex.split(ASK), cwd=tmp_path, capture_output=True, text=True, check=True).stdout
            assert json.loads(answer)["class"] == "3"
            connections = [socket.create_connection(("127.0.0.1", 8000)) for _ in range(100)]
            assert ask(8000, DIGIT)[0] == 503
            for connection in connections:
                connection.close()
            time.sleep(0.5)
            assert ask(8000, DIGIT)[0] == 200
        finally:
            server.terminate()
            server.communicate()
