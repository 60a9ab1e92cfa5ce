"""Stage: measure BatchNorm statistics anew after the cut."""

import torch

from pipeline.config import DataConfig, RecalibrateConfig
from pipeline.data import batches, load_data, shuffled
from pipeline.models import device, load_model, save_weights
from pipeline.norms import measure_norms
from pipeline.records import CalibrationSet, ModelRecord, timed
from pipeline.store import Store


@timed
def recalibrate(
    model: ModelRecord,
    calibration: CalibrationSet,
    data: DataConfig,
    config: RecalibrateConfig,
    seed: int,
    store: Store,
) -> ModelRecord:
    """The same weights with the running mean and variance of every BatchNorm averaged over the calibration set.

    Only BatchNorm layers are in training mode meanwhile, so dropout stays off. A model without them comes back unchanged.
    """
    where = device()
    network = load_model(model, store).to(where)
    order = shuffled(calibration.indices, torch.Generator().manual_seed(seed))
    measure_norms(network, batches(load_data(data, seed).train, order, config.batch_size, where))
    return model.model_copy(
        update={
            "parents": (model.digest, calibration.digest),
            "stage": "recalibrated",
            "weights": save_weights(network, store),
        }
    )
