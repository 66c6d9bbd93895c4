"""ConvNeXt: a residual network with the sizes, the normalization and the training of a vision transformer.

| name | blocks a stage | channels of the stages | parameters at 1,000 classes |
|---|---|---|---|
| convnext_atto | 2, 2, 6, 2 | 40, 80, 160, 320 | 3,695,520 |
| convnext_femto | 2, 2, 6, 2 | 48, 96, 192, 384 | 5,217,784 |
| convnext_pico | 2, 2, 6, 2 | 64, 128, 256, 512 | 9,045,672 |
| convnext_nano | 2, 2, 8, 2 | 80, 160, 320, 640 | 15,593,560 |
| convnext_tiny | 3, 3, 9, 3 | 96, 192, 384, 768 | 28,589,128 |
| convnext_small | 3, 3, 27, 3 | the same | 50,223,688 |
| convnext_base | 3, 3, 27, 3 | 128, 256, 512, 1024 | 88,591,464 |
| convnext_large | 3, 3, 27, 3 | 192, 384, 768, 1536 | 197,767,336 |

Z. Liu, H. Mao, C.-Y. Wu, C. Feichtenhofer, T. Darrell, S. Xie: A ConvNet for the 2020s, arXiv:2201.03545, section 2 and
figure 4. The four smallest are timm's.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax

from fcnn.models.classifier import Classifier, EndpointFn, Norm
from fcnn.models.resnet import depth_rate
from fcnn.nn import Layer, LayerScale, conv_norm_act, global_avg_pool, norm_act

Function = Callable[[jax.Array], jax.Array]


class ConvNeXtBlock(nn.Module):
    """A 7x7 depthwise convolution and a normalization, then two layers at each position, to four times the channels and
    back; their result, scaled by channel, is added to the input (figure 4).

    Fields:
      linear: makes the two layers, `fc1` and `fc2`: dense ones or 1x1 convolutions.
      drop: stochastic depth in training, as `Classifier.drop_path` gives it.

    Shapes: (B, H, W, filters) -> the same.
    """

    conv: Layer
    norm: Layer
    act: Function
    linear: Layer
    filters: int
    layer_scale: float
    drop: Function | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = self.conv(self.filters, 7, padding=3, feature_group_count=x.shape[-1], name="conv")
        y = conv_norm_act(x, conv, self.norm(name="norm"), None)
        y = conv_norm_act(y, self.linear(4 * self.filters, name="fc1"), None, self.act)
        y = self.linear(self.filters, name="fc2")(y)
        y = LayerScale(self.layer_scale, name="layer_scale")(y)
        return x + (y if self.drop is None else self.drop(y))


class ConvNeXt(Classifier, kw_only=True):
    """A 4x4 convolution of stride 4, four stages of blocks with 2x2 convolutions of stride 2 between them, average
    pooling, a layer norm, a dense layer.

    Endpoints: stem, stage1 to stage4, pool (after the layer norm, which stays one whatever `norm` is).
    """

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    filters: tuple[int, ...]
    """Channels of the stages."""
    conv_mlp: bool = False
    """Whether the two pointwise layers of a block are 1x1 convolutions, as in timm's small models, or dense layers, as
    in torchvision: the same function, but weights of other shapes and names."""
    layer_scale: float = 1e-6
    """Initial layer scale of each block."""
    stochastic_depth: float = 0.0
    """Stochastic depth: drop rate of the last block's branch, rising linearly from 0 in the first block."""
    activation: str = "gelu"
    norm: Norm = "layer"

    paper = "Liu et al. 2022, arXiv:2201.03545"
    conv_bias = True
    epsilon = 1e-6

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, _ = self.layers(train)
        stem = conv(self.filters[0], 4, 4, name="stem_conv")
        x = endpoint("stem", conv_norm_act(x, stem, norm(name="stem_norm"), None))
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(ConvNeXt.stage, x, train, number))
        head_norm = nn.LayerNorm(epsilon=self.epsilon, dtype=self.dtype, use_fast_variance=False, name="head_norm")
        x = endpoint("pool", head_norm(global_avg_pool(x)))
        return self.head(name="head")(self.drop(x, 0.0, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        conv, norm, act = self.layers(train)
        linear = functools.partial(conv, kernel_size=1) if self.conv_mlp else self.dense
        filters = self.filters[number - 1]
        if number > 1:
            x = norm_act(x, norm(name=f"downsample{number}_norm"), None)
            x = conv(filters, 2, 2, name=f"downsample{number}_conv")(x)
        for i in range(self.stage_sizes[number - 1]):
            rate, name = depth_rate(self.stochastic_depth, self.stage_sizes, number, i), f"stage{number}_block{i + 1}"
            drop = self.drop_path(rate, train)
            x = ConvNeXtBlock(conv, norm, act, linear, filters, self.layer_scale, drop, name=name)(x)
        return x

    def smallest(self, *, train: bool) -> int:
        return 2 ** (len(self.stage_sizes) + 1)

    def torch_name(self, layer: str) -> str:
        if self.conv_mlp:
            return self.timm_name(layer)
        tops = {"stem_conv": "features.0.0", "stem_norm": "features.0.1"}
        tops |= {"head_norm": "classifier.0", "head": "classifier.2"}
        block, _, inner = layer.partition("/")
        if block in tops:
            return tops[block]
        if block.startswith("downsample"):
            number, kind = block.removeprefix("downsample").split("_")
            return f"features.{2 * int(number) - 2}.{int(kind == 'conv')}"
        stage, i = block.removeprefix("stage").split("_block")
        # torchvision numbers a block's layers with two permutations and the activation among them.
        inner = {"conv": "block.0", "norm": "block.2", "fc1": "block.3", "fc2": "block.5"}.get(inner, inner)
        return f"features.{2 * int(stage) - 1}.{int(i) - 1}.{inner}"

    def timm_name(self, layer: str) -> str:
        tops = {"stem_conv": "stem.0", "stem_norm": "stem.1", "head_norm": "head.norm", "head": "head.fc"}
        block, _, inner = layer.partition("/")
        if block in tops:
            return tops[block]
        if block.startswith("downsample"):
            number, kind = block.removeprefix("downsample").split("_")
            return f"stages.{int(number) - 1}.downsample.{int(kind == 'conv')}"
        stage, i = block.removeprefix("stage").split("_block")
        inner = {"conv": "conv_dw", "fc1": "mlp.fc1", "fc2": "mlp.fc2", "layer_scale": "gamma"}.get(inner, inner)
        return f"stages.{int(stage) - 1}.blocks.{int(i) - 1}.{inner}"


timms = functools.partial(ConvNeXt, conv_mlp=True)
convnext_atto = functools.partial(timms, stage_sizes=(2, 2, 6, 2), filters=(40, 80, 160, 320))
convnext_femto = functools.partial(timms, stage_sizes=(2, 2, 6, 2), filters=(48, 96, 192, 384))
convnext_pico = functools.partial(timms, stage_sizes=(2, 2, 6, 2), filters=(64, 128, 256, 512))
convnext_nano = functools.partial(timms, stage_sizes=(2, 2, 8, 2), filters=(80, 160, 320, 640))

tiny = functools.partial(ConvNeXt, stage_sizes=(3, 3, 9, 3), filters=(96, 192, 384, 768))
convnext_tiny = functools.partial(tiny, stochastic_depth=0.1)
convnext_small = functools.partial(tiny, stage_sizes=(3, 3, 27, 3), stochastic_depth=0.4)
convnext_base = functools.partial(convnext_small, filters=(128, 256, 512, 1024), stochastic_depth=0.5)
convnext_large = functools.partial(convnext_base, filters=(192, 384, 768, 1536))
