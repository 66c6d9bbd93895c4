"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters, by 1x1 convolutions that squeeze and expand.

| name | parameters at 1,000 classes |
|---|---|
| squeezenet1_0 | 1,248,424 |
| squeezenet1_1 | 1,235,496, with 2.4 times fewer multiply-adds |

F. Iandola, S. Han, M. Moskewicz, K. Ashraf, W. Dally, K. Keutzer: SqueezeNet: AlexNet-level accuracy with 50x fewer
parameters and <0.5MB model size, arXiv:1602.07360; 1.1 is the authors' own revision (github.com/forresti/SqueezeNet).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.models.classifier import Classifier, EndpointFn, Norm
from fcnn.nn import Conv, Layer, conv_norm_act, global_avg_pool, max_pool


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then a 1x1 and a 3x3 side by side to many (section 3.2).

    Shapes: (B, H, W, C) -> (B, H, W, 2 x expand).
    """

    conv_norm_act: Layer
    squeeze: int
    expand: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv_norm_act(self.squeeze, 1, name="squeeze")(x)
        narrow = self.conv_norm_act(self.expand, 1, name="expand1x1")(x)
        wide = self.conv_norm_act(self.expand, 3, padding=1, name="expand3x3")(x)
        return jnp.concatenate([narrow, wide], axis=-1)


class SqueezeNet(Classifier, kw_only=True):
    """A convolution, eight fire modules with three max pools between them, a 1x1 convolution to the classes, averaged.

    Endpoints: stem, fire2 to fire9; pool with a linear head.
    """

    revised: bool
    """Version 1.1: a 3x3 convolution of 64 channels first instead of a 7x7 of 96, and earlier pools."""
    linear_head: bool = False
    """Average pooling before the classifier and no ReLU after it: logistic regression on averaged features, which
    trains better as a new head. Its weights have the same names and shapes."""
    norm: Norm = "none"

    paper = "Iandola et al. 2016, arXiv:1602.07360"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        block = self.conv_norm_act(train)
        x = block(*((64, 3, 2) if self.revised else (96, 7, 2)), name="stem")(x)
        x = endpoint("stem", max_pool(x, 3, stride=2, ceil_mode=True))
        for number in range(2, 10):
            squeeze = 16 * (number // 2)
            x = Fire(block, squeeze, 4 * squeeze, name=f"fire{number}")(x)
            if number in ((3, 5) if self.revised else (4, 8)):
                x = max_pool(x, 3, stride=2, ceil_mode=True)
            x = endpoint(f"fire{number}", x)
        # The classifier is a convolution with a ReLU behind it, drawn from N(0, 0.01) as in the reference. Its bias
        # starts at 1, which changes no probability: from 0, a class whose logit falls below 0 everywhere never comes
        # back (8 images weren't overfitted in 300 steps from any of 3 seeds; with 1 it took 63 to 91).
        classify = Conv(
            self.num_classes,
            1,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.01),
            bias_init=nn.initializers.ones,
            name="head",
        )
        if self.linear_head:
            x = endpoint("pool", global_avg_pool(x))
            return classify(self.drop(x, 0.5, train)[:, None, None])[:, 0, 0]
        return global_avg_pool(conv_norm_act(self.drop(x, 0.5, train), classify, None, jax.nn.relu))

    def smallest(self, *, train: bool) -> int:
        return 17 if self.revised else 21

    def torch_name(self, layer: str) -> str:
        unit, _, inner = layer.partition("/")
        if unit == "head":
            return "classifier.1"
        if unit == "stem":
            return "features.0"
        # torchvision counts stem, ReLU, fires and pools of one long sequence.
        number = int(unit.removeprefix("fire"))
        pools = sum(number > last for last in ((3, 5) if self.revised else (4, 8)))
        inner = inner.replace("/conv", "").replace("/norm", ".norm")
        return f"features.{number + 1 + pools}.{inner}"


squeezenet1_0 = functools.partial(SqueezeNet, revised=False)
squeezenet1_1 = functools.partial(SqueezeNet, revised=True)
