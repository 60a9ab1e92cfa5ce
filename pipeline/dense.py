"""Stage: the dense model, trained here by recipe or loaded from a checkpoint."""

import torch

from pipeline.config import DataConfig, TrainConfig
from pipeline.models import build_model, cost_fields, load_checkpoint, save_weights
from pipeline.records import Architecture, FileRef, ModelRecord, timed
from pipeline.store import Store
from pipeline.training_job import TrainingJob, trained


@timed
def dense(architecture: Architecture, source: FileRef | TrainConfig, data: DataConfig, seed: int, store: Store) -> ModelRecord:
    """A network with the weights of the checkpoint `source`, or trained from scratch by the recipe `source`.

    Initial weights and batches are drawn from `seed`. Raises InputError if the checkpoint does not fit the architecture or
    the optimiser is unknown.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_model(architecture)
    if isinstance(source, FileRef):
        load_checkpoint(network, store.path(source))
    start = ModelRecord(
        stage="dense",
        architecture=architecture,
        plan=None,
        weights=save_weights(network, store),
        **cost_fields(network, architecture),
    )
    if isinstance(source, FileRef):
        return start
    done = trained(TrainingJob(model=start, data=data, recipe=source, seed=seed, label="train"), store)
    return start.model_copy(update=done.fields)
