"""What all architectures have in common: their fields, the layers that these describe, and how they are called."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from fcnn.nn import (
    BatchNorm,
    Conv,
    ConvNormAct,
    Dense,
    Dropout,
    Layer,
    StochasticDepth,
    activation,
    initializer,
    initializer_for,
)
from fcnn.utils.errors import UserError, unknown
from fcnn.utils.html import paragraph

Norm = Literal["batch", "group", "layer", "instance", "none"]
EndpointFn = Callable[[str, jax.Array], jax.Array]
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of its pixels
PLUS_MINUS_ONE = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # with which pixels are -1 to 1, as TensorFlow's weights have them


class Classifier(nn.Module, kw_only=True):
    """An architecture: images (B, H, W, C) -> logits (B, num_classes), at least float32.

        variables = model.init(key, images, train=False)      # {"params": ..., "batch_stats": ...}
        logits = model.apply(variables, images, train=False)
        logits, activations = model.apply(variables, images, train=False, features=("stage3",))

    `features` names endpoints, whose activations come along as a dictionary. In training, a model with auxiliary heads
    also sows their logits in the collection "aux": each entry is a pair (logits, weight of its loss).

    A subclass writes `forward`, with the layers that these fields describe: `conv, norm, act = self.layers(train)`,
    `self.dense`, `self.drop`, `self.head`.
    """

    num_classes: int
    width_multiplier: float = 1.0
    """Multiplies the number of channels of every layer but the classifier."""
    activation: str = "relu"
    """A name in `fcnn.nn.ACTIVATIONS`."""
    norm: Norm = "batch"
    """What stands behind the convolutions: batch norm; group norm of at most 32 groups; layer norm over the channels of
    a position; instance norm; nothing."""
    kernel_init: str | None = None
    """A name in `fcnn.nn.INITIALIZERS` for all kernels but the classifier's; None takes what suits the activation."""
    dropout: float | None = None
    """The rate of every dropout layer; None takes the paper's."""
    dtype: jnp.dtype | None = None
    """Type of the activations; params and batch statistics stay float32."""
    remat: bool = False
    """Keep only the stages' outputs for the backward pass and compute the rest again."""
    frozen: frozenset[str] = frozenset()
    """Layers, by their names in the top level of the variables, that don't learn: there is no dropout before them and
    no auxiliary head among them. The rest of freezing is the training step's (`make_train_step`)."""
    start: tuple[str, tuple[int, int, int]] | None = None
    """An endpoint, whose activations are taken in place of images, and (H, W, C) of the images: what comes before it is
    no part of a compiled program. No auxiliary heads then."""

    paper: ClassVar[str]
    """Where it was published."""
    image_shape: ClassVar[tuple[int, int, int]] = (224, 224, 3)
    """(H, W, C) of the images that it was published for."""
    classes: ClassVar[int] = 1000
    """The number of classes that it was published for."""
    aux_heads: ClassVar[tuple[str, ...]] = ()
    """The layers that are auxiliary heads: computed in training alone, and missing in some files of weights."""
    conv_head: ClassVar[bool] = False
    """Whether the classifier of `torch_name`'s reference is a 1x1 convolution where `head` is a dense layer."""
    conv_bias: ClassVar[bool] = False
    """Whether convolutions have a bias in front of a normalization too."""
    epsilon: ClassVar[float] = 1e-5
    """Added to the variance by the normalization."""
    momentum: ClassVar[float] = 0.9
    """Momentum of batch norm's running statistics (1 - PyTorch's)."""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool, features: Sequence[str] = ()) -> Any:
        activations: dict[str, jax.Array] = {}
        if self.start is None and images.ndim != 4:
            raise UserError(f"images must be (B, H, W, C), got {images.shape}; images[None] makes a batch of one")
        start, shape = self.start or ("", images.shape[1:])
        x = images if self.start is None else jnp.zeros((1, *shape), jnp.float32)
        self.check_size(*shape[:2], train=train or self.is_initializing())

        def endpoint(name: str, x: jax.Array) -> jax.Array:
            self.reached(name, x.shape)
            activations[name] = checkpoint_name(images if name == start else x, name)
            return activations[name]

        logits = self.forward(x, train, endpoint)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        for name in features:
            if name not in activations:
                raise UserError(unknown(f"endpoint of {type(self).__name__}", name, activations))
        return (logits, {name: activations[name] for name in features}) if features else logits

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        """Images -> logits (B, num_classes) of any float type.

        Args:
          endpoint: gives an activation a name, by which it can be asked for: `x = endpoint("stem", x)`.
        """
        raise NotImplementedError

    def check_size(self, height: int, width: int, *, train: bool) -> None:
        """UserError if images of this size are too small."""
        need = self.smallest(train=train)
        if min(height, width) < need:
            less = self.smallest(train=False)
            but = f", or {less}x{less} without auxiliary heads (--model.options.no-auxiliary)" if less < need else ""
            raise UserError(
                f"{type(self).__name__} can't take images of {height}x{width}; the smallest are {need}x{need}{but}"
            )

    def smallest(self, *, train: bool) -> int:
        """The least height and width that it can take; more for training where an auxiliary head needs it."""
        return 1

    def torch_name(self, layer: str) -> str:
        """What the reference implementation in PyTorch calls a layer, for `fcnn.weights`: "stem_conv" -> "conv1"."""
        return layer.replace("/", ".")

    def timm_name(self, layer: str) -> str:
        """What timm calls a layer, if it has the architecture under other names than `torch_name`'s reference."""
        return self.torch_name(layer)

    def namings(self) -> tuple[Callable[[str], str], ...]:
        """How the implementations in PyTorch whose weights can be read call layers, the reference first."""
        return self.torch_name, self.timm_name

    def preprocessing(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation by channel, 0 to 1, of the images that published weights were trained on."""
        return IMAGENET

    def reached(self, name: str, shape: tuple[int, ...]) -> None:
        """Called at each endpoint: a place for `nn.intercept_methods` to see which layers came before."""

    @nn.nowrap
    def _repr_html_(self) -> str:
        from fcnn.models.summary import summarize  # which imports this file

        return (
            paragraph(f"{type(self).__name__} ({self.paper}), {self.num_classes} classes")
            + summarize(self)._repr_html_()
        )

    @nn.nowrap
    def layers(self, train: bool) -> tuple[Layer, Layer, Callable[[jax.Array], jax.Array]]:
        """Returns (conv, norm, act) for the blocks: two that make layers by these fields, and a function."""
        conv = functools.partial(
            scaled,
            Conv,
            self.width_multiplier,
            use_bias=self.conv_bias or self.norm == "none",
            dtype=self.dtype,
            kernel_init=self._kernel_init(),
        )
        return conv, self._norm(train), activation(self.activation)

    @nn.nowrap
    def conv_norm_act(self, train: bool) -> Layer:
        """Makes a `ConvNormAct` of these layers."""
        return functools.partial(ConvNormAct, *self.layers(train))

    @property
    def dense(self) -> Layer:
        """Makes a hidden dense layer."""
        return functools.partial(
            scaled, Dense, self.width_multiplier, dtype=self.dtype, kernel_init=self._kernel_init()
        )

    @property
    def head(self) -> Layer:
        """Makes a classifier: (B, features) -> (B, num_classes)."""
        return functools.partial(nn.Dense, self.num_classes, dtype=self.dtype)

    @nn.nowrap
    def drop(self, x: jax.Array, rate: float, train: bool, before: str = "head") -> jax.Array:
        """Dropout at the model's rate, or else at the paper's `rate`, in front of the layer `before`."""
        train = train and before not in self.frozen
        return Dropout(rate if self.dropout is None else self.dropout)(x, train=train)

    @nn.nowrap
    def drop_path(self, rate: float, train: bool) -> Callable[[jax.Array], jax.Array] | None:
        """Returns stochastic depth at a rate, for a block to call on its branch; None where it would do nothing."""
        return (lambda x: StochasticDepth(rate)(x, train=True)) if train and rate else None

    @nn.nowrap
    def checkpointed(self, stage: Callable[..., jax.Array], x: jax.Array, *args: Any) -> jax.Array:
        """Returns stage(self, x, *args), whose inside is computed again for the backward pass if `remat` is set."""
        if self.remat:
            stage = nn.remat(stage, static_argnums=tuple(range(2, 2 + len(args))))
        return stage(self, x, *args)

    @nn.nowrap
    def has_aux(self, name: str, train: bool) -> bool:
        """Whether an auxiliary head is computed."""
        return (train and name not in self.frozen) or self.is_initializing()

    def aux(self, name: str, logits: jax.Array, weight: float) -> None:
        """Hands the logits of an auxiliary head to the loss, which counts them `weight` times."""
        if self.start is None and not self.is_initializing():
            logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
            entry = (logits, weight)
            self.sow("aux", f"{name}_logits", entry, reduce_fn=lambda _, new: new, init_fn=lambda: entry)

    def _kernel_init(self) -> nn.initializers.Initializer:
        return initializer_for(self.activation) if self.kernel_init is None else initializer(self.kernel_init)

    def _norm(self, train: bool) -> Layer:
        # E[x^2] - E[x]^2, Flax's default, loses all digits where the mean is large.
        options: dict[str, Any] = dict(epsilon=self.epsilon, dtype=self.dtype, use_fast_variance=False)
        if self.norm == "batch":
            batch = dict(use_running_average=not train, momentum=self.momentum)
            return functools.partial(BatchNorm, **batch, **options)
        if self.norm == "group":
            return lambda **own: lambda x: nn.GroupNorm(math.gcd(32, x.shape[-1]), **options, **own)(x)
        if self.norm == "none":
            return lambda **_: None
        return functools.partial({"layer": nn.LayerNorm, "instance": nn.InstanceNorm}[self.norm], **options)


def scaled(layer: Layer, width_multiplier: float, features: int, *args: Any, **options: Any) -> Any:
    """Makes a layer of the paper's number of features times a multiplier, rounded to a multiple of its groups."""
    groups = options.get("feature_group_count", 1)
    return layer(groups * max(1, round(features * width_multiplier / groups)), *args, **options)


def flatten(x: jax.Array) -> jax.Array:
    """(B, H, W, C) -> (B, C * H * W) in PyTorch's order, so that a dense layer's kernel is PyTorch's, transposed."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
