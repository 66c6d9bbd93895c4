"""The linear classifier and the multi-layer perceptron: what a CNN has to beat."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.nn import Dropout, he_normal


class MLP(nn.Module):
    """Flattened pixels -> dense layers with ReLU -> logits; with no hidden layer, a linear classifier.

    Shapes: (B, H, W, C) -> (B, num_classes), logits at least float32.
    """

    num_classes: int
    hidden: tuple[int, ...]
    """Widths of the hidden layers."""
    dropout: float = 0.0
    """Rate before the classifier."""
    dtype: jnp.dtype | None = None
    """Type of the activations; params stay float32."""
    remat: bool = False
    """Accepted as every model does; dense layers keep too little to be worth computing twice."""
    axis_name: str | None = None
    """Accepted as every model does; there is no batch norm here."""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        x = images.reshape(images.shape[0], -1)
        for i, width in enumerate(self.hidden, start=1):
            x = nn.Dense(width, dtype=self.dtype, kernel_init=he_normal(), name=f"hidden{i}")(x)
            x = nn.relu(x)
        x = Dropout(self.dropout)(x, train=train)
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))
