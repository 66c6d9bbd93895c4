"""EfficientNet-Lite0 in PyTorch, for the weights of the zoo, whose names are those of the layers here."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcnn import zoo

MEAN, STD = 127.0, 128.0
"""Of pixels from 0 to 255."""
MOMENTUM, DROPOUT = 0.1, 0.2
"""Of batch norm's running statistics, in PyTorch's sense, and in front of the head: as fcnn's network has them."""
FEATURES = 1280
STAGES = (
    *((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3)),
    *((5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)),
)
"""Kernel size, stride of the first block, expansion, channels, blocks."""


class _SameConv(nn.Conv2d):
    """A convolution with TensorFlow's padding: what the stride leaves over is more below and on the right."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride > 1:
            height, width = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in input.shape[2:])
            input = F.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(input)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=MOMENTUM)


class _Block(nn.Module):
    """An inverted residual."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv, self._bn0 = nn.Conv2d(inputs, width, 1, bias=False), _norm(width)
        self._depthwise_conv, self._bn1 = _SameConv(width, width, kernel, stride, groups=width), _norm(width)
        self._project_conv, self._bn2 = nn.Conv2d(width, outputs, 1, bias=False), _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return y + x if self.adds else y


class Lite0(nn.Module):
    """Images (B, 3, H, W), normalized -> logits (B, classes)."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _SameConv(3, 32, 3, 2), _norm(32)
        blocks, inputs = [], 32
        for kernel, stride, expansion, outputs, depth in STAGES:
            for i in range(depth):
                blocks.append(_Block(inputs, outputs, kernel, 1 if i else stride, expansion))
                inputs = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = nn.Conv2d(inputs, FEATURES, 1, bias=False), _norm(FEATURES)
        self._dropout, self._fc = nn.Dropout(DROPOUT), nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """Averaged features (B, 1280) of images."""
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        x = F.relu6(self._bn1(self._conv_head(self._blocks(x))), inplace=True)
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self._fc(self._dropout(self.features(x)))


def pretrained(classes: int | None = None) -> Lite0:
    """Returns the network with ImageNet's weights, as it is or with a new head; UserError if they aren't here."""
    model = Lite0()
    path = zoo.obtain(zoo.TABLE["efficientnet_lite0"])
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    if classes is not None:
        model._fc = nn.Linear(FEATURES, classes)
    return model
