"""Stage: which training images score the units."""

import torch

from pipeline.config import CalibrateConfig, DataConfig
from pipeline.data import load_data
from pipeline.datasets import per_class
from pipeline.errors import InputError
from pipeline.records import CalibrationSet, timed


@timed
def calibrate(data: DataConfig, config: CalibrateConfig, seed: int) -> CalibrationSet:
    """Draw `config.per_class` images of every class from the training images that are not held out for validation.

    Raises InputError if a class has no image there: the U-Score compares every class with every other.
    """
    loaded = load_data(data, seed)
    fit = torch.tensor(loaded.fit_indices)
    labels = loaded.train.labels[fit]
    counts = torch.bincount(labels, minlength=loaded.num_classes)
    for name, count in zip(loaded.class_names, counts.tolist(), strict=True):
        if count == 0:
            raise InputError(
                f"class {name} has no training images, so units cannot be scored on it; add images or drop the class"
            )
    chosen = per_class(labels, loaded.num_classes, config.per_class, seed)
    return CalibrationSet(indices=tuple(fit[list(chosen)].tolist()), per_class=config.per_class, num_classes=loaded.num_classes)
