"""The least that is a CNN: two convolutions with pooling, a dense layer, a classifier. A first network to read."""

import jax

from fcnn.models.classifier import Classifier, Layers, Norm, flatten
from fcnn.nn import max_pool


class ShallowCNN(Classifier, kw_only=True):
    """(conv 3x3, activation, max pool 2x2) twice, a dense layer of 128, a classifier; 421,642 parameters for 10 classes
    and 28x28 images of one channel.

    The size of the images at initialization is that of all images. Endpoints: stage1, stage2, hidden.
    """

    norm: Norm = "none"

    paper = "no paper; the form is LeCun et al. 1998, doi:10.1109/5.726791"
    classes = 10
    image_shape = (28, 28, 1)

    def forward(self, x: jax.Array, layers: Layers) -> jax.Array:
        x = layers.unit(32, 3, padding=1, name="conv1")(x)
        x = layers.endpoint("stage1", max_pool(x, 2))
        x = layers.unit(64, 3, padding=1, name="conv2")(x)
        x = layers.endpoint("stage2", max_pool(x, 2))
        x = layers.act(layers.dense(128, name="hidden")(flatten(x)))
        x = layers.endpoint("hidden", x)
        return layers.head(layers.dropout(x, 0.0))

    def smallest(self, *, train: bool) -> int:
        return 4
