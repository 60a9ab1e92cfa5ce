"""A training as a value that another process can be given: records and settings in, weights and curve out."""

from pathlib import Path
from typing import Any

from fair_pruner import PruningPlan
from pipeline.data import batches, fingerprint, load_data
from pipeline.distillation import Teacher
from pipeline.models import device, load_model, save_weights
from pipeline.norms import measure_norms
from pipeline.processes import run_together
from pipeline.records import CalibrationSet, Curve, FileRef, ModelRecord, Value, digest_of
from pipeline.sections import DataConfig
from pipeline.store import Store
from pipeline.training import train
from pipeline.training_sections import DistillationConfig, FinetuneConfig, TrainConfig


class TrainingJob(Value):
    """Train `model`, with what `teacher` says if there is one, and then measure its norms on `calibration` if there is one.

    `wanted` is the validation accuracy without which the training is not worth going on; 0: it always is.
    """

    model: ModelRecord
    teacher: ModelRecord | None = None
    calibration: CalibrationSet | None = None
    data: DataConfig
    recipe: FinetuneConfig | TrainConfig
    seed: int
    wanted: float = 0.0
    label: str

    def run(self, store: Store) -> "Trained":
        """Train in this process, or in those that accelerate has launched; goes on where an earlier call was killed."""
        network, data = load_model(self.model, store), load_data(self.data, self.seed)
        curve = train(
            network,
            data,
            self.recipe,
            self.seed,
            self.label,
            teacher=self._teacher(store),
            wanted=self.wanted,
            checkpoint=self._checkpoint(store),
        )
        if self.calibration and curve.epochs:
            network.to(device())
            measure_norms(network, batches(data.train, self.calibration.indices, self.recipe.batch_size, device()))
        return Trained(weights=save_weights(network, store), curve=curve)

    def _teacher(self, store: Store) -> Teacher | None:
        if not self.teacher:
            return None
        plan = PruningPlan.from_json(store.path(self.model.plan).read_text()) if self.model.plan else None
        how = self.recipe.distillation if isinstance(self.recipe, FinetuneConfig) else DistillationConfig()
        return Teacher.of(load_model(self.teacher, store), plan, how)

    def _checkpoint(self, store: Store) -> Path:
        about = [record.digest for record in (self.model, self.teacher, self.calibration) if record]
        settings = self.recipe.model_dump(mode="json", exclude=set(self.recipe.UNHASHED))
        name = digest_of([about, fingerprint(self.data), settings, self.seed, self.wanted])
        return store.root.parent / "unfinished" / f"{name[:32]}.pt"


class Trained(Value):
    """What a training leaves."""

    weights: FileRef
    curve: Curve

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a ModelRecord that a training sets."""
        curve = self.curve
        return {"weights": self.weights, "history": curve.epochs, "steps": curve.steps, "stopped": curve.stopped}


def trained(job: TrainingJob, store: Store) -> Trained:
    """Run the job in as many processes as its recipe says. Raises StageError if one of several fails."""
    processes = job.recipe.processes
    return job.run(store) if processes == 1 else Trained.model_validate_json(run_together(job, processes, store))
