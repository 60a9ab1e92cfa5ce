"""Stage: score every unit of a model on the calibration set."""

from pipeline.config import DataConfig, ScoreConfig
from pipeline.records import CalibrationSet, ModelRecord, ScoreRecord, timed
from pipeline.removal import source_of
from pipeline.scoring_job import ScoringJob, scored
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
    cannot score the model, or there are fewer images than processes; StageError if one of several fails; fair_pruner's errors.
    """
    job = ScoringJob(
        model=model,
        calibration=calibration,
        ignore=ignore,
        embedding=embedding,
        data=data,
        config=config,
        seed=seed,
        label=label,
    )
    table = scored(job, store)
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
