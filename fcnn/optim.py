"""From the optimizer's part of a config to an Optax chain: clip, the method, weight decay, the learning rate."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fcnn import names
from fcnn.config import OptimConfig

Params = Any


def _option(config: OptimConfig, name: str) -> Any:
    """An option's value, or its default for this optimizer or schedule."""
    value = getattr(config, name)
    return value if value is not None else (names.OPTIMIZERS[config.name] | names.SCHEDULES[config.schedule])[name]


def decay_mask(params: Params, which: str) -> Params:
    """True on what weight decay and the penalties see: kernels (two axes or more), or all."""
    return jax.tree.map(lambda leaf: which == "all" or leaf.ndim > 1, params)


def _cosine(c: OptimConfig, steps: int) -> optax.Schedule:
    """Half a cosine from the peak to its final scale (Loshchilov and Hutter 2016, one cycle of equation 5)."""
    return optax.cosine_decay_schedule(c.learning_rate, steps, alpha=_option(c, "final_scale"))


def _step(c: OptimConfig, steps: int) -> optax.Schedule:
    """The peak, times the decay factor once for each milestone passed (He et al. 2015, section 4.2)."""
    drops = {round(mark * steps): _option(c, "decay_factor") for mark in _option(c, "milestones")}
    return optax.piecewise_constant_schedule(c.learning_rate, drops)


def _linear(c: OptimConfig, steps: int) -> optax.Schedule:
    return optax.linear_schedule(c.learning_rate, c.learning_rate * _option(c, "final_scale"), steps)


def _exponential(c: OptimConfig, steps: int) -> optax.Schedule:
    return optax.exponential_decay(c.learning_rate, steps, _option(c, "final_scale"))


def _one_cycle(c: OptimConfig, steps: int) -> optax.Schedule:
    """From a 25th of the peak up to it and down to its final scale, both along half a cosine (Smith 2018)."""
    final = max(_option(c, "final_scale"), 1e-12)  # Optax divides by it
    return optax.cosine_onecycle_schedule(
        steps, c.learning_rate, pct_start=_option(c, "rise"), div_factor=25, final_div_factor=1 / (25 * final)
    )


SCHEDULES: dict[str, Callable[[OptimConfig, int], optax.Schedule]] = {
    "constant": lambda c, _: optax.constant_schedule(c.learning_rate),
    "step": _step,
    "cosine": _cosine,
    "linear": _linear,
    "exponential": _exponential,
    "one_cycle": _one_cycle,
}

# Each method without its learning rate: gradients in, directions (to be subtracted) out.
METHODS: dict[str, Callable[[OptimConfig], optax.GradientTransformation]] = {
    "sgd": lambda c: optax.identity(),
    "momentum": lambda c: optax.trace(_option(c, "momentum")),
    "nesterov": lambda c: optax.trace(_option(c, "momentum"), nesterov=True),
    "adagrad": lambda c: optax.scale_by_rss(initial_accumulator_value=0.0, eps=_option(c, "epsilon")),
    "rmsprop": lambda c: optax.chain(
        optax.scale_by_rms(_option(c, "beta2"), eps=_option(c, "epsilon"), eps_in_sqrt=False),
        optax.trace(_option(c, "momentum")) if _option(c, "momentum") else optax.identity(),
    ),
    "adam": lambda c: optax.scale_by_adam(_option(c, "beta1"), _option(c, "beta2"), _option(c, "epsilon")),
    "adamw": lambda c: optax.scale_by_adam(_option(c, "beta1"), _option(c, "beta2"), _option(c, "epsilon")),
}


def make_schedule(config: OptimConfig, *, steps: int, warmup: int) -> optax.Schedule:
    """The learning rate by step: `warmup` steps up to the peak, then the named schedule over the rest of `steps`.

    Step t of the warm-up (from 0) has the rate peak x (t + 1) / (warmup + 1): no step is taken at rate zero.
    """
    main = SCHEDULES[config.schedule](config, max(steps - warmup, 1))
    if warmup == 0:
        return main
    peak = config.learning_rate
    return optax.join_schedules([optax.linear_schedule(peak / (warmup + 1), peak, warmup), main], [warmup])


def make_optimizer(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The Optax chain of a config.

    Weight decay is decoupled (Loshchilov and Hutter 2017): the decayed weights lose rate x decay x weight beside the
    method's own step. LARS is the exception: You et al. 2017, algorithm 1, put it inside the trust ratio.
    """
    decay = _option(config, "weight_decay")

    def mask(params: Params) -> Params:
        return decay_mask(params, config.decay_mask)

    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    if config.name == "lars":
        return optax.chain(
            clip,
            optax.lars(
                schedule,
                weight_decay=decay,
                weight_decay_mask=mask,
                trust_coefficient=_option(config, "trust_coefficient"),
                trust_ratio_mask=lambda params: decay_mask(params, "kernels"),
                momentum=_option(config, "momentum"),
            ),
        )
    return optax.chain(
        clip,
        METHODS[config.name](config),
        optax.add_decayed_weights(decay, mask) if decay else optax.identity(),
        optax.scale_by_learning_rate(schedule),
    )


def freeze(optimizer: optax.GradientTransformation, frozen: Collection[str]) -> optax.GradientTransformation:
    """The optimizer for all layers but those named in `frozen`, in the top level of the params: it has no moments of
    them, its clipping doesn't see them, its weight decay doesn't either."""
    # Neither optax.masked nor a chain with masked(set_to_zero()) keeps weight decay off what is frozen.
    return optax.partition(
        {"learnt": optimizer, "frozen": optax.set_to_zero()},
        lambda params: {name: "frozen" if name in frozen else "learnt" for name in params},
    )


def scale_rates(optimizer: optax.GradientTransformation, shares: Mapping[str, float]) -> optax.GradientTransformation:
    """The optimizer with a learning rate of its own for each layer: `shares[name]` times the schedule's, for the names
    in the top level of the params; 1 for those not named."""

    def scale(updates: Params, params: Params) -> Params:
        return {name: optax.tree.scale(shares.get(name, 1.0), layer) for name, layer in updates.items()}

    return optax.chain(optimizer, optax.stateless(scale))


def penalty(params: Params, *, l1: float, l2: float, which: str) -> jax.Array:
    """l1 x sum |w| + l2 / 2 x sum w^2 over the weights that `decay_mask(params, which)` names; a float32 scalar."""
    total = jnp.zeros((), jnp.float32)
    for leaf, seen in zip(jax.tree.leaves(params), jax.tree.leaves(decay_mask(params, which)), strict=True):
        if seen and l1:
            total += l1 * jnp.abs(leaf).sum()
        if seen and l2:
            total += 0.5 * l2 * jnp.square(leaf).sum()
    return total
