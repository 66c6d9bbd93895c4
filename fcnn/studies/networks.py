"""The small network that several experiments have in common: its parts can be exchanged one at a time."""

import jax

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.nn import global_avg_pool


class ConvStack(Classifier, kw_only=True):
    """`depth` convolutions of `channels`, each with normalization and activation, at full size; the mean over all
    positions; a classifier."""

    channels: int = 16
    depth: int = 6
    kernel: int = 3
    """Height and width of all kernels but the first, which is 3 x 3."""

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        for i in range(1, self.depth + 1):
            kernel = 3 if i == 1 else self.kernel
            x = self.conv_norm_act(train)(self.channels, kernel, padding=kernel // 2, name=f"conv{i}")(x)
            x = endpoint(f"conv{i}", x)
        return self.head(name="head")(self.drop(global_avg_pool(x), 0.0, train))
