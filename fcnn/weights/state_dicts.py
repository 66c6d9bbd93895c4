"""Where the weights are in what a training script saved, beside an optimizer's state and the number of an epoch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fcnn.utils.errors import UserError
from fcnn.weights.torch_file import Tensor, Unusual

RAW = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "params", "weights", "module")
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema", "ema")


def find_state_dict(tree: Any, path: Path, *, ema: bool, log: Callable[[str], None]) -> dict[str, Tensor]:
    """Returns the state_dict in what a file holds.

    Args:
      tree: `TorchFile.tree`.
      path: the file's, for messages.
      ema: whether to take an average of the weights (EMA) where there are both.
      log: gets a line about what was chosen or left out.

    Raises:
      UserError: there is none, or more than one, or it isn't made of plain arrays under names.
    """
    state_dict = _choose(tree, path, ema, log)
    if numbered := [name for name in state_dict if not isinstance(name, str)]:
        raise UserError(f"{path}: its arrays have no names but {numbered[0]!r}, ...; save model.state_dict()")
    if unusual := [(name, value.kind) for name, value in state_dict.items() if isinstance(value, Unusual)]:
        raise UserError(f"{path}: {_shown(unusual[0][0])} is {unusual[0][1]}; weights are plain arrays of real numbers")
    if others := [name for name, value in state_dict.items() if not isinstance(value, Tensor)]:
        log(f"Left out, as no arrays: {', '.join(map(_shown, others[:3]))}{', ...' if len(others) > 3 else ''}.")
    return {name: value for name, value in state_dict.items() if isinstance(value, Tensor)}


def _choose(tree: Any, path: Path, ema: bool, log: Callable[[str], None]) -> Mapping[Any, Any]:
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds no state_dict but a {type(tree).__name__.lower()}; save model.state_dict()")
    averaged, raw = _below(tree, AVERAGED), _below(tree, RAW)
    nested = max((_count(value) for value in tree.values()), default=0)
    if raw is None and _is_state_dict(tree) and _count(tree) >= nested:  # else it is a score beside the weights
        raw = "the top level", tree
    if averaged and raw:
        if ema:
            log(f"Averaged weights (EMA), {averaged[0]!r}; fcnn convert --no-ema reads the raw ones, {raw[0]!r}.")
        else:
            log(f"Raw weights, {raw[0]!r}, not the averaged ones (EMA), {averaged[0]!r}.")
        return (averaged if ema else raw)[1]
    if one := raw or averaged:
        return one[1]
    rest = [(name, value) for name, value in tree.items() if _is_state_dict(value)]
    if len(rest) == 1:
        log(f"The weights are those in {str(rest[0][0])!r}.")
        return rest[0][1]
    names = ", ".join(_shown(name) for name, _ in rest[:4])
    among = f"but several: {names}" if rest else f"nor one as {', '.join(RAW)}"
    raise UserError(f"{path} holds no state_dict by itself, {among}")


def _below(tree: Mapping[Any, Any], names: tuple[str, ...], depth: int = 3) -> tuple[str, dict[Any, Any]] | None:
    """The first of the names that is a state_dict, or holds one as training scripts do."""
    for name in names:
        value = tree.get(name)
        if not isinstance(value, dict):
            continue
        if _is_state_dict(value):
            return name, value
        if depth and (inner := _below(value, RAW, depth - 1)):
            return name, inner[1]
    return None


def _count(value: Any) -> int:
    """How many tensors a dict has itself."""
    return sum(isinstance(item, Tensor | Unusual) for item in value.values()) if isinstance(value, dict) else 0


def _shown(name: Any) -> str:
    """A file's name for a thing as a terminal may have it."""
    return str(name) if str(name).isprintable() else ascii(name)


def _is_state_dict(value: Any) -> bool:
    return _count(value) > 0
