"""Readers of the formats that data sets are published in: idx (MNIST), pickled batches (CIFAR), .mat (SVHN).

Each takes the files of a data set, which are there, and raises InputError with the file's name if one is damaged.
"""

import gzip
import struct
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fair_pruner.errors import first_line
from pipeline.errors import InputError
from pipeline.input_size import DATA_MIB, check_size
from pipeline.mat_file import read_mat
from pipeline.pickled_arrays import PickledBytes, read_pickle

Part = tuple[Tensor, Tensor]  # uint8 images (n, C, H, W), int64 labels (n,)
CIFAR_SHAPE, SVHN_SHAPE = (3, 32, 32), (32, 32, 3)
FASHION_CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


class Arrays(NamedTuple):
    """A whole data set in memory."""

    train: Part
    test: Part
    class_names: tuple[str, ...]


def read_fashion_mnist(files: Sequence[Path]) -> Arrays:
    """Images and labels for training, then for the test: idx files, plain or gzipped."""
    return Arrays(_idx_part(*files[:2]), _idx_part(*files[2:]), FASHION_CLASSES)


def read_cifar10(files: Sequence[Path]) -> Arrays:
    """Five training batches, the test batch, the class names."""
    return _cifar(files, "labels", "label_names")


def read_cifar100(files: Sequence[Path]) -> Arrays:
    """The training images, the test images, the class names; labels and names are the fine ones."""
    return _cifar(files, "fine_labels", "fine_label_names")


def read_svhn(files: Sequence[Path]) -> Arrays:
    """The training and the test file: images X (32, 32, 3, n), labels y (n, 1), where 10 stands for the digit 0."""
    train, test = (_svhn_part(path) for path in files)
    return Arrays(train, test, tuple("0123456789"))


def _idx_part(image_file: Path, label_file: Path) -> Part:
    images, labels = _read_idx(image_file), _read_idx(label_file)
    if images.dim() != 3 or labels.shape != images.shape[:1] or not len(labels) or labels.max() >= len(FASHION_CLASSES):
        raise InputError(
            f"{image_file} has shape {tuple(images.shape)} and {label_file.name} {tuple(labels.shape)}; expected (n, 28, 28) "
            f"and n labels below {len(FASHION_CLASSES)}"
        )
    return images[:, None], labels.long()


def _read_idx(path: Path) -> Tensor:
    """Bytes of shape (n, ...)."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            zeros, kind, dimensions = struct.unpack(">HBB", file.read(4))
            if zeros or kind != 8:
                raise InputError(f"{path} is not an idx file of bytes; get it anew")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            check_size(path, prod(shape), DATA_MIB)
            content = bytearray(file.read(prod(shape) + 1))  # one more would be too many
        return torch.frombuffer(content, dtype=torch.uint8).view(shape)
    except (OSError, EOFError, zlib.error, struct.error, RuntimeError, ValueError) as error:
        raise InputError(f"{path} is not a whole idx file ({first_line(error)}); get it anew") from error


def _svhn_part(path: Path) -> Part:
    try:
        content = read_mat(path, ("X", "y"))
    except (OSError, ValueError, zlib.error, struct.error) as error:
        raise InputError(f"{path} is not a whole .mat file ({first_line(error)}); get it anew") from error
    images, labels = (torch.from_numpy(content[key]) if key in content else torch.empty(0) for key in ("X", "y"))
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[:3] != SVHN_SHAPE or labels.numel() != images.shape[3]:
        raise InputError(
            f"{path} holds X {tuple(images.shape)} and y {tuple(labels.shape)}; expected bytes (32, 32, 3, n) and n labels"
        )
    if not labels.numel() or not (labels.min() >= 0 and labels.max() <= 10):
        there = f"from {labels.min():g} to {labels.max():g}" if labels.numel() else "of no image"
        raise InputError(f"{path} has labels {there}; expected 1 to 10")
    return images.permute(3, 2, 0, 1).contiguous(), labels.flatten().long() % 10


def _cifar(files: Sequence[Path], labels: str, label_names: str) -> Arrays:
    *train_files, test_file, names_file = files
    names = _class_names(names_file, label_names)
    parts = [_cifar_part(path, labels, len(names)) for path in train_files]
    train = torch.cat([images for images, _ in parts]), torch.cat([found for _, found in parts])
    return Arrays(train, _cifar_part(test_file, labels, len(names)), names)


def _cifar_part(path: Path, key: str, num_classes: int) -> Part:
    content = read_pickle(path)
    data, labels = content.get("data"), content.get(key)
    size = torch.Size(CIFAR_SHAPE).numel()
    if not isinstance(data, PickledBytes) or data.values.dim() != 2 or data.values.shape[1] != size:
        raise InputError(f"{path} holds no images under `data`; expected an array of bytes (n, {size})")
    images = data.values.view(-1, *CIFAR_SHAPE)
    if (
        not isinstance(labels, list)
        or len(labels) != len(images)
        or not all(type(label) is int and 0 <= label < num_classes for label in labels)
    ):
        raise InputError(f"{path}: `{key}` is not a list of {len(images)} labels from 0 to {num_classes - 1}; get the file anew")
    return images, torch.tensor(labels)


def _class_names(path: Path, key: str) -> tuple[str, ...]:
    names = read_pickle(path).get(key)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path} holds no list of class names under `{key}`; get the file anew")
    return tuple(names)
