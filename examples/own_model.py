"""A network, images and an optimizer of one's own: trained, evaluated, written to a file and asked."""

import flax.linen as nn
import optax
from sklearn.datasets import load_digits

import fcnn


class MyNet(nn.Module):
    @nn.compact
    def __call__(self, images, train: bool):
        x = nn.Conv(16, (3, 3))(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.Dropout(0.1, deterministic=not train)(nn.max_pool(x, (2, 2), (2, 2)))
        return nn.Dense(10)(x.reshape(x.shape[0], -1))


images, labels = load_digits().images / 16, load_digits().target
own = {"model": MyNet(), "dataset": fcnn.from_arrays(images, labels)}
config, show = fcnn.Config(train=fcnn.TrainConfig(epochs=10)), lambda record: print(record["step"])
fcnn.train(config, workdir="runs/own", **own, optimizer=optax.lion(1e-3), callbacks=[show])
print(fcnn.evaluate("runs/own", **own)["top1"])
network = fcnn.load("runs/own", model=MyNet())
fcnn.write_weights("own.safetensors", network)
print(network.predict((255 * images[:3, :, :, None]).astype("uint8")).argmax(axis=1), labels[:3])
