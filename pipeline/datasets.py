"""The data sets that have a name: where their images come from and how they are read."""

import gzip
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from pipeline.config import DataConfig
from pipeline.errors import InputError

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
TEST_SPLIT_SEED = 0  # the test images of `digits` are the same in every run, whatever its seed
DIGITS_TEST_FRACTION = 0.2
DECODERS = 4  # threads that decode the images of one batch
NORMALISATION = {
    "digits": ((0.3053,), (0.3760,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
    "imagefolder": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class Split(Protocol):
    """Images with labels, of which some are loaded at a time."""

    labels: Tensor

    def __len__(self) -> int: ...

    def load(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Normalised float32 images (n, C, H, W) and int64 labels (n,) at these places."""
        ...


Loaded = tuple[tuple[Split, Split], tuple[str, ...]]  # training split, test split, class names


class TensorSplit:
    """Images held in memory as bytes (n, C, H, W)."""

    def __init__(self, images: Tensor, labels: Tensor, mean: Sequence[float], std: Sequence[float]) -> None:
        self.images, self.labels = images, labels
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Normalised images and labels."""
        chosen = torch.as_tensor(indices)
        return (self.images[chosen].float() / 255 - self.mean) / self.std, self.labels[chosen]


class FolderSplit:
    """Images in one folder per class, decoded when asked for."""

    def __init__(self, folder: Path, size: int | None, channels: int, mean: Sequence[float], std: Sequence[float]) -> None:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2

        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; imagefolder expects <root>/train/<class>/ and <root>/test/<class>/")
        resize = [v2.Resize(size), v2.CenterCrop(size)] if size else []
        mode = v2.Grayscale(channels) if channels == 1 else v2.RGB()
        steps = [
            mode,
            *resize,
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(mean), list(std)),
        ]
        try:
            self.dataset = ImageFolder(folder, transform=v2.Compose(steps), allow_empty=True)
        except FileNotFoundError as error:
            raise InputError(f"{folder} has no class folders; expected {folder}/<class>/<image files>") from error
        if not len(self.dataset):
            raise InputError(f"{folder} holds no images; expected {folder}/<class>/<image files>")
        self.labels = torch.tensor(self.dataset.targets)

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Decoded, normalised images and labels. Raises InputError if the images differ in size."""
        with ThreadPoolExecutor(DECODERS) as pool:  # threads, since the process that runs a flow has some and must not fork
            images = list(pool.map(lambda index: self.dataset[index][0], indices))
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) > 1:
            raise InputError(f"images differ in size: {sorted(shapes)[:3]}; set data.image_size to bring them to one")
        return torch.stack(images), self.labels[torch.as_tensor(indices)]


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


def _digits(config: DataConfig, mean: tuple[float, ...], std: tuple[float, ...]) -> Loaded:
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.from_numpy(raw.images * (255 / 16)).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(raw.target).long()
    test = torch.zeros(len(labels), dtype=torch.bool)
    test[list(per_class(labels, 10, DIGITS_TEST_FRACTION, TEST_SPLIT_SEED))] = True
    return _in_memory(config, (images[~test], labels[~test]), (images[test], labels[test]), mean, std), tuple("0123456789")


def _fashion_mnist(config: DataConfig, mean: tuple[float, ...], std: tuple[float, ...]) -> Loaded:
    from torchvision.datasets import FashionMNIST

    if config.download:
        root = config.root or Path("data")
        FashionMNIST(root, download=True)
        folder = root / "FashionMNIST" / "raw"
    else:
        folder = config.root or DEBIAN_FASHION_MNIST
    arrays = [_read_idx(folder, name) for name in IDX_FILES]
    train, test = (arrays[0][:, None], arrays[1].long()), (arrays[2][:, None], arrays[3].long())
    return _in_memory(config, train, test, mean, std), tuple(FashionMNIST.classes)


def _imagefolder(config: DataConfig, mean: tuple[float, ...], std: tuple[float, ...]) -> Loaded:
    if config.root is None:
        raise InputError("data.root is not set; imagefolder expects the folder that holds train/<class>/ and test/<class>/")
    channels = config.channels or 3
    mean, std = per_channel(mean[:channels], channels), per_channel(std[:channels], channels)
    train, test = (FolderSplit(config.root / part, config.image_size, channels, mean, std) for part in ("train", "test"))
    if train.dataset.classes != test.dataset.classes:
        differing = sorted(set(train.dataset.classes) ^ set(test.dataset.classes))
        raise InputError(f"{config.root}: train/ and test/ have different classes ({', '.join(differing[:5])}); make them equal")
    return (train, test), tuple(train.dataset.classes)


def _in_memory(
    config: DataConfig,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple[TensorSplit, TensorSplit]:
    channels = config.channels or train[0].shape[1]
    mean, std = per_channel(mean, channels), per_channel(std, channels)
    first, second = (TensorSplit(images.expand(-1, channels, -1, -1), labels, mean, std) for images, labels in (train, test))
    return first, second


def _read_idx(folder: Path, name: str) -> Tensor:
    """One file of the idx format, plain or gzipped: bytes of shape (n, ...)."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            break
    else:
        raise InputError(
            f"{folder / name}[.gz] is missing; install Debian's dataset-fashion-mnist, point data.root at a folder with the "
            "four idx files, or set data.download: true"
        )
    kind, dimensions = content[2], content[3]
    if content[:2] != b"\0\0" or kind != 8:
        raise InputError(f"{path} is not an idx file of bytes")
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    return torch.frombuffer(bytearray(content[4 + 4 * dimensions :]), dtype=torch.uint8).view(shape)


def per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One value per channel; a single value serves all of them."""
    if len(values) not in (1, channels):
        raise InputError(f"{len(values)} normalisation values for {channels} channels; give one, or one per channel")
    return values * channels if len(values) == 1 else values


LOADERS: dict[str, Callable[[DataConfig, tuple[float, ...], tuple[float, ...]], Loaded]] = {
    "digits": _digits,
    "fashion_mnist": _fashion_mnist,
    "imagefolder": _imagefolder,
}
