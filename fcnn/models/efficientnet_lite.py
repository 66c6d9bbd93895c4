"""EfficientNet-Lite: EfficientNet for phones, with ReLU6 and without squeeze-and-excitation, so that 8-bit integers do.

| name | blocks a stage | channels of the stages | image | parameters at 1,000 classes |
|---|---|---|---|---|
| efficientnet_lite0 | 1, 2, 2, 3, 3, 4, 1 | 16, 24, 40, 80, 112, 192, 320 | 224 | 4,652,008 |
| efficientnet_lite1 | 1, 3, 3, 4, 4, 5, 1 | the same | 240 | 5,416,680 |
| efficientnet_lite2 | 1, 3, 3, 4, 4, 5, 1 | 16, 24, 48, 88, 120, 208, 352 | 260 | 6,092,072 |
| efficientnet_lite3 | 1, 3, 3, 5, 5, 6, 1 | 24, 32, 48, 96, 136, 232, 384 | 280 | 8,197,096 |
| efficientnet_lite4 | 1, 4, 4, 6, 6, 8, 1 | 24, 32, 56, 112, 160, 272, 448 | 300 | 13,006,568 |

The first and the last convolution, and the first and the last stage's blocks, are those of the smallest in all of them.

M. Tan, Q. V. Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, arXiv:1905.11946; these five
are the authors' own (github.com/tensorflow/tpu, models/official/efficientnet/lite).
"""

import functools
from typing import Any, Literal

from fcnn.models.efficientnet import EfficientNet, scaled_filters, scaled_stage_sizes


class EfficientNetLite(EfficientNet, kw_only=True):
    """A 3x3 convolution, seven stages of inverted residuals, a 1x1 convolution, average pooling, a dense layer.

    Its defaults are those of the published weights. timm's own `efficientnet_lite0` has `padding="torch"` and
    `epsilon=1e-5`. Endpoints: stem, stage1 to stage7, pool.
    """

    stochastic_depth: float = 0.0
    padding: Literal["torch", "SAME"] = "SAME"
    epsilon: float = 1e-3
    activation: str = "relu6"

    squeezes = False

    def preprocessing(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (127 / 255,) * 3, (128 / 255,) * 3

    def torch_name(self, layer: str) -> str:
        return self.timm_name(layer)


def _scaled(width: float, depth: float, size: int, paper_dropout: float) -> Any:
    """Returns Lite0 with more channels and more blocks, but at its two ends, for larger images."""
    filters, stage_sizes = scaled_filters(width), scaled_stage_sizes(depth)
    return functools.partial(
        EfficientNetLite,
        stage_sizes=(1, *stage_sizes[1:-1], 1),
        filters=(32, *filters[1:-1], 1280),
        image_shape=(size, size, 3),
        paper_dropout=paper_dropout,
    )


efficientnet_lite0 = _scaled(1.0, 1.0, 224, 0.2)
efficientnet_lite1 = _scaled(1.0, 1.1, 240, 0.2)
efficientnet_lite2 = _scaled(1.1, 1.2, 260, 0.3)
efficientnet_lite3 = _scaled(1.2, 1.4, 280, 0.3)
efficientnet_lite4 = _scaled(1.4, 1.8, 300, 0.3)
