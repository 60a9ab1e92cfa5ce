"""Stage: a comparison of ways to prune -> MLflow, one run for all of it and one below it for each cell."""

from pathlib import Path

from pipeline.ablation import FILES, AblationReport, Cell
from pipeline.config import TrackConfig
from pipeline.errors import InputError
from pipeline.measurements import TrackRecord
from pipeline.mlflow_runs import Experiment, finished, log_values, open_experiment, together
from pipeline.records import timed
from pipeline.track_values import parent_params

DIGEST = "fair_pruner.report_digest"


@timed
def track_ablation(report: AblationReport, config: TrackConfig, output: Path) -> TrackRecord:
    """Log a comparison to MLflow: settings, the dense model's figures, its files, and each cell with its validation curve.

    Goes where `pipeline.track` logs to. All runs end FINISHED together, the parent last; if logging fails, all that it began
    are marked FAILED. If the experiment already has a finished parent with this report's digest, nothing is logged and that
    run is returned, with the latencies it was logged with. Raises StageError if MLflow refuses, InputError if a file of the
    comparison is missing from `output`.
    """
    folder = output.resolve() / report.full_name
    with open_experiment(config, output, f"The comparison is complete in {folder}") as experiment:
        parent, children = _earlier(experiment, report) or _log(experiment, report, folder)
    return TrackRecord(
        parents=(report.digest,),
        tracking_uri=experiment.uri,
        experiment_id=experiment.id,
        parent_run_id=parent,
        run_ids=children,
    )


def _earlier(experiment: Experiment, report: AblationReport) -> tuple[str, dict[str, str]] | None:
    """The finished runs that already hold this comparison."""
    found = finished(experiment, report_digest=report.digest)
    return (found[0], {run.info.run_name: run.info.run_id for run in found[1]}) if found else None


def _log(experiment: Experiment, report: AblationReport, folder: Path) -> tuple[str, dict[str, str]]:
    client, children = experiment.client, dict[str, str]()
    with together(experiment) as begin:
        parent = begin(report.full_name, {DIGEST: report.digest})
        log_values(experiment, parent, _params(report), _metrics(report))
        for name in FILES:
            if not (folder / name).is_file():
                raise InputError(f"{folder / name} is missing; write the comparison anew before it is tracked")
            client.log_artifact(parent, str(folder / name))
        for cell in report.cells:
            name = f"{cell.method}-{cell.goal.name}-seed-{cell.seed}"
            children[name] = begin(name, {"mlflow.parentRunId": parent})
            log_values(experiment, children[name], _cell_params(cell), _cell_metrics(cell), _curve(cell))
    return parent, children


def _params(report: AblationReport) -> dict[str, str]:
    return parent_params(report) | {"methods": ", ".join(report.methods), "seeds": ", ".join(map(str, report.seeds))}


def _metrics(report: AblationReport) -> dict[str, float]:
    """The dense model's."""
    return {
        "dense_params": report.dense.params,
        "dense_macs": report.dense.macs,
        "dense_top1_validation": report.top1_validation,
        "dense_top1_test": report.top1_test,
    }


def _cell_params(cell: Cell) -> dict[str, str]:
    return {"method": cell.method, "goal": str(cell.goal), "seed": str(cell.seed)}


def _cell_metrics(cell: Cell) -> dict[str, float]:
    return {
        "params": cell.params,
        "macs": cell.macs,
        "units_removed": cell.plan.units_removed,
        "top1_recalibrated": cell.top1_recalibrated,
        "top1_validation": cell.top1_validation,
        "top1_test": cell.top1_test,
    }


def _curve(cell: Cell) -> list[tuple[str, float, int]]:
    """Validation accuracy by steps of the optimiser, from before the fine-tuning on."""
    start = ("training/top1_validation", cell.top1_recalibrated, 0)
    return [start, *(("training/top1_validation", each.top1_validation, each.step) for each in cell.history)]
