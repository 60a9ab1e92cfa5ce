"""A scoring as a value that another process can be given: records and settings in, the table of scores out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

import fair_pruner
from fair_pruner import ScoreTable
from pipeline.config import DataConfig, ScoreConfig
from pipeline.data import batches, load_data
from pipeline.datasets import Split
from pipeline.errors import InputError
from pipeline.models import device, example_input, load_model
from pipeline.network_pruner_scores import network_pruner_scores
from pipeline.processes import run_together
from pipeline.progress import progress
from pipeline.pruning_sections import NETWORK_PRUNER
from pipeline.records import CalibrationSet, ModelRecord, Value
from pipeline.removal import removal_signal
from pipeline.store import Store


class ScoringJob(Value):
    """Score every unit of `model` on `calibration`; layers in `ignore` are left out, widths too unless `embedding` is set."""

    model: ModelRecord
    calibration: CalibrationSet
    ignore: tuple[str, ...]
    embedding: bool
    data: DataConfig
    config: ScoreConfig
    seed: int
    label: str

    def run(self, store: Store) -> "Scored":
        """Score in this process, or as one of those that accelerate has launched: each on its share of the images."""
        config, where, images = self.config, device(), load_data(self.data, self.seed).train
        network, inputs = load_model(self.model, store).to(where), example_input(self.model.architecture, batch=2).to(where)
        if config.removal == NETWORK_PRUNER:
            groups = fair_pruner.find_groups(network, inputs, self.ignore, embedding=self.embedding)
            table = network_pruner_scores(network, groups, images, self.calibration.indices, config.batch_size, self.seed)
            return Scored(table=table.to_json())
        table = fair_pruner.score(
            network,
            _Passes(images, _share(self.calibration.indices), config.batch_size, where, self.label),
            example_input=inputs,
            removal=removal_signal(config),
            observe=config.observe,
            aggregate=config.aggregate,
            protection=config.protection,
            projections=config.projections,
            seed=self.seed,
            ignore=self.ignore,
            embedding=self.embedding,
            memory_mb=config.memory_mb,
        )
        return Scored(table=table.to_json())


class Scored(Value):
    """What a scoring leaves: a ScoreTable as JSON."""

    table: str


def scored(job: ScoringJob, store: Store) -> ScoreTable:
    """Run the job in as many processes as its settings say, which changes the scores by no more than rounding.

    Raises InputError if there are fewer images than processes, StageError if one of several processes fails.
    """
    processes, images = job.config.processes, len(job.calibration.indices)
    if processes > images:
        raise InputError(f"score.processes is {processes}, and there are {images} calibration images; set it to {images} or less")
    done = job.run(store) if processes == 1 else Scored.model_validate_json(run_together(job, processes, store))
    return ScoreTable.from_json(done.table)


def _share(indices: tuple[int, ...]) -> tuple[int, ...]:
    """Those of this process."""
    return indices[dist.get_rank() :: dist.get_world_size()] if dist.is_initialized() else indices


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
