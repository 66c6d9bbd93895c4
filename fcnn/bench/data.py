"""How many images a second reach the device from a folder of JPEGs, beside PyTorch's DataLoader on the same files."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from fcnn import parallel
from fcnn.data import Streamed
from fcnn.data.files import Files, random_box
from fcnn.data.parallel import cores
from fcnn.feed import Order, StreamFeed

LEAST = 0.08
"""Least share of the area that a random crop keeps."""


@dataclasses.dataclass(frozen=True)
class DataBench:
    """What was measured; throughputs in images/s, one for each turn."""

    count: int
    workers: int
    ours: list[float]
    torch: list[float]
    """Empty where PyTorch isn't installed."""

    def lines(self) -> list[str]:
        """For people."""
        told = [f"fcnn, {self.workers} threads: {statistics.median(self.ours):,.0f} images/s ({_all(self.ours)})"]
        if not self.torch:
            return [*told, "PyTorch is not installed: nothing to compare with"]
        ratios = [a / b for a, b in zip(self.ours, self.torch, strict=True)]
        told.append(
            f"PyTorch's DataLoader and Pillow, {self.workers} processes: {statistics.median(self.torch):,.0f} images/s "
            f"({_all(self.torch)})"
        )
        return [*told, f"ratio, median of the turns: {statistics.median(ratios):.2f}"]


def _all(values: list[float]) -> str:
    return " ".join(f"{value:,.0f}" for value in values)


def measure_folder(
    root: Path, *, size: int = 224, batch_size: int = 64, workers: int | None = None, turns: int = 3
) -> DataBench:
    """Random resized crops of every JPEG below `root`, in turns: ours, PyTorch's, ours, ...

    Both give a batch of uint8 images to the process that trains, ours on the device. The clock starts at the first
    batch, so that neither pays for starting threads or processes.
    """
    paths = tuple(sorted(str(path.relative_to(root)) for path in root.rglob("*.jp*g")))
    workers = workers or cores()
    loader = _torch_loader(root, paths, size, batch_size, workers)
    ours, torch = [], []
    for turn in range(turns):
        ours.append(_throughput(_our_batches(root, paths, size, batch_size, workers, turn), batch_size))
        if loader is not None:
            torch.append(_throughput(loader(), batch_size))
    return DataBench(len(paths), workers, ours, torch)


def _throughput(batches: Iterator[Any], batch_size: int) -> float:
    next(batches)
    began = time.perf_counter()
    count = sum(1 for _ in batches)
    return count * batch_size / (time.perf_counter() - began)


def _our_batches(
    root: Path, paths: tuple[str, ...], size: int, batch_size: int, workers: int, epoch: int
) -> Iterator[Any]:
    count = len(paths)
    files = Files(root, paths, size, 3, identity="")
    split = Streamed(files, np.zeros(count, np.int32), np.arange(count))
    feed = StreamFeed(split, parallel.make_mesh(), least=LEAST, threads=workers)
    steps = count // batch_size
    for item in feed.train(Order(count, batch_size, seed=0), range(epoch * steps, (epoch + 1) * steps)):
        yield jax.block_until_ready(item)


class _Crops:
    """A PyTorch data set: what torchvision's RandomResizedCrop and PILToTensor do, without torchvision."""

    def __init__(self, root: Path, paths: tuple[str, ...], size: int) -> None:
        self.root, self.paths, self.size = root, paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Any:
        import torch

        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        with Image.open(self.root / self.paths[i]) as file:
            image = file.convert("RGB")
        cut = image.crop(random_box(*image.size, LEAST, rng))
        pixels = np.array(cut.resize((self.size, self.size), Image.Resampling.BILINEAR))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), 0


def _torch_loader(
    root: Path, paths: tuple[str, ...], size: int, batch_size: int, workers: int
) -> Callable[[], Iterator[Any]] | None:
    """Passes over the files by a DataLoader; None where PyTorch isn't installed."""
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        return None
    # Not forked: this process has threads, and a forked child of such a process may hang.
    options = {"num_workers": workers, "multiprocessing_context": "forkserver", "persistent_workers": True}
    crops: Any = _Crops(root, paths, size)
    loader = DataLoader(crops, batch_size, shuffle=True, drop_last=True, **options)
    return lambda: iter(loader)


def make_folder(root: Path, sources: list[Path], count: int = 3000) -> None:
    """Writes JPEGs of 256 to 500 pixels a side, made of other images, where there is no such folder at hand."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        with Image.open(sources[i % len(sources)]) as image:
            width, height = rng.integers(256, 501, 2).tolist()
            image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(
                root / f"{i:05d}.jpg", quality=90
            )
