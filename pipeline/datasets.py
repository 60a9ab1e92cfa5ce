"""The data sets that have a name: where their files lie, and which reader makes splits of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from fair_pruner.errors import first_line
from pipeline.config import DataConfig
from pipeline.custom_data import load_custom
from pipeline.dataset_files import Arrays, read_cifar10, read_cifar100, read_fashion_mnist, read_svhn
from pipeline.errors import InputError
from pipeline.preprocess import COLOUR, standard_preprocessing
from pipeline.records import Preprocessing
from pipeline.splits import TensorSplit, folder_split

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
DEFAULT_ROOT = Path("data")
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR10_FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
TEST_SPLIT_SEED = 0  # the test images of `digits` are the same in every run, whatever its seed
DIGITS_TEST_FRACTION = 0.2


class Split(Protocol):
    """Images with labels, of which some are loaded at a time."""

    labels: Tensor

    def __len__(self) -> int: ...

    def load(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Preprocessed float32 images (n, C, H, W) and int64 labels (n,) at these places."""
        ...


class Loaded(NamedTuple):
    """What becomes of a name."""

    train: Split
    test: Split
    class_names: tuple[str, ...]
    preprocessing: Preprocessing


class Published(NamedTuple):
    """A data set of a few files: their folder within data.root, their names (also with .gz), and what reads them."""

    folder: str
    files: tuple[str, ...]
    read: Callable[[Sequence[Path]], Arrays]


PUBLISHED = {  # the folders are those that torchvision downloads into
    "fashion_mnist": Published("FashionMNIST/raw", IDX_FILES, read_fashion_mnist),
    "cifar10": Published("cifar-10-batches-py", CIFAR10_FILES, read_cifar10),
    "cifar100": Published("cifar-100-python", ("train", "test", "meta"), read_cifar100),
    "svhn": Published("svhn", ("train_32x32.mat", "test_32x32.mat"), read_svhn),
}


def load_dataset(config: DataConfig) -> Loaded:
    """Splits, classes and preprocessing of the data set that the configuration names. Raises InputError if it is not there."""
    match config.name:
        case "digits":
            return _in_memory(config, _digits())
        case "imagefolder":
            return _folders(config, "test")
        case "imagenet":
            return _folders(config, "val")
        case "custom":
            return Loaded(*load_custom(config))
        case _:
            return _in_memory(config, _published(config))


def folder_of(config: DataConfig) -> Path | None:
    """The folder of the data set's files; None if it has none."""
    if config.name not in PUBLISHED:
        return config.root
    if config.name == "fashion_mnist" and config.root is None and not config.download:
        return DEBIAN_FASHION_MNIST
    root = config.root or DEFAULT_ROOT
    inner = root / PUBLISHED[config.name].folder
    return inner if inner.is_dir() else root


def per_class(labels: Tensor, num_classes: int, amount: float, seed: int) -> tuple[int, ...]:
    """Seeded indices per class: a share of it if `amount` is below 1 (at least one image), else so many images at most."""
    generator = torch.Generator().manual_seed(seed)
    chosen: list[int] = []
    for label in range(num_classes):
        members = torch.nonzero(labels == label).flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        count = max(1, round(amount * len(members))) if amount < 1 else int(amount)
        chosen += members[:count].tolist()
    return tuple(chosen)


def _digits() -> Arrays:
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.from_numpy(raw.images * (255 / 16)).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(raw.target).long()
    test = torch.zeros(len(labels), dtype=torch.bool)
    test[list(per_class(labels, 10, DIGITS_TEST_FRACTION, TEST_SPLIT_SEED))] = True
    return Arrays((images[~test], labels[~test]), (images[test], labels[test]), tuple("0123456789"))


def _published(config: DataConfig) -> Arrays:
    source = PUBLISHED[config.name]
    found = _files(config)
    if config.download and None in found:
        _download(config.name, config.root or DEFAULT_ROOT)
        found = _files(config)
    if None in found:
        debian = ", install Debian's dataset-fashion-mnist" if config.name == "fashion_mnist" else ""
        raise InputError(
            f"{folder_of(config)} has no {source.files[found.index(None)]}; {config.name} is made of {', '.join(source.files)}, "
            f"in data.root or in {source.folder} there: point data.root at them{debian}, or set data.download: true"
        )
    return source.read([path for path in found if path])


def _files(config: DataConfig) -> list[Path | None]:
    """Where each file lies, plain or gzipped; None for what is not there."""
    folder = folder_of(config)
    assert folder is not None
    names = PUBLISHED[config.name].files
    return [next((path for end in ("", ".gz") if (path := folder / f"{name}{end}").is_file()), None) for name in names]


def _download(name: str, root: Path) -> None:
    from torchvision import datasets

    try:
        if name == "svhn":  # torchvision has no folder for it
            for split in ("train", "test"):
                datasets.SVHN(root / PUBLISHED[name].folder, split=split, download=True)
        else:
            makers = {"fashion_mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
            makers[name](root, download=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{name} cannot be downloaded into {root} ({first_line(error)}); copy it there") from error


def _folders(config: DataConfig, test_folder: str) -> Loaded:
    if config.root is None:
        raise InputError(
            f"data.root is not set; {config.name} expects the folder that holds train/<class>/ and {test_folder}/<class>/"
        )
    how = standard_preprocessing(config, COLOUR)
    (train, names), (test, test_names) = (folder_split(config.root / part, how) for part in ("train", test_folder))
    if names != test_names:
        differing = ", ".join(sorted(set(names) ^ set(test_names))[:5])
        raise InputError(f"{config.root}: train/ and {test_folder}/ have different classes ({differing}); make them equal")
    return Loaded(train, test, names, how)


def _in_memory(config: DataConfig, arrays: Arrays) -> Loaded:
    how = standard_preprocessing(config, arrays.train[0].shape[1])
    return Loaded(TensorSplit(*arrays.train, how), TensorSplit(*arrays.test, how), arrays.class_names, how)
