"""PyTorch's side of a comparison: eager or compiled, channels first or last in memory."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fcnn.bench.job import Job
from fcnn.bench.torch_models import create


def make_setup(job: Job, contender: str) -> tuple[Callable[[int], None], dict[str, Any]]:
    """As `jax_side.prepare`; `contender` is torch-eager-nchw, torch-eager-nhwc, torch-compile-nchw or -nhwc."""
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
        if job.kind == "eval":
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
