"""Stage: tracked report -> MLflow's model registry, where the recommended file becomes a version, and perhaps the champion."""

from typing import Any

from pipeline.bounds import validation_top1
from pipeline.config import GateConfig, TrackConfig
from pipeline.errors import StageError
from pipeline.exported import OnnxRecord
from pipeline.findings import batch_sizes, series_of
from pipeline.measurements import RegistryRecord, RunReport, TrackRecord
from pipeline.progress import log
from pipeline.promote import decide, registered
from pipeline.promotion import Contender, contender
from pipeline.records import timed
from pipeline.registered_model import (
    CHALLENGER,
    CHAMPION,
    FILE,
    PARENT_RUN,
    ROLLED_BACK,
    SHA256,
    RegisteredModel,
    open_registered_model,
)
from pipeline.track_values import measurement_digest


@timed
def register(report: RunReport, track: TrackRecord, config: TrackConfig, gate: GateConfig) -> RegistryRecord:
    """Register the recommended file as a version of `config.registered_model` (default: the run's name).

    It gets the alias `challenger`, and with `config.promote` becomes `champion` if `promotion.objection` has none. A file that
    is a version already stays that one, and is known by this run's measurement from now on. If nothing is recommended,
    nothing is registered. Raises StageError if MLflow refuses, or has lost what `track` logged.
    """
    name, shipped = config.registered_model or report.name, report.recommendation
    parents = (report.digest, track.digest)
    if not shipped.candidate:
        reason = f"nothing is registered as {name}: {shipped.reason}"
        log.info("%s", reason)
        return RegistryRecord(parents=parents, name=name, reason=reason)
    file = contender(report, shipped.candidate, shipped.precision, shipped.runtime)
    with open_registered_model(name, track.tracking_uri, f"The report is complete in {report.folder}") as model:
        model.make()
        version = _add(model, file, track)
        if model.aliases().get(CHAMPION) != version:
            model.set(CHALLENGER, version)
        rolled_back = model.version(version).tags.get(ROLLED_BACK)
        if not config.promote:
            record = registered(model, version, "is registered; track.promote is false")
        elif rolled_back:
            record = registered(model, version, f"was rolled back at {rolled_back}; only fair-pruner promote makes it champion")
        else:
            record = decide(model, version, file, gate)
    return record.model_copy(update={"parents": parents})


def _add(model: RegisteredModel, file: Contender, track: TrackRecord) -> int:
    """The version that is this file, with what this run found out about it."""
    run = track.run_ids[file.candidate.name]
    tags = _tags(file) | {PARENT_RUN: track.parent_run_id, "fair_pruner.run_id": run}
    return model.add(_logged_model(model.client, run, file.onnx), f"{file.report.recommendation.reason}.", tags)


def _logged_model(client: Any, run: str, onnx: OnnxRecord) -> Any:
    """The LoggedModel of a run that holds this file."""
    for output in client.get_run(run).outputs.model_outputs:
        logged = client.get_logged_model(output.model_id)
        if logged.tags.get(SHA256) == onnx.file.sha256:
            return logged
    raise StageError(f"MLflow run {run} holds no model of the {onnx.precision} file; delete the run in MLflow and run again")


def _tags(file: Contender) -> dict[str, str]:
    """What people look for on a version; the rest stands in the run's report."""
    report, latency = file.report, file.report.latency
    series = series_of(latency, file.candidate.name, batch_sizes(latency)[0], file.onnx.precision, file.runtime)
    return dict(zip(FILE, (file.candidate.name, file.onnx.precision, file.runtime), strict=True)) | {
        SHA256: file.onnx.file.sha256,
        "fair_pruner.report_digest": report.digest,
        "fair_pruner.measurement_digest": measurement_digest(report),
        "fair_pruner.batch_size": str(series.batch_size),
        "fair_pruner.p50_ms": f"{series.p50_ms:.4g} [{series.p50_low_ms:.4g}, {series.p50_high_ms:.4g}]",
        "fair_pruner.speedup": f"{series.speedup:.2f} [{series.speedup_low:.2f}, {series.speedup_high:.2f}]",
        "fair_pruner.top1_validation": f"{validation_top1(file.candidate, file.onnx, file.runtime):.4f}",
        "fair_pruner.machine": f"{latency.machine.gpu or latency.machine.cpu}, threads: {latency.threads}",
    }
