"""What the tests of data share: the real sets where they are, and folders of small images."""

import os
from pathlib import Path

import pytest
from images import pixels
from PIL import Image


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real data sets that FCNN_SHARED_DATA names."""
    if "FCNN_SHARED_DATA" not in os.environ:
        pytest.skip("FCNN_SHARED_DATA is not set: no real data here")
    return Path(os.environ["FCNN_SHARED_DATA"])


@pytest.fixture
def data_folder(tmp_path, monkeypatch) -> Path:
    """An empty data folder for one test."""
    folder = tmp_path / "tfds"
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def draw():
    """Writes an image of its own to each path: `draw(folder, "a/1.png", "b/1.png")`."""
    count = iter(range(10**6))

    def write(folder: Path, *names: str) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels(next(count))).save(folder / name)

    return write
