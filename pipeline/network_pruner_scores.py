"""Scores by the authors' own package, network-pruner 2.16, of networks that it can score: pip install fair-pruner[bench]."""

import contextlib
import importlib
import io
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fair_pruner import Group, ScoreTable, UnitScores
from fair_pruner.copies import independent, sharing
from fair_pruner.errors import first_line
from pipeline.datasets import Split
from pipeline.errors import InputError

DIRECTIONS = 128  # what the package has fixed for maps
# how many dimensions an output may have for the package to find its channels
DIMENSIONS: Mapping[type[nn.Module], tuple[int, ...]] = {nn.Conv2d: (4,), nn.Linear: (2, 3)}


def network_pruner_scores(
    model: nn.Module, groups: Sequence[Group], split: Split, indices: Sequence[int], batch_size: int, seed: int
) -> ScoreTable:
    """The package's distance as removal signal and its reconstruction score as protection, of every unit of `groups`.

    It sees the images of `indices`, in steps of `batch_size`, on the model's device, with its own defaults: for the distances
    32 images of each of at most 100 classes. Its protection runs in train mode and so would shift the running statistics
    from layer to layer, and with them its distances; here they stand still. The same seed gives the same scores. The model,
    the random states and the folder stay as they were. Raises InputError where `check_network_pruner` does, if the package
    raises, and if it gives a value that is not finite.
    """
    images, where = _Images(split, indices), next(model.parameters()).device
    check_network_pruner(model, groups, split.load(indices[:2])[0].to(where))
    subject = independent(model)
    for module in subject.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.momentum = 0.0
    places = {name: place for place, (name, _) in enumerate(subject.named_modules())}
    layers = [group.producers[0].layer for group in groups]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), _seeded(seed):
        try:
            found = load_network_pruner().get_metrics(
                subject,
                DataLoader(images, batch_size),
                layers2prune=[places[layer] for layer in layers],
                device=where,
                results_save_path=str(Path(folder) / "results.pkl"),
            )
        except InputError:  # of an image
            raise
        except Exception as error:
            raise InputError(
                f"network-pruner raises {type(error).__name__} for this model: {first_line(error)}; choose another signal"
            ) from error
    return ScoreTable(
        groups=tuple(_scores(group, found[f"D_{place}"], found[f"RE_{place}_hat"]) for place, group in enumerate(groups)),
        removal="custom",
        projections=DIRECTIONS,
        seed=seed,
        samples=len(images),
        classes=len(set(images.targets)),
        observe="producer",
        aggregate="max",
        protection="signed",
    )


def check_network_pruner(model: nn.Module, groups: Sequence[Group], example_input: Tensor) -> None:
    """Raises InputError if the package is missing, or has no scores for one of the groups: it knows single layers only."""
    load_network_pruner()
    layers = dict(model.named_modules())
    dimensions = _output_dimensions(model, example_input)
    objections = {group.name: why for group in groups if (why := _objection(group, layers, dimensions))}
    if objections:
        name, why = next(iter(objections.items()))
        rest = f", or leave out {', '.join(objections)} by model.ignore" if len(objections) < len(groups) else ""
        raise InputError(f"network_pruner cannot score {name}: {why}; choose another signal{rest}")


def load_network_pruner() -> Any:
    """The module. Raises InputError if it is missing."""
    try:
        return importlib.import_module("Network_Pruner")
    except ImportError as error:
        raise InputError(f"network_pruner cannot be imported ({error}); pip install fair-pruner[bench]") from error


class _Images(Dataset[tuple[Tensor, int]]):
    """Some images of a split, with the two attributes in which the package looks for labels and classes.

    Without `classes` it counts those among the first 2,000 labels, without `targets` it loads every image for its label.
    """

    def __init__(self, split: Split, indices: Sequence[int]) -> None:
        self.split, self.indices = split, indices
        self.targets: list[int] = split.labels[list(indices)].tolist()
        self.classes = range(max(self.targets) + 1)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self.__getitems__([place])[0]

    def __getitems__(self, places: Sequence[int]) -> list[tuple[Tensor, int]]:
        images, labels = self.split.load([self.indices[place] for place in places])
        return list(zip(images, labels.tolist(), strict=True))


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Both generators that the package draws from begin at `seed`; afterwards they are as they were."""
    state = random.getstate()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(state)


def _scores(group: Group, distances: Tensor, reconstruction: Tensor) -> UnitScores:
    if not (distances.isfinite().all() and reconstruction.isfinite().all()):
        raise InputError(f"network-pruner gives {group.name} a score that is not finite; check the model's weights")
    producers = tuple(producer.layer for producer in group.producers)
    return UnitScores(
        group.name, tuple(distances.tolist()), tuple(reconstruction.tolist()), producers, group.kind, group.channels
    )


def _objection(group: Group, layers: Mapping[str, nn.Module], dimensions: Mapping[str, int]) -> str:
    """Why the package cannot score a group, or nothing."""
    producer = group.producers[0]
    if len(group.producers) > 1:
        return f"its units are made by {len(group.producers)} layers together, and the package scores each layer by itself"
    kinds = [kind for kind in DIMENSIONS if isinstance(layers.get(producer.layer), kind)]
    if not kinds or producer.producer.unit_of != tuple(range(group.units)):
        return "its units are not the single channels of a two-dimensional convolution or a linear layer"
    if dimensions[producer.layer] not in DIMENSIONS[kinds[0]]:
        return f"its output has {dimensions[producer.layer]} dimensions, and the package looks for the channels in the wrong one"
    return ""


def _output_dimensions(model: nn.Module, example_input: Tensor) -> dict[str, int]:
    """How many dimensions the output of each convolution and linear layer has."""
    subject, found = sharing(model), dict[str, int]()

    def note(name: str, _: nn.Module, __: object, output: Tensor) -> None:
        found[name] = output.dim()

    for name, layer in subject.named_modules():
        if any(isinstance(layer, kind) for kind in DIMENSIONS):
            layer.register_forward_hook(partial(note, name))
    with torch.no_grad():
        subject(example_input)
    return found
