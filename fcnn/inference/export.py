"""A network as one StableHLO program with its weights in it, which any JAX runs without fcnn.

    program = jax.export.deserialize(bytearray(Path("model.stablehlo").read_bytes()))
    logits = program.call(images)

The program takes any number of images and runs on CPUs, NVIDIA GPUs and TPUs.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import export as jax_export

from fcnn.distributed.device_memory import check_file
from fcnn.inference.guarantee import reading_guarantee
from fcnn.inference.predict import resize_rule
from fcnn.nn import BatchNorm, fold_into
from fcnn.utils.errors import UserError
from fcnn.utils.files import write_bytes
from fcnn.utils.json_file import read_json
from fcnn.weights import Network, NetworkInfo

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(network: Network, *, pixels: bool = False) -> bytes:
    """The network in evaluation, serialized by `jax.export`: images (B, H, W, C) -> logits (B, classes) float32.

    B is any number, H and W are those of the images that it was trained on. The batch norms that follow a convolution
    are folded into it (`fcnn.nn.fold_into`).

    Args:
      pixels: take uint8 pixels, 0 to 255, and normalize them inside; else float32 images that are normalized already.
    """
    info = network.info
    height, width, stored = info.image_shape
    # Gray images that are normalized by statistics of three channels have three.
    channels = stored if pixels else len(info.mean)
    mean, std = np.asarray(info.mean, np.float32), np.asarray(info.std, np.float32)
    apply = folded(network.create(), network.variables, (1, height, width, len(mean)))

    def program(images: jax.Array) -> jax.Array:
        images = jnp.asarray(images, jnp.float32)
        if pixels:
            scale, shift = 1 / (255 * std), -mean / std
            images = images * scale.reshape(1, 1, 1, -1) + shift.reshape(1, 1, 1, -1)
        return apply(images)

    (batch,) = jax_export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, height, width, channels), jnp.uint8 if pixels else jnp.float32)
    with any_number_of_images(info.name), _without_source_paths():
        return bytes(jax_export.export(jax.jit(program), platforms=PLATFORMS)(images).serialize())


@contextlib.contextmanager
def any_number_of_images(name: str) -> Iterator[None]:
    """Within it a network is traced with a number of images that isn't known; UserError if it has to know."""
    try:
        yield
    except (TypeError, jax.errors.InconclusiveDimensionOperation) as error:
        if isinstance(error, TypeError) and "_DimExpr" not in str(error):
            raise
        raise UserError(
            f"{name} asks for the number of images, which an exported program leaves open: no len(x), no slice along "
            "the images, no choice by x.shape[0]"
        ) from None


@contextlib.contextmanager
def _without_source_paths() -> Iterator[None]:
    """Keeps the paths of source files, which differ from machine to machine, out of programs."""
    config: Any = jax.config  # whose attributes pyright does not know
    before = config.jax_traceback_in_locations_limit
    config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        config.update("jax_traceback_in_locations_limit", before)


def folded(model: nn.Module, variables: Mapping[str, Any], shape: tuple[int, ...]) -> Callable[..., Any]:
    """`model.apply` in evaluation as a function of the images (and of options, such as `features`), its batch norms
    folded into the convolutions and dense layers whose outputs they read; a batch norm behind anything else stays.

    Args:
      shape: of a batch of images.
    """
    follows = _follows(model, variables, shape)
    params: dict[tuple[str, ...], Any] = dict(flatten_dict(dict(variables["params"])))
    statistics: dict[tuple[str, ...], Any] = dict(flatten_dict(dict(variables.get("batch_stats", {}))))
    shifts = {}
    for norm, (layer, epsilon) in follows.items():
        scale, bias = params.get((*norm, "scale")), params.get((*norm, "bias"))
        mean, var = statistics[*norm, "mean"], statistics[*norm, "var"]
        kernel, own = params[*layer, "kernel"], params.get((*layer, "bias"))
        params[*layer, "kernel"], shift = fold_into(kernel, own, scale, bias, mean, var, epsilon)
        if own is None:  # the layer has none: it stays where the norm was
            shifts[norm] = shift
        else:
            params[*layer, "bias"] = shift
    left = {"params": unflatten_dict(params), "batch_stats": variables.get("batch_stats", {})}

    def without_norms(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module: Any = context.module
        if module.path not in follows:
            return call(*args, **kwargs)
        if context.method_name != "__call__":
            return None  # nothing is left to fold
        (x,) = args
        if (shift := shifts.get(module.path)) is not None:
            x = x + shift.reshape((1,) * (x.ndim - 1) + shift.shape)
        return jax.nn.relu(x) if kwargs.get("relu") else x

    def apply(images: jax.Array, **options: Any) -> Any:
        with nn.intercept_methods(without_norms):
            return model.apply(left, images, train=False, **options)

    return apply


def _follows(
    model: nn.Module, variables: Mapping[str, Any], shape: tuple[int, ...]
) -> dict[tuple[str, ...], tuple[tuple[str, ...], float]]:
    """For each batch norm that reads a convolution's or dense layer's output as it is: that layer, and its epsilon."""
    outputs: list[tuple[Any, tuple[str, ...]]] = []
    norms = {}

    def watch(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module: Any = context.module
        if isinstance(module, BatchNorm):
            layer = next((path for value, path in outputs if value is args[0]), None)
            if layer is not None:
                norms[module.path] = (layer, module.epsilon)
        value = call(*args, **kwargs)
        if isinstance(module, nn.Conv | nn.Dense):
            outputs.append((value, module.path))
        return value

    with nn.intercept_methods(watch):
        jax.eval_shape(lambda x: model.apply(variables, x, train=False), jax.ShapeDtypeStruct(shape, jnp.float32))
    return norms


def write_stablehlo(path: Path, network: Network, *, pixels: bool = False) -> dict[str, Any]:
    """Writes the program, and beside it, at `beside_of(path)`, what one must know to use it; returns the latter."""
    data, info = to_stablehlo(network, pixels=pixels), network.info
    values = {
        "pixels": pixels,
        "written_by": reading_guarantee(),
        "resize": resize_rule(info),
        "about": info.to_dict(),
    }
    # The program last: who finds it finds what belongs to it.
    write_bytes(beside_of(path), (json.dumps(values, indent=1) + "\n").encode())
    write_bytes(path, data)
    return values


def read_stablehlo(path: Path) -> tuple[jax_export.Exported, NetworkInfo, bool]:
    """What `write_stablehlo` wrote: the program, what it is, and whether it takes pixels.

    Raises:
      UserError: it isn't there or isn't that.
    """
    beside = beside_of(path)
    for file in (path, beside):
        if not file.is_file():
            raise UserError(f"there is no file {file}")
    check_file(path)
    values = read_json(beside)
    try:
        info, pixels = NetworkInfo.from_json(json.dumps(values["about"]), str(beside)), bool(values["pixels"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{beside}: {type(error).__name__}: {error}") from None
    try:
        exported = jax_export.deserialize(bytearray(path.read_bytes()))
        (taken,), (given,) = exported.in_avals, exported.out_avals
    except Exception as error:  # whatever a damaged file makes JAX raise
        raise UserError(f"{path} {_unreadable(values)} ({type(error).__name__})") from None
    dtype, channels = ("uint8", info.image_shape[2]) if pixels else ("float32", len(info.mean))
    shape = (*info.image_shape[:2], channels)
    if (taken.dtype, taken.shape[1:], given.shape[1:]) != (dtype, shape, (len(info.classes),)):
        raise UserError(f"{beside} doesn't describe {path.name}, which takes {taken} and gives {given}")
    return exported, info, pixels


def _unreadable(values: dict[str, Any]) -> str:
    """Says why a program may be one that JAX can't read, from what is known beside it."""
    written_by = values.get("written_by")
    version = written_by.get("jax") if isinstance(written_by, dict) else None
    if not isinstance(version, str) or version == jax.__version__:
        return "is damaged or no exported program"
    return f"is damaged, or JAX {jax.__version__} doesn't read what JAX {version[:20]} wrote: export it again"


def beside_of(path: Path) -> Path:
    """Where labels and preprocessing of an exported program are."""
    return path.with_name(path.name + ".json")
