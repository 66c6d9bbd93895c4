"""How many images a second reach the device from a folder of JPEGs, beside PyTorch's DataLoader on the same files."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from fcnn.bench.jax_side import make_setup
from fcnn.bench.job import Job
from fcnn.data import Streamed
from fcnn.data.parallel import no_progress
from fcnn.data.pipeline import EpochSampler, StreamPipeline
from fcnn.data.scan import scan
from fcnn.data.streamed import Files, random_box
from fcnn.distributed import sharding
from fcnn.utils.cores import cores
from fcnn.utils.errors import UserError

LEAST = 0.08
"""Least share of the area that a random crop keeps."""


def measure_folder(
    root: Path, paths: Sequence[str], job: Job, *, rounds: int, log: Callable[[str], None], workers: int | None = None
) -> dict[str, Any]:
    """Measures random resized crops of JPEGs, by our pipeline and PyTorch's, and a training step for them, in turns.

    Both pipelines give batches of uint8 images to the process that trains, ours on the device. Their clock starts at
    the first batch, so that neither pays for starting threads or processes.

    Args:
      job: the training step; its batch and image size are the pipelines' as well.
      workers: threads of ours, processes of PyTorch's; None for as many as there are cores.

    Returns:
      {"images", "image_size", "batch", "workers", "rounds", "model", "fcnn", "torch" (None where it isn't installed),
      "step" (each images/s, the median), "ratio" (ours by PyTorch's, the median over the rounds; or None),
      "first_batch_seconds" (of the first round, threads started)}.
    """
    workers = workers or cores()
    log("preparing a step and PyTorch's loader")
    loader = _torch_loader(root, tuple(paths), job, workers)
    run, _ = make_setup(job, "fcnn")
    run(1)
    timings: list[tuple[float, float]] = []
    torch, steps = [], []
    for number in range(rounds):
        log(f"files, round {number + 1} of {rounds}")
        timings.append(_throughput(_our_batches(root, tuple(paths), job, workers, number), job.batch))
        if loader is not None:
            torch.append(_throughput(loader(), job.batch)[1])
        began = time.perf_counter()
        run(1)
        steps.append(job.batch / (time.perf_counter() - began))
    rates = [rate for _, rate in timings]
    return {
        **{"images": len(paths), "image_size": job.image_size, "batch": job.batch, "workers": workers},
        **{"rounds": rounds, "model": job.model, "fcnn": statistics.median(rates), "step": statistics.median(steps)},
        "torch": statistics.median(torch) if torch else None,
        "ratio": statistics.median(a / b for a, b in zip(rates, torch, strict=True)) if torch else None,
        "first_batch_seconds": timings[0][0],
    }


def _throughput(batches: Iterator[Any], batch_size: int) -> tuple[float, float]:
    """Seconds to the first batch, and images/s from then on."""
    began = time.perf_counter()
    next(batches)
    first = time.perf_counter()
    count = sum(1 for _ in batches)
    return first - began, count * batch_size / (time.perf_counter() - first)


def _our_batches(root: Path, paths: tuple[str, ...], job: Job, workers: int, epoch: int) -> Iterator[Any]:
    count = len(paths)
    files = Files(root, paths, job.image_size, job.channels, identity="")
    split = Streamed(files, np.zeros(count, np.int32), np.arange(count))
    pipeline = StreamPipeline(split, sharding.make_mesh(), min_area=LEAST, threads=workers)
    steps = count // job.batch
    for item in pipeline.train(EpochSampler(count, job.batch, seed=0), range(epoch * steps, (epoch + 1) * steps)):
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


def _torch_loader(root: Path, paths: tuple[str, ...], job: Job, workers: int) -> Callable[[], Iterator[Any]] | None:
    """Passes over the files by a DataLoader; None where PyTorch isn't installed."""
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        return None
    # Not forked: this process has threads, and a forked child of such a process may hang.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"  # Windows has no fork
    options = {"num_workers": workers, "multiprocessing_context": method, "persistent_workers": True}
    crops: Any = _Crops(root, paths, job.image_size)
    loader = DataLoader(crops, job.batch, shuffle=True, drop_last=True, **options)
    return lambda: iter(loader)


def readable(root: Path, least: int) -> list[str]:
    """The JPEGs in a folder and the folders in it, as paths below it, by name.

    Raises:
      UserError: there is no such folder, or not `least` of them that can be read.
    """
    if not root.is_dir():
        raise UserError(f"there is no folder {root}")
    paths = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")]
    paths.sort()
    good = [path for path, info in zip(paths, scan(root, paths, no_progress), strict=True) if info.problem is None]
    if len(good) < least:
        raise UserError(f"{root} has {len(good)} JPEGs that can be read; measuring takes at least {least}")
    return good


def make_folder(root: Path, count: int) -> list[str]:
    """Writes JPEGs of 256 to 500 pixels a side into a new folder, cut out of scikit-learn's two photographs.

    Returns:
      Their names.
    """
    from sklearn.datasets import load_sample_images  # seconds of import that nothing else here needs

    photographs: Any = load_sample_images()
    rng, names = np.random.default_rng(0), [f"{i:05d}.jpg" for i in range(count)]
    root.mkdir()
    for i, name in enumerate(names):
        image = Image.fromarray(photographs.images[i % 2])
        size = rng.integers(256, (min(image.width, 500) + 1, min(image.height, 500) + 1))
        left, top = rng.integers(0, (image.width, image.height) - size + 1).tolist()
        width, height = size.tolist()
        image.crop((left, top, left + width, top + height)).save(root / name, quality=90)
    return names
