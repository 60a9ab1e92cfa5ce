"""A data set as the stages see it: training and test images, and the validation images carved out of the training ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pipeline.config import DataConfig
from pipeline.datasets import Split, folder_of, load_dataset, per_class
from pipeline.errors import InputError
from pipeline.imports import source_digest
from pipeline.records import Preprocessing, digest_of


@dataclass(frozen=True)
class Data:
    """A loaded data set. `fit_indices` and `validation_indices` part the training split; `test` is for reported figures.

    `preprocessing` is what both splits do to an image; it goes with the model wherever that goes.
    """

    train: Split
    test: Split
    fit_indices: tuple[int, ...]
    validation_indices: tuple[int, ...]
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


@lru_cache(maxsize=2)
def load_data(config: DataConfig, seed: int) -> Data:
    """Load by name. The validation images are drawn per class with `config.seed`, or else `seed`.

    Raises InputError if the data is not there, or has fewer training images than `config.train_images`.
    """
    train, test, class_names, preprocessing = load_dataset(config)
    draw = seed if config.seed is None else config.seed
    held_out = set(per_class(train.labels, len(class_names), config.validation_fraction, draw))
    fit = [i for i in range(len(train)) if i not in held_out]
    if config.train_images is not None and config.train_images < len(fit):
        labels = train.labels[torch.tensor(fit)]
        fit = sorted(fit[i] for i in per_class(labels, len(class_names), config.train_images / len(fit), draw))
    elif config.train_images is not None and config.train_images > len(fit):
        raise InputError(
            f"data.train_images is {config.train_images}, {config.name} has {len(fit)} beside the validation images; lower it"
        )
    shapes = [tuple(split.load([0])[0].shape[1:]) for split in (train, test)]
    if shapes[0] != shapes[1]:
        raise InputError(f"the first training image is {shapes[0]}, the first test image {shapes[1]}; set data.image_size")
    channels, height, width = shapes[0]
    return Data(
        train=train,
        test=test,
        fit_indices=tuple(fit),
        validation_indices=tuple(sorted(held_out)),
        class_names=class_names,
        input_shape=(channels, height, width),
        preprocessing=preprocessing,
    )


@lru_cache(maxsize=8)
def fingerprint(config: DataConfig) -> str:
    """Digest of what decides the data, by which cached results are recognised.

    The settings, the data files' names, sizes and times, and the source file of a person's own function.
    """
    folder = folder_of(config)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
    facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    source = source_digest(config.factory, "data.factory") if config.factory else None
    return digest_of([config.model_dump(mode="json"), facts, source])


def shuffled(indices: Sequence[int], generator: torch.Generator) -> list[int]:
    """The same indices in random order."""
    return torch.tensor(indices)[torch.randperm(len(indices), generator=generator)].tolist()


def batches(
    split: Split, indices: Sequence[int], batch_size: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (b, C, H, W) and labels (b,) of `indices`, in their order, on `device`."""
    for start in range(0, len(indices), batch_size):
        images, labels = split.load(indices[start : start + batch_size])
        yield images.to(device), labels.to(device)
