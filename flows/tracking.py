"""What a finished sweep does with MLflow: log, register, and if MLflow is away keep it for later; a run never fails for it."""

from pathlib import Path

from flows.tasks import FlowRunner, register_task, track_task
from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.measurements import RunReport, TrackRecord
from pipeline.progress import log
from pipeline.spool import spool


def tracked_or_kept(
    run: FlowRunner, config: RunConfig, report: RunReport, flow_run_url: str, began_ms: int, ended_ms: int
) -> tuple[TrackRecord | None, tuple[str, ...]]:
    """Where the run was logged, and remarks for its summary. None if it was not: then it waits for `fair-pruner sync`."""
    if not config.track.enabled:
        return None, ()
    output: Path = run.output
    try:
        tracked = run(track_task, report.name, report=report, config=config.track, output=output, flow_run_url=flow_run_url)
    except PipelineError as error:
        spool(report, config.track, config.gate, flow_run_url, began_ms, ended_ms, output)
        log.warning("%s; once it is back: fair-pruner sync --output %s", error, output)
        return None, (f"MLflow could not be told of this run; once it is back: `fair-pruner sync --output {output}`.",)
    if not config.track.registry:
        return tracked, ()
    try:
        record = run(register_task, report.name, report=report, track=tracked, config=config.track, gate=config.gate)
    except PipelineError as error:
        spool(report, config.track, config.gate, flow_run_url, began_ms, ended_ms, output)
        log.warning("nothing was registered: %s; once it is back: fair-pruner sync --output %s", error, output)
        return tracked, (f"Nothing was registered in MLflow; once it is back: `fair-pruner sync --output {output}`.",)
    return tracked, (f"{record.reason}.",) if record.version else ()
