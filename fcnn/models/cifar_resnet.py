"""The small residual networks for 32x32 images (He et al. 2015, section 4.2): ResNet-20 to ResNet-1202.

| name | parameters at 10 classes and 3 channels, option-A shortcuts |
|---|---|
| resnet20 / 32 / 44 / 56 | 269,722 / 464,154 / 658,586 / 853,018 |
| resnet110 / 1202 | 1,727,962 / 19,421,274 |

K. He, X. Zhang, S. Ren, J. Sun: Deep Residual Learning for Image Recognition, arXiv:1512.03385.
"""

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.nn import Dropout, conv_general_dilated, he_normal


class Block(nn.Module):
    """Two 3x3 convolutions, each with batch norm, around which the input is added (figure 2, left).

    Shapes: (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width).
    """

    width: int
    stride: int
    shortcut: Literal["A", "projection"]
    zero_init: bool
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(self.width, (3, 3), self.stride, padding=1, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.width, (3, 3), padding=1, name="conv2")(y)
        # A last scale of zero makes each block the identity at first (Goyal et al. 2017, section 5.1).
        scale_init = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        y = self.norm(scale_init=scale_init, name="norm2")(y)
        return nn.relu(y + self._shortcut(x))

    def _shortcut(self, x: jax.Array) -> jax.Array:
        """The input in the output's shape (section 3.3): every stride-th pixel and new channels of zeros (option A,
        no parameters), or a 1x1 convolution (option B)."""
        if self.stride == 1 and x.shape[-1] == self.width:
            return x
        if self.shortcut == "A":
            new = self.width - x.shape[-1]
            x = x[:, :: self.stride, :: self.stride]
            return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))
        x = self.conv(self.width, (1, 1), self.stride, padding=0, name="shortcut_conv")(x)
        return self.norm(name="shortcut_norm")(x)


class CifarResNet(nn.Module):
    """A 3x3 convolution, three stages of `blocks` residual blocks at full, half and quarter size, average pooling, a
    dense layer: 6 x blocks + 2 layers.

    Shapes: (B, H, W, C) -> (B, num_classes), logits at least float32; any H and W, 32 in the paper.
    """

    num_classes: int
    blocks: int
    """Residual blocks a stage."""
    width: int = 16
    """Channels of the first stage; each further stage has twice as many."""
    shortcut: Literal["A", "projection"] = "A"
    """Where a block changes the shape: zero padding (the paper's choice for these networks) or a 1x1 convolution."""
    zero_init: bool = True
    """Start each block as the identity, by a zero scale in its last batch norm."""
    dropout: float = 0.0
    """Rate before the classifier."""
    dtype: jnp.dtype | None = None
    """Type of the activations; params and batch statistics stay float32."""
    remat: bool = False
    """Keep only each stage's input for the backward pass and compute the rest again."""
    axis_name: str | None = None
    """The pmap axis over which batch norm is synchronised; None under jit, which sees the whole batch anyway."""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(
            nn.Conv,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=he_normal(),
            conv_general_dilated=conv_general_dilated,
        )
        norm = functools.partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
            axis_name=self.axis_name,
            use_fast_variance=False,  # E[x^2] - E[x]^2 loses all digits where the mean is large
        )
        stage = nn.remat(CifarResNet._stage, static_argnums=(2, 3, 4)) if self.remat else CifarResNet._stage

        x = conv(self.width, (3, 3), padding=1, name="stem_conv")(images)
        x = nn.relu(norm(name="stem_norm")(x))
        for number in (1, 2, 3):
            x = stage(self, x, number, conv, norm)
        x = x.mean(axis=(1, 2))
        x = Dropout(self.dropout)(x, train=train)
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def _stage(self, x: jax.Array, number: int, conv: Any, norm: Any) -> jax.Array:
        for i in range(1, self.blocks + 1):
            x = Block(
                width=self.width * 2 ** (number - 1),
                stride=2 if number > 1 and i == 1 else 1,
                shortcut=self.shortcut,
                zero_init=self.zero_init,
                conv=conv,
                norm=norm,
                name=f"stage{number}_block{i}",
            )(x)
        return x
