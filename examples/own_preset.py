"""A preset with a network, images and an optimizer of one's own: fcnn train --config examples/own_preset.py.

`fcnn evaluate`, `predict`, `export` and `show` of its runs take --config examples/own_preset.py as well.
"""

import flax.linen as nn
import jax
import optax
from sklearn.datasets import load_digits

from fcnn.config import Config, TrainConfig
from fcnn.data import from_arrays

CONFIG = Config(train=TrainConfig(epochs=10))


class MyNet(nn.Module):
    @nn.compact
    def __call__(self, images, train: bool):
        x = nn.Conv(16, (3, 3))(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.Dropout(0.1, deterministic=not train)(nn.max_pool(x, (2, 2), (2, 2)))
        return nn.Dense(10)(x.reshape(x.shape[0], -1))


def model(config):
    return MyNet()


def dataset(config):
    digits = load_digits()
    return from_arrays(digits.images / 16, digits.target)


def optimizer(config):
    return optax.lion(1e-3)


def augment(config):
    """A shift by one pixel, drawn for each image."""

    def shift(key, batch):
        shifts = jax.random.randint(key, (len(batch["image"]), 2), -1, 2)
        return {**batch, "image": jax.vmap(lambda image, by: jax.numpy.roll(image, by, (0, 1)))(batch["image"], shifts)}

    return shift


def loss(config):
    """The focal loss with gamma 2 (Lin et al. 2017, section 3.2)."""

    def focal(logits, labels):
        probability = jax.nn.softmax(logits)[jax.numpy.arange(len(labels)), labels]
        return -((1 - probability) ** 2) * jax.numpy.log(probability + 1e-9)

    return focal


def callbacks(config):
    return [lambda record: print(f"recorded {record['kind']} {record['split']}")]
