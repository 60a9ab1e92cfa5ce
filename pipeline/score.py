"""Stage: score every unit of a model on the calibration set."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import fair_pruner
from pipeline.config import DataConfig, ScoreConfig
from pipeline.data import batches, load_data
from pipeline.datasets import Split
from pipeline.models import device, example_input, load_model
from pipeline.network_pruner_scores import network_pruner_scores
from pipeline.progress import progress
from pipeline.pruning_sections import NETWORK_PRUNER
from pipeline.records import CalibrationSet, ModelRecord, ScoreRecord, timed
from pipeline.removal import removal_signal, source_of
from pipeline.store import Store


@timed
def score(
    model: ModelRecord,
    calibration: CalibrationSet,
    ignore: tuple[str, ...],
    embedding: bool,
    data: DataConfig,
    config: ScoreConfig,
    seed: int,
    label: str,
    store: Store,
) -> ScoreRecord:
    """Removal signal and R-Score of all groups; layers in `ignore` are left out, widths too unless `embedding` is set.

    `label` names the progress bar. Raises InputError if the person's own function cannot be imported, or the authors' package
    cannot score the model; fair_pruner's errors.
    """
    where, images = device(), load_data(data, seed).train
    network, inputs = load_model(model, store).to(where), example_input(model.architecture, batch=2).to(where)
    if config.removal == NETWORK_PRUNER:
        groups = fair_pruner.find_groups(network, inputs, ignore, embedding=embedding)
        table = network_pruner_scores(network, groups, images, calibration.indices, config.batch_size, seed)
    else:
        table = fair_pruner.score(
            network,
            _Passes(images, calibration.indices, config.batch_size, where, label),
            example_input=inputs,
            removal=removal_signal(config),
            observe=config.observe,
            aggregate=config.aggregate,
            protection=config.protection,
            projections=config.projections,
            seed=seed,
            ignore=ignore,
            embedding=embedding,
            memory_mb=config.memory_mb,
        )
    return ScoreRecord(
        parents=(model.digest, calibration.digest),
        table=store.put(table.to_json().encode(), ".scores.json"),
        groups=len(table.groups),
        units=table.units,
        removal=config.removal,
        source=source_of(config),
        observe=table.observe,
        aggregate=table.aggregate,
        protection=table.protection,
        samples=table.samples,
        classes=table.classes,
    )


@dataclass(frozen=True)
class _Passes:
    """The calibration batches, as often as they are asked for: with little memory the library passes over them again."""

    split: Split
    indices: tuple[int, ...]
    batch_size: int
    where: torch.device
    label: str

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        steps = math.ceil(len(self.indices) / self.batch_size)
        return progress(batches(self.split, self.indices, self.batch_size, self.where), self.label, steps)
