"""The least that is a CNN: two convolutions with pooling, a dense layer, a classifier. A first network to read."""

import jax

from fcnn.models.classifier import Classifier, EndpointFn, Norm, flatten
from fcnn.nn import activation, max_pool


class ShallowCNN(Classifier, kw_only=True):
    """(conv 3x3, activation, max pool 2x2) twice, a dense layer of 128, a classifier; 421,642 parameters for 10 classes
    and 28x28 images of one channel.

    The size of the images at initialization is that of all images. Endpoints: stage1, stage2, hidden.
    """

    norm: Norm = "none"

    paper = "no paper; the form is LeCun et al. 1998, doi:10.1109/5.726791"
    classes = 10
    image_shape = (28, 28, 1)

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv_norm_act, act = self.conv_norm_act(train), activation(self.activation)
        x = conv_norm_act(32, 3, padding=1, name="conv1")(x)
        x = endpoint("stage1", max_pool(x, 2))
        x = conv_norm_act(64, 3, padding=1, name="conv2")(x)
        x = endpoint("stage2", max_pool(x, 2))
        x = act(self.dense(128, name="hidden")(flatten(x)))
        x = endpoint("hidden", x)
        return self.head(name="head")(self.drop(x, 0.0, train))

    def smallest(self, *, train: bool) -> int:
        return 4


shallow_cnn = ShallowCNN
