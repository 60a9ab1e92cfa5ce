"""Stage: train a recalibrated model until it has recovered."""

from pipeline.config import DataConfig, FinetuneConfig
from pipeline.records import CalibrationSet, ModelRecord, timed
from pipeline.store import Store
from pipeline.training_job import TrainingJob, trained


@timed
def finetune(
    model: ModelRecord,
    teacher: ModelRecord | None,
    calibration: CalibrationSet | None,
    label: str,
    data: DataConfig,
    config: FinetuneConfig,
    seed: int,
    store: Store,
    wanted: float = 0.0,
) -> ModelRecord:
    """The epoch of the recipe with the best validation accuracy; with no epochs, the model as it was.

    `teacher` is the dense model if the recipe distils, `calibration` the images if it measures norms afterwards. With
    `wanted` training stops as soon as that validation accuracy is out of reach. `label` names the progress bar. Raises
    InputError if the optimiser is unknown, StageError if one of several processes fails.
    """
    job = TrainingJob(
        model=model,
        teacher=teacher if config.distillation.weight else None,
        calibration=calibration if config.recalibrate else None,
        data=data,
        recipe=config,
        seed=seed,
        wanted=wanted,
        label=label,
    )
    done = trained(job, store)
    return model.model_copy(
        update={
            "parents": tuple(record.digest for record in (model, job.teacher, job.calibration) if record),
            "stage": "finetuned",
            **done.fields,
        }
    )
