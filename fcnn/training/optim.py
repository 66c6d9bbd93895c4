"""From the optimizer's part of a config to an Optax chain: clip, the method, weight decay, the learning rate."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fcnn.config import OptimConfig, names
from fcnn.utils.errors import UserError, unknown

Params = Any


def _option(config: OptimConfig, name: str) -> Any:
    """An option's value, or its default for this optimizer or schedule."""
    value = getattr(config, name)
    return value if value is not None else (names.OPTIMIZERS[config.name] | names.SCHEDULES[config.schedule])[name]


def decay_mask(params: Params, kind: str) -> Params:
    """True on what weight decay and the penalties see: kernels (two axes or more), or all."""
    return jax.tree.map(lambda leaf: kind == "all" or leaf.ndim > 1, params)


# The schedules after the warm-up, by step, from the peak at step 0. All but "one_cycle" reach their end_lr_factor at
# step `steps`, one after the last, as Optax's, PyTorch's and Keras's do.


def _cosine(c: OptimConfig, steps: int) -> optax.Schedule:
    """Half a cosine from the peak to `end_lr_factor` of it (Loshchilov and Hutter 2016, one cycle of equation 5)."""
    return optax.cosine_decay_schedule(c.learning_rate, steps, alpha=_option(c, "end_lr_factor"))


def _linear(c: OptimConfig, steps: int) -> optax.Schedule:
    return optax.linear_schedule(c.learning_rate, c.learning_rate * _option(c, "end_lr_factor"), steps)


def _exponential(c: OptimConfig, steps: int) -> optax.Schedule:
    return optax.exponential_decay(c.learning_rate, steps, _option(c, "end_lr_factor"))


def _one_cycle(c: OptimConfig, steps: int) -> optax.Schedule:
    """From a 25th of the peak up to it and down to `end_lr_factor` of it, both along half a cosine (Smith 2018).

    Fewer steps than 1 / pct_start start at the peak.
    """
    final = max(_option(c, "end_lr_factor"), 1e-12)  # Optax divides by it
    return optax.cosine_onecycle_schedule(
        steps, c.learning_rate, pct_start=_option(c, "pct_start"), div_factor=25, final_div_factor=1 / (25 * final)
    )


SCHEDULES: dict[str, Callable[[OptimConfig, int], optax.Schedule]] = {
    "constant": lambda c, _: optax.constant_schedule(c.learning_rate),
    "step": lambda c, _: optax.constant_schedule(c.learning_rate),  # `make_schedule` multiplies it by `_drops`
    "cosine": _cosine,
    "linear": _linear,
    "exponential": _exponential,
    "one_cycle": _one_cycle,
}


def _drops(c: OptimConfig, steps: int) -> optax.Schedule:
    """gamma to the power of the milestones passed (He et al. 2015, section 4.2), by step of the whole run.

    The first step is never after a milestone; milestones that round to the same step multiply.
    """
    factors: dict[int, float] = {}
    for milestone in _option(c, "milestones"):
        step = max(round(milestone * steps), 1)
        factors[step] = factors.get(step, 1.0) * _option(c, "gamma")
    return optax.piecewise_constant_schedule(1.0, factors)


def _scale_by_adagrad(epsilon: float) -> optax.GradientTransformation:
    """Scales by 1 / (sqrt(sum of squared gradients) + epsilon) (Duchi et al. 2011, as in PyTorch).

    `optax.scale_by_rss` has epsilon inside the root, where 1e-10 outweighs the squares of gradients below 1e-5.
    """

    def init(params: Params) -> optax.ScaleByRssState:
        return optax.ScaleByRssState(optax.tree.zeros_like(params))

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, optax.OptState]:
        del params
        sums = jax.tree.map(lambda total, grad: total + jnp.square(grad), state.sum_of_squares, updates)
        scaled = jax.tree.map(
            lambda grad, total: jnp.where(total > 0, grad / (jnp.sqrt(total) + epsilon), 0), updates, sums
        )
        return scaled, optax.ScaleByRssState(sums)

    return optax.GradientTransformation(init, update)


def _momentum(c: OptimConfig) -> optax.GradientTransformation:
    """Momentum as in PyTorch, undamped: velocity = momentum x velocity + gradient; none at 0."""
    momentum = _option(c, "momentum")
    return optax.trace(momentum, nesterov=c.nesterov) if momentum else optax.identity()


def _muon(c: OptimConfig) -> optax.GradientTransformation:
    """Muon for kernels, each as a matrix of inputs and outputs, and for the rest Adam with Nesterov momentum (Jordan et
    al. 2024, kellerjordan.github.io/posts/muon)."""

    def dimensions(params: Params) -> Params:
        def of(leaf: jax.Array) -> Any:
            inputs = tuple(range(leaf.ndim - 1))
            return optax.contrib.MuonDimensionNumbers(inputs, (leaf.ndim - 1,)) if inputs else None

        return jax.tree.map(of, params)

    muon = optax.contrib.muon(
        1.0,
        beta=_option(c, "momentum"),
        adam_b1=_option(c, "beta1"),
        adam_b2=_option(c, "beta2"),
        eps=_option(c, "epsilon"),
        muon_weight_dimension_numbers=dimensions,
    )
    return optax.chain(muon, optax.scale(-1.0))


def _adam(c: OptimConfig) -> optax.GradientTransformation:
    return optax.scale_by_adam(_option(c, "beta1"), _option(c, "beta2"), _option(c, "epsilon"))


Mask = Callable[[Params], Params]
Optimizer = Callable[[OptimConfig, optax.Schedule, Mask], optax.GradientTransformation]


def _decoupled(direction: Callable[[OptimConfig], optax.GradientTransformation]) -> Optimizer:
    """Adds decoupled weight decay (Loshchilov and Hutter 2017) and the learning rate to an optimizer's direction: the
    decayed weights lose rate x decay x weight in addition to the optimizer's own step."""

    def make(config: OptimConfig, schedule: optax.Schedule, mask: Mask) -> optax.GradientTransformation:
        return optax.chain(direction(config), _weight_decay(config, mask), optax.scale_by_learning_rate(schedule))

    return make


def _weight_decay(config: OptimConfig, mask: Mask) -> optax.GradientTransformation:
    decay = _option(config, "weight_decay")
    return optax.add_decayed_weights(decay, mask) if decay else optax.identity()


def _lamb(config: OptimConfig, schedule: optax.Schedule, mask: Mask) -> optax.GradientTransformation:
    """LAMB: Adam and weight decay together, scaled by each kernel's trust ratio (You et al. 2019, algorithm 2); biases
    and norms have none, as in timm."""
    trust_ratio = optax.masked(optax.scale_by_trust_ratio(), lambda params: decay_mask(params, "kernels"))
    steps = _adam(config), _weight_decay(config, mask), trust_ratio, optax.scale_by_learning_rate(schedule)
    return optax.chain(*steps)


def _scale_by_trust_ratio(coefficient: float, decay: float, mask: Mask) -> optax.GradientTransformation:
    """Adds weight decay and scales each kernel by its trust ratio (You et al. 2017, algorithm 1).

    lambda (g + decay w) with lambda = coefficient |w| / (|g| + decay |w|). `optax.lars` divides by |g + decay w|.
    Biases and norms have no ratio; nor has a kernel of zeros, which would stay where it is.
    """

    def scale(grad: jax.Array, weight: jax.Array, decayed: bool) -> jax.Array:
        rate = decay if decayed else 0.0
        update = grad + rate * weight
        if weight.ndim < 2:
            return update
        norm = jnp.linalg.norm(weight.ravel())
        total = jnp.linalg.norm(grad.ravel()) + rate * norm
        return update * jnp.where((norm > 0) & (total > 0), coefficient * norm / total, 1.0)

    return optax.stateless(lambda updates, params: jax.tree.map(scale, updates, params, mask(params)))


def _lars(config: OptimConfig, schedule: optax.Schedule, mask: Mask) -> optax.GradientTransformation:
    """LARS, with weight decay inside the trust ratio and momentum (You et al. 2017, algorithm 1)."""
    return optax.chain(
        _scale_by_trust_ratio(_option(config, "trust_coefficient"), _option(config, "weight_decay"), mask),
        optax.scale_by_learning_rate(schedule),
        optax.trace(_option(config, "momentum")),
    )


def _schedule_free(direction: Callable[[OptimConfig], optax.GradientTransformation]) -> Optimizer:
    """Schedule-Free (Defazio et al. 2024, arXiv:2405.15682): gradients at a point between the weights that an optimizer
    without momentum moves and their average, which is what is evaluated (`schedule_free_params`)."""

    def make(config: OptimConfig, schedule: optax.Schedule, mask: Mask) -> optax.GradientTransformation:
        optimizer = _decoupled(direction)(config, schedule, mask)
        return optax.contrib.schedule_free(optimizer, schedule, b1=_option(config, "beta1"))

    return make


def schedule_free_params(opt_state: optax.OptState, params: Params) -> Params:
    """Returns the average of the weights in the state of a Schedule-Free optimizer, where `params` is where its
    gradients are taken."""

    def is_schedule_free(state: Any) -> bool:
        return isinstance(state, optax.contrib.ScheduleFreeState)

    states = jax.tree.leaves(opt_state, is_leaf=is_schedule_free)
    return optax.contrib.schedule_free_eval_params(next(filter(is_schedule_free, states)), params)


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": _decoupled(_momentum),
    "adagrad": _decoupled(lambda c: _scale_by_adagrad(_option(c, "epsilon"))),
    "rmsprop": _decoupled(
        lambda c: optax.chain(
            optax.scale_by_rms(_option(c, "beta2"), eps=_option(c, "epsilon"), eps_in_sqrt=False), _momentum(c)
        )
    ),
    "adam": _decoupled(_adam),
    "adamw": _decoupled(_adam),
    "lars": _lars,
    "lamb": _lamb,
    "muon": _decoupled(_muon),
    "schedule_free_sgd": _schedule_free(lambda _: optax.identity()),
    "schedule_free_adamw": _schedule_free(
        lambda c: optax.scale_by_adam(b1=0, b2=_option(c, "beta2"), eps=_option(c, "epsilon"))
    ),
}


def make_schedule(config: OptimConfig, *, steps: int, warmup: int) -> optax.Schedule:
    """Returns the learning rate by step: `warmup` steps up to the peak, then the named schedule over the rest.

    Step t of the warm-up (from 0) has the rate peak x (t + 1) / (warmup + 1): no step is taken at rate zero, and a
    warm-up that is longer than the run never reaches the peak. The milestones of "step" are shares of all `steps`,
    warm-up included.
    """
    rate = SCHEDULES[config.schedule](config, max(steps - warmup, 1))
    if warmup:
        peak = config.learning_rate
        rate = optax.join_schedules([optax.linear_schedule(peak / (warmup + 1), peak, warmup), rate], [warmup])
    if config.schedule != "step":
        return rate
    drops = _drops(config, steps)
    return lambda step: rate(step) * drops(step)


def make_optimizer(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Returns the optimizer of a config, as an Optax chain."""
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    optimizer = OPTIMIZERS[config.name](config, schedule, lambda params: decay_mask(params, config.decay_mask))
    return optax.chain(clip, optimizer)


def check_layers(names: Iterable[str], layers: Iterable[str]) -> None:
    """UserError, with the nearest name that there is, unless all names are those of layers: of the top level of the
    variables, so that what is inside of a layer has the name of that layer."""
    layers = sorted(set(layers))
    for name in names:
        if name not in layers:
            inside = name.partition("/")[0]
            hint = f"; it is inside of {inside}, which can be frozen as a whole" if inside in layers else ""
            raise UserError(unknown("layer", name, layers) + hint)


def freeze(optimizer: optax.GradientTransformation, frozen: Collection[str]) -> optax.GradientTransformation:
    """Returns the optimizer for all layers but those named in `frozen`, in the top level of the params: it has no
    moments of them, and neither its clipping nor its weight decay sees them. `init` raises a UserError for a name that
    isn't there."""

    def labels(params: Params) -> Params:
        check_layers(frozen, params)
        return {name: "frozen" if name in frozen else "trained" for name in params}

    # Neither optax.masked nor a chain with masked(set_to_zero()) keeps weight decay off what is frozen.
    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)


def scale_rates(
    optimizer: optax.GradientTransformation, lr_scales: Mapping[str, float]
) -> optax.GradientTransformation:
    """Returns the optimizer with a learning rate of its own for each layer: `lr_scales[name]` times the schedule's, for
    the names in the top level of the params; 1 for those not named. `init` raises a UserError for a name that isn't
    there."""

    def check(params: Params) -> optax.EmptyState:
        check_layers(lr_scales, params)
        return optax.EmptyState()

    def scale(updates: Params, state: optax.OptState, params: Params | None = None) -> tuple[Params, optax.OptState]:
        return {name: optax.tree.scale(lr_scales.get(name, 1.0), layer) for name, layer in updates.items()}, state

    return optax.chain(optimizer, optax.GradientTransformation(check, scale))


def apply_layer_rates(
    optimizer: optax.GradientTransformation, lr_scales: Mapping[str, float], frozen: Collection[str]
) -> optax.GradientTransformation:
    """Returns the optimizer with learning rates by layer (`scale_rates`) and without the frozen layers (`freeze`)."""
    if lr_scales:
        optimizer = scale_rates(optimizer, lr_scales)
    return freeze(optimizer, frozen) if frozen else optimizer


def sharpness_aware(optimizer: optax.GradientTransformation, rho: float) -> optax.GradientTransformationExtraArgs:
    """Returns the optimizer with the gradient at the weights that a step of length `rho` along the gradient leads to
    (SAM, Foret et al. 2020, arXiv:2010.01412). `update` needs `grad_fn(params, 0)`, of the same batch."""
    ascent = optax.chain(optax.contrib.normalize(), optax.sgd(rho))
    return optax.contrib.sam(optimizer, ascent, opaque_mode=True)


def penalty(params: Params, *, l1: float, l2: float, kind: str) -> jax.Array:
    """l1 x sum |w| + l2 / 2 x sum w^2 over the weights that `decay_mask(params, kind)` names; a float32 scalar."""
    total = jnp.zeros((), jnp.float32)
    for leaf, counted in zip(jax.tree.leaves(params), jax.tree.leaves(decay_mask(params, kind)), strict=True):
        if counted and l1:
            total += l1 * jnp.abs(leaf).sum()
        if counted and l2:
            total += 0.5 * l2 * jnp.square(leaf).sum()
    return total
