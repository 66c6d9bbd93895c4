"""What a training step changes in the layers of any Flax model, from outside: dropout's masks, batch norm's axis, which
layers run as in evaluation."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import flax.linen as nn
import jax

from fcnn.nn import Dropout, dropout
from fcnn.utils.errors import UserError


def by_example(index: jax.Array) -> Any:
    """Returns a context in which dropout, ours or Flax's of single values, draws example j's mask for position
    `index[j]` of the global batch: the masks don't depend on how the batch is split."""

    def interceptor(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module: Any = context.module
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if isinstance(module, Dropout):
            return call(*args, **{**kwargs, "index": index})
        if isinstance(module, nn.Dropout) and not module.broadcast_dims and args[1:] == () and "rng" not in kwargs:
            if module.rate == 0 or nn.merge_param("deterministic", module.deterministic, kwargs.get("deterministic")):
                return args[0]
            return dropout(args[0], module.rate, module.make_rng(module.rng_collection), index=index)
        return call(*args, **kwargs)

    return nn.intercept_methods(interceptor)


# What makes a layer run as in evaluation: a field or an argument of it, and its value there.
SWITCHES: tuple[tuple[type[nn.Module], str, bool], ...] = (
    (nn.BatchNorm, "use_running_average", True),
    (nn.Dropout, "deterministic", True),
    (nn.SpectralNorm, "update_stats", False),
    (Dropout, "train", False),
)


def evaluated(frozen: Collection[str]) -> Any:
    """Returns a context in which the layers named in `frozen`, in the top level of the variables, and all that is
    inside of them run as in evaluation: batch norm by its running statistics, dropout as the identity.

    Raises:
      UserError: in it, a frozen layer of a class that isn't in SWITCHES has changed its statistics.
    """

    def interceptor(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if context.method_name != "__call__" or not set(module.path[:1]) & set(frozen):
            return call(*args, **kwargs)
        for kind, name, value in SWITCHES:
            if isinstance(module, kind) and hasattr(module, name):  # a field, or an argument in its place
                return _with_field(name, value, call, args, kwargs, module)
            if isinstance(module, kind):
                return call(*args, **{**kwargs, name: value})
        before = _statistics(module)
        result = call(*args, **kwargs)
        if any(before.get(name) is not array for name, array in _statistics(module).items()):
            raise UserError(
                f"frozen layer {'/'.join(module.path)}: a {type(module).__name__} can't be switched to its running "
                "statistics from outside; call it as in evaluation in your model"
            )
        return result

    return nn.intercept_methods(interceptor)


def running_averages() -> Any:
    """Returns a context in which every batch norm normalizes by its running statistics, which stay as they are."""

    def interceptor(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if context.method_name != "__call__" or not isinstance(context.module, nn.BatchNorm):
            return call(*args, **kwargs)
        return _with_field("use_running_average", True, call, args, kwargs, context.module)

    return nn.intercept_methods(interceptor)


def refuse_single_values() -> Any:
    """Returns a context in which a batch norm that has one value per channel to normalize, and would give its bias
    whatever that is, raises UserError."""

    def interceptor(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module: Any = context.module
        if isinstance(module, nn.BatchNorm) and context.method_name == "__call__" and not module.is_initializing():
            x, *rest = args or (kwargs["x"],)
            running = rest[0] if rest else kwargs.get("use_running_average")
            running = module.use_running_average if running is None else running
            axes = (module.axis,) if isinstance(module.axis, int) else module.axis
            count = x.size // math.prod(x.shape[axis] for axis in axes)
            count *= 1 if module.axis_name is None else jax.lax.axis_size(module.axis_name)
            if not running and count == 1:
                raise UserError(
                    f"batch norm {'/'.join(module.path)}: a batch with one value per channel can't be normalized; take "
                    "more images a step (--train.batch-size) or another norm (--model.norm)"
                )
        return call(*args, **kwargs)

    return nn.intercept_methods(interceptor)


def _with_field(name: str, value: bool, call: Callable, args: tuple, kwargs: dict, module: nn.Module) -> Any:
    """Calls a module with a value of a field that may be an argument, by position the second one, in its place."""
    if getattr(module, name) is not value:
        args = (*args[:1], *(None for _ in args[1:2]), *args[2:])
        kwargs = {key: item for key, item in kwargs.items() if key != name}
        object.__setattr__(module, name, value)  # for `conv_norm_act` to see; the module lives for one call
    return call(*args, **kwargs)


def _statistics(module: nn.Module) -> dict[str, Any]:
    """Returns the running statistics that are a module's own and not those of a module inside of it."""
    own = module.variables.get("batch_stats", {})
    return {name: array for name, array in own.items() if not isinstance(array, Mapping)}


def synchronized(axis_name: str | None) -> Any:
    """Returns a context in which every batch norm without an axis of its own averages its statistics over `axis_name`:
    each device that runs its own program normalizes by the whole batch."""

    def interceptor(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module: Any = context.module
        if isinstance(module, nn.BatchNorm) and context.method_name == "__call__" and module.axis_name is None:
            object.__setattr__(module, "axis_name", axis_name)  # the module lives for one call
        return call(*args, **kwargs)

    return nn.intercept_methods(interceptor)
