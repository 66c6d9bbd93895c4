"""What all architectures have in common: their fields, the layers that these describe, and how they are called."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.core
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from fcnn.errors import UserError, unknown
from fcnn.nn import BatchNorm, Dropout, activation, conv_general_dilated, initializer, initializer_for
from fcnn.nn.fused_conv import FUSED, Activation, Convolved, convolved

Norm = Literal["batch", "group", "layer", "instance", "none"]


class Classifier(nn.Module, kw_only=True):
    """An architecture: images (B, H, W, C) -> logits (B, num_classes), at least float32.

        variables = model.init(key, images, train=False)      # {"params": ..., "batch_stats": ...}
        logits = model.apply(variables, images, train=False)
        logits, found = model.apply(variables, images, train=False, features=("stage3",))

    `features` names endpoints, whose activations come along as a dictionary. In training, a model with auxiliary heads
    also sows their logits in the collection "aux": each entry is a pair (logits, weight of its loss).

    A subclass writes `forward`, with the layers that `Layers` makes of these fields.
    """

    num_classes: int
    width: float = 1.0
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
    """Keep only the stages' inputs for the backward pass and compute the rest again."""
    frozen: str | None = None
    """The endpoint up to which nothing learns: what comes before runs as in evaluation, and gets no gradient."""
    given: tuple[int, int, int] | None = None
    """(H, W, C) of the images whose activations at `frozen` are given in their place."""
    axis_name: str | None = None
    """The pmap axis over which batch norm is synchronised; None under jit, which sees the whole batch anyway."""

    paper: ClassVar[str]
    """Where it was published."""
    image_shape: ClassVar[tuple[int, int, int]] = (224, 224, 3)
    """(H, W, C) of the images that it was published for."""
    classes: ClassVar[int] = 1000
    """The number of classes that it was published for."""
    epsilon: ClassVar[float] = 1e-5
    """Added to the variance by the normalization."""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool, features: Sequence[str] = ()) -> Any:
        start = None
        if self.given is not None:
            # What would compute the activations from images is traced, and no part of any compiled program.
            start, images = images, jnp.zeros((1, *self.given), jnp.float32)
        self.check_size(*images.shape[1:3], train=train or self.is_initializing())
        layers = Layers(self, train, start)
        logits = self.forward(images, layers)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        for name in features:
            if name not in layers.endpoints:
                raise UserError(unknown(f"endpoint of {type(self).__name__}", name, layers.endpoints))
        return (logits, {name: layers.endpoints[name] for name in features}) if features else logits

    def check_size(self, height: int, width: int, *, train: bool) -> None:
        """UserError if images of this size are too small."""
        need = self.smallest(train=train)
        if min(height, width) < need:
            less = self.smallest(train=False)
            but = f", or {less}x{less} without auxiliary heads (model.options auxiliary false)" if less < need else ""
            raise UserError(
                f"{type(self).__name__} can't take images of {height}x{width}; the smallest are {need}x{need}{but}"
            )

    def forward(self, x: jax.Array, layers: "Layers") -> jax.Array:
        """Images -> logits (B, num_classes) of any float type."""
        raise NotImplementedError

    def smallest(self, *, train: bool) -> int:
        """The least height and width that it can take; more for training where an auxiliary head needs it."""
        return 1

    def torch_name(self, layer: str) -> str:
        """What the reference implementation in PyTorch calls a layer, for `fcnn.weights`: "stem_conv" -> "conv1"."""
        return layer.replace("/", ".")

    def reached(self, name: str, shape: tuple[int, ...]) -> None:
        """Called at each endpoint: a place for `nn.intercept_methods` to see which layers came before."""

    def aux(self, name: str, logits: jax.Array, weight: float) -> None:
        """Hands the logits of an auxiliary head to the loss, which counts them `weight` times."""
        if not self.is_initializing():
            logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
            entry = (logits, weight)
            self.sow("aux", f"{name}_logits", entry, reduce_fn=lambda _, new: new, init_fn=lambda: entry)


class Layers:
    """The layers that a model's fields describe, for one call of it; blocks get it handed on.

    Channels are the paper's: `conv` and `dense` multiply them by the model's width.
    """

    def __init__(self, model: Classifier, train: bool, start: jax.Array | None = None) -> None:
        self.train = train and model.frozen is None
        self._train, self._start = train, start
        self.initializing = model.is_initializing()
        self._act = activation(model.activation)
        self._fused: Activation | None = next((name for name in FUSED if name == model.activation), None)
        self._convolved: dict[int, tuple[jax.Array, Convolved]] = {}
        self.endpoints: dict[str, jax.Array] = {}
        self._model = model
        name = model.kernel_init
        self._init = initializer_for(model.activation) if name is None else initializer(name)

    def stage(self, name: str, method: Callable[..., jax.Array], x: jax.Array, *args: Any) -> jax.Array:
        """The endpoint `method(model, x, layers, *args)`, whose inside is computed again for the backward pass if the
        model says so."""
        if self._model.remat:
            method = nn.remat(method, static_argnums=tuple(range(2, 3 + len(args))))
        return self.endpoint(name, method(self._model, x, self, *args))

    def endpoint(self, name: str, x: jax.Array) -> jax.Array:
        """Gives an activation a name, by which it can be asked for."""
        self._model.reached(name, x.shape)
        if name == self._model.frozen:
            x = jax.lax.stop_gradient(x) if self._start is None else self._start
            self.train = self._train
        self.endpoints[name] = checkpoint_name(x, name)
        return self.endpoints[name]

    def channels(self, channels: int) -> int:
        """The paper's number times the model's width, at least 1."""
        return max(1, round(channels * self._model.width))

    def conv(
        self, channels: int, kernel: int | tuple[int, int], stride: int = 1, padding: Any = 0, *, groups: int = 1,
        bias: bool | None = None, name: str,
    ) -> Callable[[jax.Array], jax.Array]:  # fmt: skip
        """A convolution; it has a bias where no normalization follows, unless `bias` says otherwise."""
        module = nn.Conv(
            self.channels(channels),
            (kernel, kernel) if isinstance(kernel, int) else kernel,
            (stride, stride),
            [(p, p) for p in ((padding, padding) if isinstance(padding, int) else padding)],
            feature_group_count=groups,
            use_bias=self._model.norm == "none" if bias is None else bias,
            dtype=self._model.dtype,
            kernel_init=self._init,
            conv_general_dilated=conv_general_dilated,
            name=name,
        )
        return module if self.train or self.initializing else functools.partial(self._convolve, module)

    def _convolve(self, module: nn.Conv, x: jax.Array) -> jax.Array:
        """At test time: a convolution whose result is remembered, for `norm`, `act` and `add` to be part of it."""
        y = module(x)
        ours = module.conv_general_dilated is conv_general_dilated
        if not (ours and isinstance(y, jax.core.Tracer) and y.dtype == x.dtype):  # a type to compute in casts x first
            return y
        params = module.variables["params"]
        shape = module.strides, module.padding, module.feature_group_count
        made = convolved(x, params["kernel"], params.get("bias"), *shape)
        return y if made is None else self._remember(y, made)

    def _remember(self, y: jax.Array, made: Convolved) -> jax.Array:
        self._convolved[id(y)] = y, made  # y too, so that its identity stays its own
        return y

    def _remembered(self, y: jax.Array) -> Convolved | None:
        return self._convolved.get(id(y), (y, None))[1]

    def act(self, x: jax.Array) -> jax.Array:
        """The activation."""
        made = self._remembered(x)
        return self._act(x) if made is None or self._fused is None else made.compute(activation=self._fused)

    def add(self, y: jax.Array, shortcut: jax.Array) -> jax.Array:
        """The activation of the sum."""
        made = self._remembered(y)
        return self._act(y + shortcut) if made is None or self._fused is None else made.compute(shortcut, self._fused)

    def norm(
        self, *, act: bool = True, scale_init: Any = nn.initializers.ones, name: str
    ) -> Callable[[jax.Array], jax.Array]:
        """The normalization, the identity where the model has none, and with `act` the activation behind it."""
        fused = act and (self._model.norm, self._model.activation) == ("batch", "relu")
        norm = functools.partial(self._normalize, self._norm(scale_init, name, relu=fused))
        return norm if fused or not act else lambda x: self.act(norm(x))

    def _normalize(self, norm: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
        y, made = norm(x), self._remembered(x)
        if made is None or not isinstance(norm, BatchNorm):
            return y
        # y and x are dropped from the program then.
        found = made.normalized(**norm.variables["params"], **norm.variables["batch_stats"], epsilon=norm.epsilon)
        return found.compute(activation="relu") if norm.relu else self._remember(found.compute(), found)

    def _norm(self, scale_init: Any, name: str, *, relu: bool) -> Callable[[jax.Array], jax.Array]:
        model = self._model
        options: dict[str, Any] = dict(epsilon=model.epsilon, dtype=model.dtype, scale_init=scale_init, name=name)
        options["use_fast_variance"] = False  # E[x^2] - E[x]^2 loses all digits where the mean is large
        if model.norm == "batch":
            return BatchNorm(not self.train, momentum=0.9, axis_name=model.axis_name, relu=relu, **options)
        if model.norm == "group":
            return lambda x: nn.GroupNorm(math.gcd(32, x.shape[-1]), **options)(x)
        if model.norm == "layer":
            return nn.LayerNorm(**options)
        if model.norm == "instance":
            return nn.InstanceNorm(**options)
        return lambda x: x

    def unit(self, *shape: Any, name: str, **options: Any) -> "Unit":
        """Convolution, normalization, activation; arguments as for `conv`."""
        return Unit(self, shape, options, name=name)

    def dense(self, features: int, *, name: str) -> nn.Dense:
        """A hidden dense layer."""
        return nn.Dense(self.channels(features), dtype=self._model.dtype, kernel_init=self._init, name=name)

    def dropout(self, x: jax.Array, rate: float) -> jax.Array:
        """Dropout at the model's rate, or else at the paper's `rate`."""
        return Dropout(rate if self._model.dropout is None else self._model.dropout)(x, train=self.train)

    def head(self, x: jax.Array, *, name: str = "head") -> jax.Array:
        """A classifier: (B, features) -> (B, num_classes)."""
        return nn.Dense(self._model.num_classes, dtype=self._model.dtype, name=name)(x)


class Unit(nn.Module):
    """Convolution, normalization, activation: (B, H, W, C) -> (B, H', W', channels)."""

    layers: Layers
    shape: tuple[Any, ...]
    """Channels, kernel, stride and padding, as far as they are given."""
    options: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.layers.conv(*self.shape, **self.options, name="conv")(x)
        return self.layers.norm(name="norm")(x)


def flatten(x: jax.Array) -> jax.Array:
    """(B, H, W, C) -> (B, C * H * W) in PyTorch's order, so that a dense layer's kernel is PyTorch's, transposed."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
