"""Fine-tuning as somebody writes it in PyTorch who knows how: the head on the features of the frozen network, then all
layers, by AdamW and one cycle, from photographs that are decoded once, in as much time as `fcnn train` has."""

import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcnn.bench.photos.images import Photos, RunPhotos, score
from fcnn.bench.photos.job import Cell, Job
from fcnn.bench.photos.torch_lite0 import MEAN, STD, Lite0, pretrained
from fcnn.data.splits import stratified_holdout
from fcnn.data.streamed import random_box
from fcnn.utils.cores import cores

BATCH, EVAL_BATCH = 32, 64
HEAD_RATE, HEAD_EPOCHS = 3e-3, 60
"""Of the head alone: the peak learning rate, and the epochs on its features, which take seconds."""
MOST_EPOCHS = 30.0
"""Of all layers: few images don't need all of the time."""
MIN_AREA = 0.6
"""Least share of the area in a random crop, as `fcnn train` has it."""
HELD_OUT = 0.2
"""For choosing a point of the grid, where the run had too few images to hold any out."""
LARGER = 8 / 7
"""By how much training images are larger than what is cropped from them: 256 for 224."""


class Training:
    """The training images of a fine-tuning, and the network."""

    def __init__(self, photos: Photos, crops: Photos, classes: int, seed: int, device: str = "cpu") -> None:
        """Args:
        photos: of the size that the network takes.
        crops: the same ones, larger, to cut random crops from.
        device: PyTorch's name of where the images are, and everything is computed.
        """
        torch.manual_seed(seed)
        self.photos, self._rng = photos, np.random.default_rng(seed)
        self.crops, self._labels = (torch.from_numpy(part).to(device) for part in (crops.images, photos.labels))
        self._size, self._device = photos.images.shape[1], device
        model: Any = pretrained(classes)
        self.model = model.to(device, memory_format=torch.channels_last)

    def fit_head(self) -> None:
        """Fits the head to the features of the frozen network."""
        features = outputs(self.model.features, self.photos.images, self._device)
        steps = HEAD_EPOCHS * max(len(features) // BATCH, 1)
        optimizer = torch.optim.AdamW(self.model._fc.parameters(), HEAD_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, HEAD_RATE, total_steps=steps)
        for indices in self._batches(steps):
            _step(self.model._fc, optimizer, features[indices], self._labels[indices])
            schedule.step()

    def fit(self, steps: int, rate: float, freeze_batch_norm: bool) -> None:
        """Trains all layers."""
        self.model.train()
        if freeze_batch_norm:
            for layer in self.model.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()
        optimizer = torch.optim.AdamW(self.model.parameters(), rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
        for indices in self._batches(steps):
            _step(self.model, optimizer, self._augmented(indices), self._labels[indices])
            schedule.step()
        if self._device == "cuda":
            torch.cuda.synchronize()  # who asks for the time from here on means that of finished steps
        self.model.eval()

    def seconds_per_step(self, freeze_batch_norm: bool) -> float:
        """Measures a step, the second and third of three, and leaves everything as it was, random generators too."""
        state, drawn = copy.deepcopy(self.model.state_dict()), self._rng.bit_generator.state
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            self.fit(1, 1e-5, freeze_batch_norm)
            began = time.perf_counter()
            self.fit(2, 1e-5, freeze_batch_norm)
            seconds = (time.perf_counter() - began) / 2
        self.model.load_state_dict(state)
        self._rng.bit_generator.state = drawn
        return seconds

    def _batches(self, steps: int) -> list[Tensor]:
        """Returns the indices of so many batches: each image as often as any other, or once more."""
        count = len(self._labels)
        batch = min(BATCH, count)
        order = [self._rng.permutation(count) for _ in range(-(-steps * batch // count))]
        return list(torch.from_numpy(np.concatenate(order)[: steps * batch]).split(batch))

    def _augmented(self, indices: Tensor) -> Tensor:
        """Returns random crops of images, some mirrored, as the network takes them."""
        images = []
        for image in self.crops[indices]:
            left, top, right, bottom = random_box(image.shape[1], image.shape[0], MIN_AREA, self._rng)
            crop = image[top:bottom, left:right].permute(2, 0, 1)[None]
            crop = crop.float() if crop.is_cuda else crop  # bytes are faster on a CPU, and unknown to CUDA
            crop = F.interpolate(crop, (self._size, self._size), mode="bilinear", antialias=True)
            images.append(crop.flip(3) if self._rng.integers(2) else crop)
        return normalized(torch.cat(images))


def _step(model: Any, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(model(inputs), labels).backward()
    optimizer.step()


def normalized(images: Tensor) -> Tensor:
    """Returns uint8 images (B, 3, H, W) as the network takes them."""
    return ((images.float() - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def outputs(function: Any, images: np.ndarray, device: str) -> Tensor:
    """Returns what a network in evaluation on a device makes of uint8 images (N, H, W, 3): (N, ...), there."""
    with torch.no_grad():
        batches = torch.from_numpy(images).permute(0, 3, 1, 2).split(EVAL_BATCH)
        return torch.cat([function(normalized(batch.to(device))) for batch in batches])


def fine_tune(job: Job) -> dict[str, Any]:
    """Trains a point of the grid.

    Returns:
      The `score` on the test images, "steps", "epochs", "step_seconds", "seconds" (from the start of the process to
      the trained network), and "validation", the score on the images that the choice is made by: the run's, or, where
      it holds none out, a part of the training images, of a second training without them.
    """
    torch.set_num_threads(cores())
    torch.backends.cudnn.benchmark = True  # all batches have one shape; means nothing on a CPU
    photos, device = RunPhotos(Path(job.root), Path(job.run)), "cuda" if job.device == "gpu" else "cpu"
    train, crops = photos.read("train"), photos.read("train", size=round(LARGER * photos.size))
    left = 60 * job.cell.minutes - (time.time() - job.began)

    def trained(train: Photos, crops: Photos) -> tuple[Lite0, dict[str, Any]]:
        training = Training(train, crops, len(photos.classes), job.cell.seed, device)
        return training.model, _train(training, job.cell, left)

    def scored(model: Lite0, part: Photos) -> dict[str, Any]:
        return score(outputs(model, part.images, device).cpu().numpy(), part.labels)

    model, length = trained(train, crops)
    seconds, validation = time.time() - job.began, photos.read("validation")
    result = scored(model, photos.read("test")) | length | {"seconds": seconds}
    if not len(validation.labels):
        kept, held_out = stratified_holdout(train.labels, HELD_OUT, job.cell.seed)
        validation = Photos(train.images[held_out], train.labels[held_out])
        less, less_crops = (Photos(part.images[kept], part.labels[kept]) for part in (train, crops))
        model, _ = trained(less, less_crops)
    return result | {"validation": scored(model, validation)}


def _train(training: Training, cell: Cell, seconds: float) -> dict[str, Any]:
    """Trains the head, then all layers, for so many seconds in all; returns how long that was."""
    began, frozen, count = time.perf_counter(), bool(cell.freeze_batch_norm), len(training.photos.labels)
    training.model.eval()
    training.fit_head()
    step = training.seconds_per_step(frozen)
    left = seconds - (time.perf_counter() - began)
    most = MOST_EPOCHS * max(count / BATCH, 1)
    steps = max(int(min(left / step, most)), 1)
    training.fit(steps, cell.rate or 0.0, frozen)
    return {"steps": steps, "epochs": steps * min(BATCH, count) / count, "step_seconds": step}
