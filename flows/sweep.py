"""The main flow: one dense model, scored once; one branch per tolerance; all candidates measured last, and alone."""

import logging
import subprocess

from prefect import flow, runtime

from flows.environment import prepare_environment
from flows.tasks import (
    FlowRunner,
    allocate_task,
    benchmark_task,
    build_engine_task,
    calibrate_task,
    dense_task,
    evaluate_task,
    export_task,
    finetune_task,
    prune_task,
    recalibrate_task,
    report_task,
    score_task,
    track_task,
)
from pipeline.config import RunConfig
from pipeline.measurements import Candidate, Contestant, RunReport
from pipeline.preflight import preflight
from pipeline.progress import log
from pipeline.records import Architecture, CalibrationSet, ModelRecord, PlanRecord, ScoreRecord


def _run_name() -> str:
    config = runtime.flow_run.parameters["config"]
    return str(config.name if isinstance(config, RunConfig) else config.get("name", "run"))


@flow(name="sweep", flow_run_name=_run_name)
def sweep(config: RunConfig) -> RunReport:
    """Prune a classifier at every tolerance, and measure accuracy and latency of every exported candidate.

    Args:
        config: All settings of the run, one section a stage.
    """
    prepare_environment()  # a worker has not been through the command line
    log.setLevel(logging.INFO)  # Prefect shows what the logger lets through
    architecture = preflight(config)
    run = FlowRunner(config.output)
    model, calibration, scores = prepare(run, config, architecture)
    candidates = [_measured(run, config, "dense", model)]
    for tolerance in config.allocate.tolerances:
        candidates.append(_branch(run, config, tolerance, model, calibration, scores))
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
        flow_run_id=str(runtime.flow_run.id or ""),
        git_commit=_git_commit(),
    )
    if config.track.enabled:
        run(track_task, config.name, report=result, config=config.track, output=run.output)
    log.info("%d tasks, %d of them from the cache", run.finished, run.cached)
    return result


def prepare(run: FlowRunner, config: RunConfig, architecture: Architecture) -> tuple[ModelRecord, CalibrationSet, ScoreRecord]:
    """What all tolerances share: the dense model, the calibration set, the scores."""
    data, seed = config.data, config.seed
    checkpoint = config.model.checkpoint
    source = run.store.add(checkpoint) if checkpoint else config.train
    model = run(dense_task, config.model.name, architecture=architecture, source=source, data=data, seed=seed)
    calibration = run(calibrate_task, f"{config.calibrate.per_class} a class", data=data, config=config.calibrate, seed=seed)
    scores = run(
        score_task,
        config.model.name,
        model=model,
        calibration=calibration,
        ignore=config.model.ignore,
        data=data,
        config=config.score,
        seed=seed,
    )
    return model, calibration, scores


def allocated(run: FlowRunner, config: RunConfig, tolerance: float, model: ModelRecord, scores: ScoreRecord) -> PlanRecord:
    """The plan of one tolerance."""
    return run(
        allocate_task,
        f"tolerance {tolerance}",
        model=model,
        scores=scores,
        tolerance=tolerance,
        ignore=config.model.ignore,
        round_to=config.allocate.round_to,
        min_units=config.allocate.min_units,
    )


def _branch(
    run: FlowRunner,
    config: RunConfig,
    tolerance: float,
    model: ModelRecord,
    calibration: CalibrationSet,
    scores: ScoreRecord,
) -> Candidate:
    """One tolerance: plan, cut, recalibrate, fine-tune, measure."""
    data, seed, about = config.data, config.seed, f"tolerance {tolerance}"
    plan = allocated(run, config, tolerance, model, scores)
    pruned = run(prune_task, about, model=model, plan=plan)
    recalibrated = run(
        recalibrate_task, about, model=pruned, calibration=calibration, data=data, config=config.recalibrate, seed=seed
    )
    finetuned = run(
        finetune_task,
        about,
        model=recalibrated,
        label=f"finetune · {about}",
        data=data,
        config=config.finetune,
        seed=seed,
    )
    return _measured(run, config, about.replace(" ", "-"), finetuned, plan, recalibrated, stages=(pruned,))


def _measured(
    run: FlowRunner,
    config: RunConfig,
    name: str,
    model: ModelRecord,
    plan: PlanRecord | None = None,
    recalibrated: ModelRecord | None = None,
    stages: tuple[ModelRecord, ...] = (),
) -> Candidate:
    """Export a model, build its engine, and measure its accuracy in torch and in ONNX Runtime."""
    common = {"data": config.data, "seed": config.seed, "config": config.evaluate}
    before = (
        run(evaluate_task, f"{name} recalibrated, validation", subject=recalibrated, split="validation", **common)
        if recalibrated
        else None
    )
    validation = run(evaluate_task, f"{name} torch, validation", subject=model, split="validation", **common)
    test = run(evaluate_task, f"{name} torch, test", subject=model, split="test", **common)
    onnx = run(export_task, name, model=model, data=config.data, seed=config.seed, config=config.export)
    onnx_test = run(evaluate_task, f"{name} onnx, test", subject=onnx, split="test", **common)
    engine = run(build_engine_task, name, onnx=onnx, config=config.engine)
    seconds = {record.stage: record.seconds for record in (*stages, *([recalibrated] if recalibrated else []), model)}
    seconds |= {"allocate": plan.seconds} if plan else {}
    seconds |= {
        "evaluate": sum(report.seconds for report in (before, validation, test, onnx_test) if report),
        "export": onnx.seconds,
        "build_engine": engine.seconds,
    }
    return Candidate(
        name=name,
        tolerance=plan.tolerance if plan else None,
        plan=plan,
        model=model,
        recalibrated_validation=before,
        torch_validation=validation,
        torch_test=test,
        onnx=onnx,
        onnx_test=onnx_test,
        engine=engine,
        stage_seconds=seconds,
    )


def _git_commit() -> str:
    """The commit of the working directory's repository; empty outside of one."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603  # a fixed command
    except (OSError, subprocess.CalledProcessError):
        return ""
