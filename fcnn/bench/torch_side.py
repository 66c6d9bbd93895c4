"""PyTorch's side of a comparison, eager or compiled: torchvision's and timm's networks, and those written out here."""

import contextlib
import importlib
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcnn.bench.job import Job
from fcnn.utils.errors import UserError


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


class Residual(nn.Module):
    """A residual block: basic or bottleneck, with a projection or option A's zeros where the shape changes."""

    def __init__(self, inputs: int, width: int, stride: int, *, bottleneck: bool, zeros: bool = False) -> None:
        super().__init__()
        self.outputs = width * (4 if bottleneck else 1)
        if bottleneck:
            layers = [*_conv(inputs, width, 1), nn.ReLU(), *_conv(width, width, 3, stride), nn.ReLU()]
            layers += _conv(width, self.outputs, 1)
        else:
            layers = [*_conv(inputs, width, 3, stride), nn.ReLU(), *_conv(width, width, 3)]
        self.layers = nn.Sequential(*layers)
        self.stride, self.new = stride, self.outputs - inputs
        self.shortcut = None
        if not zeros and (stride > 1 or self.new):
            self.shortcut = nn.Sequential(*_conv(inputs, self.outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.new:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return F.relu(y + x)


class ResNet(nn.Module):
    """A stem, stages of residual blocks, average pooling, a dense layer."""

    def __init__(self, job: Job, stem: list[nn.Module], widths: list[int], depths: list[int], **block: Any) -> None:
        super().__init__()
        layers, inputs = [*stem], widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for i in range(depth):
                added = Residual(inputs, width, 2 if stage and not i else 1, **block)
                layers, inputs = [*layers, added], added.outputs
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(inputs, job.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x).mean((2, 3)))


def _resnet20(job: Job) -> nn.Module:
    stem = [*_conv(job.channels, 16, 3), nn.ReLU()]
    return ResNet(job, stem, [16, 32, 64], [3, 3, 3], bottleneck=False, zeros=True)


def _resnet(job: Job, depths: list[int], bottleneck: bool) -> nn.Module:
    stem = [*_conv(job.channels, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    if job.options.get("stem") == "3x3":
        stem = [*_conv(job.channels, 64, 3), nn.ReLU()]
    return ResNet(job, stem, [64, 128, 256, 512], depths, bottleneck=bottleneck)


def _vgg11_bn(job: Job) -> nn.Module:
    """With a classifier of one layer, whatever the image size leaves."""
    layers, inputs, size = [], job.channels, job.image_size
    for width, depth in ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)):
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
        size //= 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(size * size * inputs, job.classes))


def _lenet5(job: Job) -> nn.Module:
    margin = max(0, 32 - job.image_size)
    before, after = margin // 2, margin - margin // 2
    flat = ((((job.image_size + margin - 4) // 2) - 4) // 2) ** 2 * 16
    return nn.Sequential(
        nn.ZeroPad2d((before, after, before, after)),
        *(nn.Conv2d(job.channels, 6, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(flat, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, job.classes)),
    )


MODELS = {
    "resnet20": _resnet20,
    "resnet18": lambda job: _resnet(job, [2, 2, 2, 2], bottleneck=False),
    "resnet50": lambda job: _resnet(job, [3, 4, 6, 3], bottleneck=True),
    "vgg11_bn": _vgg11_bn,
    "lenet5": _lenet5,
}


def create(job: Job) -> nn.Module:
    """The network of a job.

    Raises:
      UserError: it isn't in this file, and neither in torchvision nor in timm, if they are installed.
    """
    if job.model in MODELS:
        return MODELS[job.model](job)
    for library, function in (("torchvision.models", "get_model"), ("timm", "create_model")):
        with contextlib.suppress(ImportError, RuntimeError):  # a build that doesn't belong to this PyTorch
            module = importlib.import_module(library)
            if job.model in module.list_models():
                return getattr(module, function)(job.model, num_classes=job.classes)
    raise UserError(f"there is no {job.model} for PyTorch here; pip install torchvision timm has more networks")


def parameters(model: nn.Module) -> int:
    """How many numbers there are to learn."""
    return sum(p.numel() for p in model.parameters())


def make_setup(job: Job, contender: str) -> tuple[Callable[[int], None], dict[str, Any]]:
    """As `jax_side.make_setup`; `contender` is torch-eager-nchw, torch-eager-nhwc, torch-compile-nchw or -nhwc."""
    _, mode, layout = contender.split("-")
    layout = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    dtype = getattr(torch, job.dtype)
    torch.manual_seed(0)
    model: Any = create(job)
    model.to(memory_format=layout)
    images = torch.randn(job.batch, job.channels, job.image_size, job.image_size).to(memory_format=layout)
    labels = torch.arange(job.batch) % job.classes
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    model.train(job.kind == "step")
    call: Any = torch.compile(model) if mode == "compile" else model
    loss = nn.CrossEntropyLoss()

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return call(images)

    def run(steps: int) -> None:
        if job.kind != "step":
            with torch.inference_mode():
                for _ in range(steps):
                    forward()
            return
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss(forward().float(), labels).backward()
            optimizer.step()

    began = time.perf_counter()
    run(1)
    return run, {"compile_seconds": time.perf_counter() - began}
