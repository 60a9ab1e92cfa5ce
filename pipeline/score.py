"""Stage: score every unit of the dense model on the calibration set."""

import math

import fair_pruner
from pipeline.config import DataConfig, ScoreConfig
from pipeline.data import batches, load_data
from pipeline.models import device, example_input, load_model
from pipeline.progress import progress
from pipeline.records import CalibrationSet, ModelRecord, ScoreRecord, timed
from pipeline.store import Store


@timed
def score(
    model: ModelRecord,
    calibration: CalibrationSet,
    ignore: tuple[str, ...],
    data: DataConfig,
    config: ScoreConfig,
    seed: int,
    store: Store,
) -> ScoreRecord:
    """U- and R-Scores of all groups; layers in `ignore` are left out. Raises fair_pruner's errors."""
    where = device()
    network = load_model(model, store).to(where)
    steps = math.ceil(len(calibration.indices) / config.batch_size)
    images = batches(load_data(data, seed).train, calibration.indices, config.batch_size, where)
    table = fair_pruner.score(
        network,
        progress(images, "score", steps),
        example_input=example_input(model.architecture, batch=2).to(where),
        projections=config.projections,
        seed=seed,
        ignore=ignore,
    )
    return ScoreRecord(
        parents=(model.digest, calibration.digest),
        table=store.put(table.to_json().encode(), ".scores.json"),
        groups=len(table.groups),
        units=table.units,
    )
