"""LeNet-5, the network that read the digits on bank cheques, and the plan of all that came after it."""

import jax
import jax.numpy as jnp

from fcnn.models.classifier import Classifier, EndpointFn, Norm, flatten
from fcnn.nn import activation, avg_pool


class LeNet5(Classifier, kw_only=True):
    """Two 5x5 convolutions (6 and 16 channels), each with activation and 2x2 average pooling, dense layers of 120 and
    84, a classifier: 61,706 parameters for 10 classes and one channel.

    As in the paper: 32x32 images, in which smaller ones are centered between zeros (section II.B), and tanh. Unlike
    it: C3 sees all six maps of S2 (the paper's table I leaves some out), pooling has no parameters of its own, and the
    classifier is a dense layer, not radial basis functions. Larger images make C5 larger: their size at initialization
    is that of all images. Endpoints: s2, s4, c5, f6.

    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-Based Learning Applied to Document Recognition, Proceedings
    of the IEEE 86, 1998, section II.B.
    """

    activation: str = "tanh"
    norm: Norm = "none"

    paper = "LeCun et al. 1998, doi:10.1109/5.726791"
    classes = 10
    image_shape = (32, 32, 1)

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        missing = [max(0, 32 - size) for size in x.shape[1:3]]
        x = jnp.pad(x, ((0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)))
        conv_norm_act, act = self.conv_norm_act(train), activation(self.activation)
        x = conv_norm_act(6, 5, name="c1")(x)
        x = endpoint("s2", avg_pool(x, 2))
        x = conv_norm_act(16, 5, name="c3")(x)
        x = endpoint("s4", avg_pool(x, 2))
        x = endpoint("c5", act(self.dense(120, name="c5")(flatten(x))))
        x = endpoint("f6", act(self.dense(84, name="f6")(x)))
        return self.head(name="head")(self.drop(x, 0.0, train))


lenet5 = LeNet5
