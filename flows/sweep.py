"""The main flow: one dense model, scored once; one branch a goal; all candidates measured last, and alone."""

import logging
import subprocess

from prefect import flow, runtime

from flows.branch import allocated, branch, measured, scored
from flows.environment import prepare_environment
from flows.tasks import FlowRunner, benchmark_task, calibrate_task, dense_task, report_task, track_task
from pipeline.config import RunConfig
from pipeline.goals import goals
from pipeline.measurements import Contestant, RunReport
from pipeline.preflight import preflight
from pipeline.progress import log
from pipeline.records import Architecture, CalibrationSet, ModelRecord, PlanRecord, ScoreRecord


def _run_name() -> str:
    config = runtime.flow_run.parameters["config"]
    return str(config.name if isinstance(config, RunConfig) else config.get("name", "run"))


@flow(name="sweep", flow_run_name=_run_name)
def sweep(config: RunConfig) -> RunReport:
    """Prune a classifier at every tolerance or budget, and measure accuracy and latency of every exported candidate.

    Args:
        config: All settings of the run, one section a stage.
    """
    prepare_environment()  # a worker has not been through the command line
    log.setLevel(logging.INFO)  # Prefect shows what the logger lets through
    architecture = preflight(config)
    run = FlowRunner(config.output)
    model, calibration, scores, plans = prepare(run, config, architecture)
    candidates = [measured(run, config, "dense", model, made=(model,))]
    candidates += [branch(run, config, model, calibration, plan) for plan in plans]
    latency = run(
        benchmark_task,
        f"{len(candidates)} candidates",
        contestants=tuple(Contestant(name=c.name, onnx=c.onnx, macs=c.model.macs) for c in candidates),
        config=config.benchmark,
    )
    settings = config.model_dump(mode="json")
    result = run(
        report_task,
        config.name,
        name=config.name,
        folder=run.output / config.name,
        config=settings,
        candidates=tuple(candidates),
        latency=latency,
        scores=scores,
        plans=plans,
        flow_run_id=str(runtime.flow_run.id or ""),
        git_commit=_git_commit(),
    )
    if config.track.enabled:
        run(track_task, config.name, report=result, config=config.track, output=run.output)
    log.info("%d tasks, %d of them from the cache", run.finished, run.cached)
    return result


def prepare(
    run: FlowRunner, config: RunConfig, architecture: Architecture
) -> tuple[ModelRecord, CalibrationSet, ScoreRecord, tuple[PlanRecord, ...]]:
    """What comes before anything is pruned: the dense model, the calibration set, the scores, each candidate's first plan.

    Raises BudgetError if a budget cannot be met.
    """
    data, seed, name = config.data, config.seed, config.model.name
    checkpoint = config.model.checkpoint
    source = run.store.add(checkpoint) if checkpoint else config.train
    model = run(dense_task, name, architecture=architecture, source=source, data=data, seed=seed)
    calibration = run(calibrate_task, f"{config.calibrate.per_class} a class", data=data, config=config.calibrate, seed=seed)
    scores = scored(run, config, name, model, calibration)
    plans = tuple(allocated(run, config, goal, model, model, scores) for goal in goals(config.allocate))
    return model, calibration, scores, plans


def _git_commit() -> str:
    """The commit of the working directory's repository; empty outside of one."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603  # a fixed command
    except (OSError, subprocess.CalledProcessError):
        return ""
