"""Networks on the Hugging Face hub: downloaded with timm's config, used without a network afterwards, verified."""

import hashlib
import http.server
import json
import threading

import pytest
from harness import random_network
from huggingface_hub import constants
from PIL import Image
from safetensors.numpy import save_file

from fcnn import cli, zoo
from fcnn.weights import to_torch

CONFIG = {
    "architecture": "resnet18",
    "num_classes": 10,
    "pretrained_cfg": {
        "tag": "mine",
        "input_size": [3, 64, 64],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "crop_pct": 0.95,
        "interpolation": "bicubic",
        "label_names": [f"class {i}" for i in range(10)],
    },
}
ADDRESS = "/{repo_id}/resolve/{revision}/{filename}"


class Hub(http.server.SimpleHTTPRequestHandler):
    """Answers as the hub does: what a file's hash is stands in the header."""

    def do_HEAD(self):
        self._answer(b"")

    def do_GET(self):
        self._answer(None)

    def _answer(self, body):
        path = self.server.root / self.path.rsplit("/", 1)[-1]  # pyright: ignore[reportAttributeAccessIssue]  # set by the test
        if not self.path.startswith("/timm/mine/resolve/main/") or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if body is None else body)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def predict(tmp_path, monkeypatch, capsys):
    """Asks a network of a hub; returns the exit code, standard output and standard error."""

    def ask(name, endpoint):
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + ADDRESS)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        code = cli.main(["predict", name, str(tmp_path / "cat.png"), "--json"])
        return code, *capsys.readouterr()

    return ask


def test_a_name_is_downloaded_once_and_verified(tmp_path, predict):
    network = random_network("resnet18", classes=10)
    save_file(to_torch("resnet18", network.variables), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    Image.new("RGB", (80, 64), "red").save(tmp_path / "cat.png")
    with http.server.ThreadingHTTPServer(("localhost", 0), Hub) as server:
        server.root = tmp_path  # pyright: ignore[reportAttributeAccessIssue]  # set by the test
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://localhost:{server.server_port}"
        code, answers, errors = predict("timm/mine", endpoint)
        missing = predict("hf-hub:timm/other", endpoint)
        server.shutdown()
    assert code == 0, errors
    (answer,) = json.loads(answers)["predictions"]
    assert answer["class"].startswith("class ")
    assert (missing[0], missing[2].count("\n")) == (2, 1)
    assert "hf-hub:timm/other can't be downloaded from the hub: " in missing[2]
    assert predict("timm/mine", endpoint)[:2] == (0, answers)
    (blob,) = (path for path in (tmp_path / "cache").rglob("blobs/*") if path.stat().st_size > 1e5)
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")
    code, answers, errors = predict("timm/mine", endpoint)
    assert (code, answers) == (2, "")
    assert "is not the published timm/mine: its SHA-256 is another; remove " in errors


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("timm/resnet50.a1_in1k", True),
        ("hf-hub:me/net", True),
        ("hf-hub:me/net@main", True),
        ("me/net", False),
        ("timm/a/b", False),
        ("hf-hub:net", False),
        ("resnet50", False),
    ],
)
def test_which_names_are_of_the_hub(name, is_one):
    assert zoo.is_on_hub(name) == is_one
