"""A person's own data: a function that returns data sets of torch's kind, checked before anything is trained on them."""

from operator import index as as_index
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fair_pruner.errors import first_line
from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.imports import load_object
from pipeline.preprocess import GREY, described, is_pixels, standard_preprocessing
from pipeline.records import Preprocessing
from pipeline.splits import DatasetSplit, MapDataset

SETTING = "data.factory"
USABLE = "a PIL image, a uint8 tensor (C, H, W), or a float tensor (C, H, W) that is already normalised"
STEPS = ("channels", "image_size", "resize", "mean", "std")  # settings of what the data set has done itself


class Part:
    """One of the two data sets, whose failures are told in one sentence."""

    def __init__(self, dataset: MapDataset, name: str) -> None:
        self.dataset, self.name = dataset, name

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Image and label. Raises InputError."""
        try:
            image, label = self.dataset[index]
            return image, as_index(label)
        except Exception as error:
            raise InputError(
                f"{SETTING}: item {index} of the {self.name} data cannot be had ({type(error).__name__}: {first_line(error)}); "
                "expected (image, label) with a whole number as label"
            ) from error

    def labels(self) -> Tensor:
        """All labels (n,): the data set's `targets` or `labels` if they are as many integers, else item by item."""
        for attribute in ("targets", "labels"):
            found = _integers(getattr(self.dataset, attribute, None), len(self))
            if found is not None:
                if int(found[0]) != self[0][1]:
                    raise InputError(
                        f"{SETTING}: item 0 of the {self.name} data has label {self[0][1]}, its .{attribute} says {found[0]}; "
                        "make them equal"
                    )
                return found
        return torch.tensor([self[index][1] for index in range(len(self))])


def load_custom(config: DataConfig) -> tuple[DatasetSplit, DatasetSplit, tuple[str, ...], Preprocessing]:
    """Training split, test split, class names and preprocessing of what `config.factory` returns.

    Images are taken in the order asked for, on the caller's thread. Raises InputError if there is no such function, it
    raises, or what it returns is no pair of data sets with labels 0..K-1 and usable images.
    """
    train, test, given_names = _made(config)
    labels, test_labels = train.labels(), test.labels()
    names = _class_names(labels, test_labels, given_names)
    how = _preprocessing(config, train[0][0])
    return DatasetSplit(train, labels, how), DatasetSplit(test, test_labels, how), names, how


def _made(config: DataConfig) -> tuple[Part, Part, Any]:
    assert config.factory is not None
    factory = load_object(config.factory, SETTING)
    if not callable(factory):
        raise InputError(f"{SETTING}: {config.factory} is a {type(factory).__name__}; expected a function")
    try:
        made = factory()
    except Exception as error:
        raise InputError(f"{SETTING}: {config.factory} raises {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(made, tuple) or len(made) not in (2, 3):
        found = f"a tuple of {len(made)}" if isinstance(made, tuple) else f"a {type(made).__name__}"
        raise InputError(f"{SETTING}: {config.factory} returns {found}; expected (train, test) or (train, test, class_names)")
    parts = []
    for dataset, name in zip(made[:2], ("training", "test"), strict=True):
        if not isinstance(dataset, MapDataset):
            raise InputError(f"{SETTING}: the {name} data is a {type(dataset).__name__}; expected __len__ and __getitem__")
        if not len(dataset):
            raise InputError(f"{SETTING}: the {name} data is empty; expected images")
        parts.append(Part(dataset, name))
    return parts[0], parts[1], made[2] if len(made) == 3 else None


def _class_names(train: Tensor, test: Tensor, given: Any) -> tuple[str, ...]:
    """The names given, else 0..K-1; checked against the labels."""
    present = set(train.tolist())
    if given is None:
        given = [str(label) for label in range(len(present))]
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise InputError(f"{SETTING}: the class names are a {type(given).__name__}; expected a list of strings")
    wanted = set(range(len(given)))
    if present != wanted:
        odd = min(present ^ wanted)
        raise InputError(
            f"{SETTING}: the training labels are not 0 to {len(given) - 1}, there is {'one' if odd in present else 'no'} {odd}; "
            "number the classes from 0 without gaps"
        )
    strange = sorted(set(test.tolist()) - present)
    if strange:
        raise InputError(f"{SETTING}: the test data has label {strange[0]}, which the training data lacks; make them equal")
    return tuple(given)


def _preprocessing(config: DataConfig, image: Any) -> Preprocessing:
    """By the kind of the first image."""
    if is_pixels(image, floating=True):
        idle = [f"data.{step}" for step in STEPS if getattr(config, step) is not None]
        if idle:
            raise InputError(f"{SETTING} gives float tensors, on which {', '.join(idle)} has no effect; remove it or give uint8")
        channels = image.shape[0]
        return Preprocessing(
            channels=channels, scale=1.0, mean=(0.0,) * channels, std=(1.0,) * channels, normalised_by_dataset=True
        )
    if is_pixels(image, floating=False):
        return standard_preprocessing(config, image.shape[0])
    if isinstance(image, Image.Image):
        return standard_preprocessing(config, GREY if image.mode in ("1", "L") else 3)
    raise InputError(f"{SETTING}: the first image is {described(image)}; expected {USABLE}")


def _integers(values: Any, count: int) -> Tensor | None:
    """`values` as int64 (count,), or None if they are something else."""
    try:
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        return None
    if found.shape != (count,) or found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        return None
    return found.long()
