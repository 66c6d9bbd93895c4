"""The classic sets as their authors publish them: files, addresses, and how to verify them."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fcnn.data.formats import Arrays, read_cifar, read_idx


@dataclasses.dataclass(frozen=True)
class File:
    """One of the files that make a set."""

    url: str
    names: dict[str, str | None]
    """The names under which it may lie in a folder, archives and extracted, each with its SHA-256 if it has one; the
    first is the one that is downloaded."""
    inside: tuple[str, ...] = ()
    """What lies inside the extracted folder, by which it is known whatever it is called."""

    @property
    def name(self) -> str:
        """The name under which it is published."""
        return next(iter(self.names))


@dataclasses.dataclass(frozen=True)
class OfficialSet:
    """A published set, and by what its contents are verified."""

    name: str
    title: str
    homepage: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    files: tuple[File, ...]
    folders: tuple[str, ...]
    """Where the files may lie below the folder that a user names."""
    read: Callable[[list[Path]], dict[str, Arrays]]
    counts: dict[str, tuple[int, ...]]
    """Images of each class, by split."""
    mean: tuple[float, ...]
    """Mean of the training pixels by channel, to three digits: distinguishes sets of the same shape and counts."""
    content: dict[str, str] = dataclasses.field(default_factory=dict)
    """SHA-256 of a split's pixels followed by its labels, one byte each, where it is known."""

    def fault(self, splits: dict[str, Arrays]) -> str | None:
        """Returns how the images and labels differ from this set's; None if they don't."""
        for split, (images, labels) in splits.items():
            counts = self.counts[split]
            if images.shape != (sum(counts), *self.shape):
                return f"the {split} images are {images.shape}, not {(sum(counts), *self.shape)}"
            actual = tuple(np.bincount(labels, minlength=len(counts)).tolist())
            if actual != counts:
                return f"the {split} split's images of each class are {_brief(actual)}, not {_brief(counts)}"
            content = hashlib.sha256(images.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
            if self.content.get(split, content) != content:
                return f"the {split} images or labels are not the published ones (SHA-256 {content[:12]}...)"
        mean = splits["train"][0].mean(axis=(0, 1, 2)) / 255
        if abs(mean - self.mean).max() > 5e-4:
            return f"the mean of the training pixels is {mean.round(4).tolist()}, not {list(self.mean)}"
        return None


def _brief(counts: tuple[int, ...]) -> str:
    """Returns counts by class, at most ten of them."""
    return f"{counts[0]} each" if len(set(counts)) == 1 else " ".join(map(str, counts[:10]))


def _idx_set(name: str, base: str, sums: dict[str, str], **known) -> OfficialSet:
    """Returns a set of four idx files, each named name.gz, name, or name with a dot as some mirrors have it."""
    files = tuple(
        File(base + stem + ".gz", {f"{stem}.gz": sha, stem: None, stem.replace("-idx", ".idx"): None})
        for stem, sha in sums.items()
    )

    def read(paths: list[Path]) -> dict[str, Arrays]:
        return {"train": read_idx(*paths[:2]), "test": read_idx(*paths[2:])}

    return OfficialSet(name=name, shape=(28, 28, 1), files=files, read=read, **known)


MNIST = _idx_set(
    "mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    {
        "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    title="MNIST (LeCun et al. 1998): 70,000 handwritten digits",
    homepage="http://yann.lecun.com/exdb/mnist/",
    classes=tuple("0123456789"),
    folders=("mnist", "MNIST", "MNIST/raw"),
    counts={
        "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        "test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    },
    mean=(0.1307,),
    content={
        "train": "edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b",
        "test": "c3f9adf9c66efb572b1f9326c3a511b45910c7173b97be66ceceeeeaef6b802b",
    },
)

FASHION_MNIST = _idx_set(
    "fashion_mnist",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    {
        "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    title="Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 70,000 articles of clothing",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    classes=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    folders=("fashion_mnist", "fashion-mnist", "FashionMNIST", "FashionMNIST/raw"),
    counts={"train": (6000,) * 10, "test": (1000,) * 10},
    mean=(0.2860,),
)  # fmt: skip

CIFAR10 = OfficialSet(
    name="cifar10",
    title="CIFAR-10 (Krizhevsky 2009): 60,000 color images in 10 classes",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    shape=(32, 32, 3),
    files=(
        File(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            {
                "cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                "cifar-10-batches-bin": None,
                "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                "cifar-10-batches-py": None,
            },
            inside=("data_batch_1.bin", "data_batch_1"),
        ),
    ),
    folders=("cifar10", "cifar-10", "CIFAR10"),
    read=lambda paths: read_cifar(paths[0], fine=False),
    counts={"train": (5000,) * 10, "test": (1000,) * 10},
    mean=(0.4914, 0.4822, 0.4465),
    content={
        "train": "f912919bdea371136f1aa4feed6beeca728015a5f08b1899a29c932a7e30be2b",
        "test": "8193b3fbce55bec361cd1b8fd4880cb1649832dc4d6de6da1e7a21847a4843aa",
    },
)

_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""

CIFAR100 = OfficialSet(
    name="cifar100",
    title="CIFAR-100 (Krizhevsky 2009): 60,000 color images in 100 classes",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    classes=tuple(_FINE.split()),
    shape=(32, 32, 3),
    files=(
        File(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            {
                "cifar-100-binary.tar.gz": "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                "cifar-100-binary": None,
                "cifar-100-python.tar.gz": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
                "cifar-100-python": None,
            },
            inside=("train.bin", "train"),
        ),
    ),
    folders=("cifar100", "cifar-100", "CIFAR100"),
    read=lambda paths: read_cifar(paths[0], fine=True),
    counts={"train": (500,) * 100, "test": (100,) * 100},
    mean=(0.5071, 0.4865, 0.4409),
)

SETS = {known.name: known for known in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)}
