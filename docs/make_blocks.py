"""Makes the images of docs/blocks.md from two photographs that scikit-learn brings along: python docs/make_blocks.py"""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from flax import linen
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_images

from fcnn import nn
from fcnn.nn import teaching

HERE = Path(__file__).parent / "blocks"


def main() -> None:
    HERE.mkdir(exist_ok=True)
    photographs = load_sample_images()
    china, flower = (jnp.asarray(image, jnp.float32) / 255 for image in photographs.images)  # (427, 640, 3) each
    save(image_kernels(china[60:260, 190:490]), "kernels")
    save(pooling(flower[60:380, 120:600]), "pooling")
    save(normalizations(jnp.stack([china, flower])[:, 60:380, 120:600]), "normalization")


def image_kernels(image: jax.Array) -> Figure:
    x = image[None]
    return grid(
        {
            "image": image,
            "ridge(x)": teaching.ridge(x)[0],
            "sharpen(x)": teaching.sharpen(x)[0],
            "box_blur(x, 9)": teaching.box_blur(x, 9)[0],
            "gaussian_blur(x, 9, 2.0)": teaching.gaussian_blur(x, 9, 2.0)[0],
            "4 * ridge(gaussian_blur(x))": 4 * teaching.ridge(teaching.gaussian_blur(x))[0],
        },
        columns=3,
    )


def pooling(image: jax.Array) -> Figure:
    x = image[None]
    return grid(
        {
            "image, 320 x 480": image,
            "max_pool(x, 16), 20 x 30": nn.max_pool(x, 16)[0],
            "avg_pool(x, 16), 20 x 30": nn.avg_pool(x, 16)[0],
            "max_pool(x, 17, stride=1, padding=8)": nn.max_pool(x, 17, stride=1, padding=8)[0],
            "adaptive_avg_pool(x, (5, 7))": nn.adaptive_avg_pool(x, (5, 7))[0],
            "global_avg_pool(x)": nn.global_avg_pool(x).reshape(1, 1, 3),
        },
        columns=3,
    )


def normalizations(images: jax.Array) -> Figure:
    """A dim photograph and a bright one, as a batch of two; normalized values are shown as 0.5 + y / 5."""
    x = images * jnp.array([0.4, 1.0]).reshape(2, 1, 1, 1)
    layers: dict[str, linen.Module] = {
        "BatchNorm": nn.BatchNorm(use_running_average=False),
        "InstanceNorm": linen.InstanceNorm(),
        "GroupNorm, 1 group": linen.GroupNorm(1),
        "LayerNorm": linen.LayerNorm(),
    }
    outputs = {
        "the batch": x,
        **{name: layer.init_with_output(jax.random.key(0), x)[0] for name, layer in layers.items()},
        "local_response_norm": nn.local_response_norm(x, 3, alpha=9.0, beta=0.5, k=0.01),
    }
    as_it_is = ("the batch", "local_response_norm")
    shown = {name: y if name in as_it_is else 0.5 + y / 5 for name, y in outputs.items()}
    cells = {name: y[0] for name, y in shown.items()} | {name + " ": y[1] for name, y in shown.items()}
    return grid(cells, columns=len(shown), titles=len(shown))


def grid(images: Mapping[str, jax.Array], columns: int, titles: int | None = None) -> Figure:
    """The images (H, W, 3) in rows; what lies outside [0, 1] is cut off. Only the first `titles` get one."""
    height, width = next(iter(images.values())).shape[:2]
    rows, side = -(-len(images) // columns), 9.6 / columns
    figure, axes = plt.subplots(rows, columns, figsize=(9.6, rows * (side * height / width + 0.3)), squeeze=False)
    for i, (axis, (name, image)) in enumerate(zip(axes.flat, images.items(), strict=True)):
        axis.imshow(np.clip(np.asarray(image), 0, 1), interpolation="nearest", aspect=height / width / ratio(image))
        axis.set_axis_off()
        if titles is None or i < titles:
            axis.set_title(name, fontsize=9 if columns < 5 else 8)
    figure.tight_layout(pad=0.4)
    return figure


def ratio(image: jax.Array) -> float:
    return image.shape[0] / image.shape[1]


def save(figure: Figure, name: str) -> None:
    """As a PNG of at most 256 colors, which is a third of the size and doesn't show."""
    from PIL import Image

    path = HERE / f"{name}.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
