"""The linear classifier and the multi-layer perceptron: what a CNN has to beat."""

import functools

import jax

from fcnn.models.classifier import Classifier, EndpointFn, Norm
from fcnn.nn import norm_act


class MLP(Classifier, kw_only=True):
    """Flattened pixels -> dense layers, each with normalization (none by default) and activation -> logits; with no
    hidden layer, a linear classifier.

    The size of the images at initialization is that of all images. Endpoints: hidden1, hidden2, ...
    """

    hidden: tuple[int, ...] = (256, 128)
    """Widths of the hidden layers."""
    norm: Norm = "none"

    paper = "Rumelhart, Hinton & Williams 1986, doi:10.1038/323533a0"
    classes = 10
    image_shape = (28, 28, 1)

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        _, norm, act = self.layers(train)
        x = x.reshape(x.shape[0], -1)
        for i, features in enumerate(self.hidden, start=1):
            x = self.dense(features, name=f"hidden{i}")(x)
            x = endpoint(f"hidden{i}", norm_act(x, norm(name=f"norm{i}"), act))
        return self.head(name="head")(self.drop(x, 0.0, train))


mlp = MLP
linear = functools.partial(MLP, hidden=())
