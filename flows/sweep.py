"""The main flow: one dense model, scored once; one branch a goal; all candidates measured last, and alone."""

import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from prefect import flow, runtime
from prefect.utilities.urls import url_for

from flows.artifacts import show
from flows.branch import branch, measured, measured_cut, quantized
from flows.cut import allocated, scored
from flows.environment import prepare_environment
from flows.outage import outliving
from flows.run_logs import run_logs
from flows.search import search
from flows.spread import check_spread, spread
from flows.tasks import (
    FlowRunner,
    benchmark_task,
    calibrate_task,
    dense_task,
    export_task,
    layer_costs_task,
    report_task,
)
from flows.tracking import tracked_or_kept
from pipeline.config import RunConfig
from pipeline.file_lock import locked
from pipeline.goals import goals
from pipeline.ladder import ladder
from pipeline.latency import LayerCostRecord
from pipeline.machine import describe
from pipeline.measurements import RunReport
from pipeline.preflight import preflight
from pipeline.progress import log
from pipeline.records import Architecture, CalibrationSet, ModelRecord, PlanRecord, ScoreRecord
from pipeline.shared_run import publish
from pipeline.variants import contestants


def _run_name() -> str:
    config = runtime.flow_run.parameters["config"]
    return str(config.name if isinstance(config, RunConfig) else config.get("name", "run"))


@flow(name="sweep", flow_run_name=_run_name)
def sweep(config: RunConfig) -> RunReport:
    """Prune a classifier at every tolerance or budget, and measure accuracy and latency of every exported candidate.

    Args:
        config: All settings of the run, one section a stage.
    """
    return swept(config)  # nothing else: Dask is sent this function by value, and a decorator around it could not travel


@run_logs()
@outliving
def swept(config: RunConfig) -> RunReport:
    """The whole sweep, as the body of the flow."""
    prepare_environment()  # a worker has not been through the command line
    began_ms = now_ms()
    architecture = preflight(config)
    check_spread(config)
    run = FlowRunner(config.output)
    start = prepare(run, config, architecture)
    model, calibration, costs = start.model, start.calibration, start.layer_costs
    candidates, found = [measured(run, config, "dense", model, calibration, made=(model,))], None
    if config.allocate.max_accuracy_drop is None:
        spread(run, config, model, calibration, costs, start.plans)
        candidates += [branch(run, config, model, calibration, costs, plan) for plan in start.plans]
    else:
        held, found = search(run, config, model, calibration, costs, start.plans)
        candidates += [measured_cut(run, config, calibration, each) for each in held]
    latency = run(
        benchmark_task,
        f"{len(candidates)} candidates",
        contestants=contestants(tuple(candidates), config.benchmark.runtimes, run.store),
        config=config.benchmark,
    )
    settings = config.model_dump(mode="json")
    with locked(report_turn(run.output, config.name)):
        result = run(
            report_task,
            config.name,
            name=config.name,
            folder=run.output / config.name,
            config=settings,
            candidates=tuple(candidates),
            latency=latency,
            scores=start.scores,
            plans=start.plans,
            layer_costs=costs,
            search=found,
            gate=config.gate,
            flow_run_id=str(runtime.flow_run.id or ""),
            git_commit=git_commit(),
        )
        publish(Path(result.folder))
        tracked, remarks = tracked_or_kept(run, config, result, flow_run_url(), began_ms, now_ms())
        show(result, tracked, *remarks)
    log.info("%d tasks, %d of them from the cache", run.finished, run.cached)
    return result


class Start(NamedTuple):
    """What comes before anything is pruned; `plans` are each candidate's first."""

    model: ModelRecord
    calibration: CalibrationSet
    scores: ScoreRecord
    layer_costs: LayerCostRecord | None
    plans: tuple[PlanRecord, ...]


def prepare(run: FlowRunner, config: RunConfig, architecture: Architecture) -> Start:
    """Train or load the dense model, score it, measure its layers if plans or the person ask for it, and make the plans.

    Raises BudgetError if a budget cannot be met.
    """
    data, seed, name = config.data, config.seed, config.model.name
    checkpoint = config.model.checkpoint
    source = run.store.add(checkpoint) if checkpoint else config.train
    model = run(dense_task, name, architecture=architecture, source=source, data=data, seed=seed)
    calibration = run(calibrate_task, f"{config.calibrate.per_class} a class", data=data, config=config.calibrate, seed=seed)
    scores = scored(run, config, name, model, calibration)
    costs = None
    if config.layer_costs.enabled or config.allocate.needs_layer_costs:
        onnx = run(export_task, "dense", model=model, data=data, seed=seed, config=config.export)
        if config.layer_costs.precision != "fp32":
            onnx = quantized(run, config, "dense", onnx, config.layer_costs.precision, calibration)
        machine, threads = describe(("onnxruntime",)).identity, config.benchmark.threads
        costs = run(layer_costs_task, name, model=model, onnx=onnx, machine=machine, config=config.layer_costs, threads=threads)
    asked = goals(config.allocate)
    if config.allocate.max_accuracy_drop is not None:
        how = config.allocate
        asked = ladder(model, scores, how.steps, how.rule, how.round_to, how.min_units, costs, run.store)
    plans = tuple(allocated(run, config, goal, model, model, scores, costs) for goal in asked)
    return Start(model, calibration, scores, costs, plans)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def report_turn(output: Path, name: str) -> Path:
    """What a run holds while it writes the folder of its name and logs what lies in it: another one may have the same name."""
    return output / f"{name}.report"


def flow_run_url() -> str:
    """The page of the current run in Prefect; empty where its server has no pages."""
    return url_for("flow-run", runtime.flow_run.id) or ""


def git_commit() -> str:
    """The commit of the working directory's repository; empty outside of one."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603  # a fixed command
    except (OSError, subprocess.CalledProcessError):
        return ""
