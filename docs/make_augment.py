"""Makes the image of docs/augment.md from a photograph that scikit-learn brings along: python docs/make_augment.py"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from fcnn import augment
from fcnn.config import AugmentConfig
from fcnn.utils.batch import make_batch

PATH = Path(__file__).parent / "augment.png"
SHOWN = {
    "crop_padding": 24, "flip": True, "flip_vertical": True, "rotation": 20.0, "zoom": 1.5, "resized_crop": 0.2,
    "brightness": 0.5, "contrast": 0.6, "saturation": 0.9, "hue": 0.2, "noise": 0.1, "cutout": 48, "mixup": 1.0,
    "cutmix": 1.0, "random_erasing": 1.0, "auto_augment": "rand_augment",
}  # fmt: skip
COLUMNS = 4


def main() -> None:
    images = [Image.fromarray(image).crop((100, 0, 527, 427)).resize((96, 96)) for image in load_sample_images().images]
    # The photograph under each augmentation, several times, and the other one to be mixed with it.
    china, flower = (jnp.asarray(np.asarray(image)) for image in images)
    batch = make_batch(jnp.stack([china, flower] * COLUMNS), jnp.asarray([0, 1] * COLUMNS, jnp.int32))
    rows = {"": batch["image"][::2][:1]}
    for name, value in SHOWN.items():
        change = augment.from_config(AugmentConfig(**{name: value}), num_classes=2)
        rows[name if value is True else f"{name} {value}"] = change(jax.random.key(3), batch)["image"][::2]
    draw({"the image": jnp.stack([china] * COLUMNS), **{name: row for name, row in rows.items() if name}})


def draw(rows: dict[str, jax.Array]) -> None:
    """Two groups of rows beside each other, a title above each row; as a PNG of 256 colors."""
    half = -(-len(rows) // 2)
    figure, axes = plt.subplots(half, 2 * COLUMNS, figsize=(9.6, half * 1.35))
    for axis in axes.flat:
        axis.set_axis_off()
    for i, (name, row) in enumerate(rows.items()):
        left = i // half * COLUMNS
        axes[i % half, left].set_title(name, fontsize=9, loc="left", pad=2)
        for j, image in enumerate(row if name != "the image" else row[:1]):
            axes[i % half, left + j].imshow(np.asarray(image).astype(np.uint8), interpolation="nearest")
    figure.tight_layout(pad=0.3, h_pad=0.6, w_pad=0.2)
    figure.savefig(PATH, dpi=80)
    Image.open(PATH).convert("RGB").quantize(128).save(PATH, optimize=True)
    print(f"{PATH.name}: {PATH.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
