"""Stage: train a recalibrated model until it has recovered."""

import torch

from pipeline.config import DataConfig, FinetuneConfig
from pipeline.data import load_data
from pipeline.models import load_model, save_weights
from pipeline.records import ModelRecord, timed
from pipeline.store import Store
from pipeline.training import train


@timed
def finetune(model: ModelRecord, label: str, data: DataConfig, config: FinetuneConfig, seed: int, store: Store) -> ModelRecord:
    """The epoch of the recipe with the best validation accuracy; with no epochs, the model as it was.

    `label` names the progress bar.
    """
    network = load_model(model, store)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # for dropout
        history = train(network, load_data(data, seed), config, seed, label)
    return model.model_copy(
        update={
            "parents": (model.digest,),
            "stage": "finetuned",
            "weights": save_weights(network, store),
            "history": history,
        }
    )
