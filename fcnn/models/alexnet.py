"""AlexNet, the network that won ImageNet in 2012: as torchvision has it, and as it was published.

| name | parameters at 1,000 classes | |
|---|---|---|
| alexnet | 61,100,840 | torchvision's, after "One weird trick": fewer channels, no groups, no normalization |
| alexnet_2012 | 60,965,224 | the paper's: two groups (its two GPUs), local response normalization |

A. Krizhevsky, I. Sutskever, G. Hinton: ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012;
A. Krizhevsky: One Weird Trick for Parallelizing Convolutional Neural Networks, arXiv:1404.5997.
"""

import functools

import jax

from fcnn.models.classifier import Classifier, EndpointFn, Norm, flatten
from fcnn.nn import ConvNormAct, adaptive_avg_pool, local_response_norm, max_pool


class AlexNet(Classifier, kw_only=True):
    """Five convolutions, three overlapping max pools, two dense layers of 4,096 with dropout, a classifier.

    From 63x63 pixels on; what is left is averaged to 6x6, which for 224x224 changes nothing. Endpoints: stage1 to
    stage3 (after each pool), fc6, fc7.
    """

    as_published: bool = False
    """The paper's layers: grouped convolutions, 96 channels first, local response normalization."""
    norm: Norm = "none"

    paper = "Krizhevsky et al. 2012; torchvision's: arXiv:1404.5997"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        features = (96, 256, 384, 384, 256) if self.as_published else (64, 192, 384, 256, 256)
        groups = (1, 2, 1, 2, 2) if self.as_published else (1, 1, 1, 1, 1)
        shapes = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))  # kernel, stride, padding
        stages = {1: "stage1", 2: "stage2", 5: "stage3"}
        for i, (channels, group, shape) in enumerate(zip(features, groups, shapes, strict=True), start=1):
            grouped = functools.partial(conv, feature_group_count=group)
            x = ConvNormAct(grouped, norm, act, channels, *shape, name=f"conv{i}")(x)
            if self.as_published and i in (1, 2):
                # Section 3.3: k = 2, n = 5, alpha = 1e-4, where the sum isn't divided by n as it is in our function.
                x = local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)
            if i in stages:
                x = endpoint(stages[i], max_pool(x, 3, stride=2))
        x = flatten(adaptive_avg_pool(x, 6))
        for name in ("fc6", "fc7"):
            x = self.dense(4096, name=name)(self.drop(x, 0.5, train, before=name))
            x = endpoint(name, act(x))
        return self.head(name="head")(x)

    def smallest(self, *, train: bool) -> int:
        return 63

    def torch_name(self, layer: str) -> str:
        places = {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10}
        dense = {"fc6": 1, "fc7": 4, "head": 6}
        unit, _, part = layer.partition("/")
        if unit in dense:
            return f"classifier.{dense[unit]}"
        return f"features.{places[unit]}" + (".norm" if part == "norm" else "")


alexnet = AlexNet
alexnet_2012 = functools.partial(AlexNet, as_published=True)
