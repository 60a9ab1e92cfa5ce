"""The flow `ablation`: one dense model, pruned to the same costs by several methods and seeds, with one recipe."""

from prefect import flow

from flows.cut import allocated, cut, scored
from flows.environment import prepare_environment
from flows.outage import outliving
from flows.run_logs import run_logs
from flows.tasks import (
    FlowRunner,
    ablation_report_task,
    benchmark_task,
    calibrate_task,
    dense_task,
    evaluate_task,
    export_task,
    track_ablation_task,
)
from pipeline.ablation import AblationReport, Cell, Method
from pipeline.config import DataConfig, RunConfig
from pipeline.errors import PipelineError
from pipeline.exported import OnnxRecord
from pipeline.goals import goals
from pipeline.latency import Contestant
from pipeline.preflight import preflight
from pipeline.progress import log
from pipeline.records import CalibrationSet, ModelRecord, PlanRecord
from pipeline.redact import without_secrets
from pipeline.shared_run import publish


@flow(name="ablation")
@run_logs()
@outliving
def ablation(config: RunConfig, methods: tuple[Method, ...], seeds: tuple[int, ...], latency: bool = True) -> AblationReport:
    """Prune a classifier to every budget of the config by every method and seed, and compare what they keep.

    Args:
        config: All settings; its seed makes the dense model and splits the data, its budgets are what all methods cut to.
        methods: What is compared, the first with all others.
        seeds: Each draws calibration images, directions and batches anew.
        latency: Measure the files of the first seed beside the dense model.
    """
    prepare_environment()
    architecture = preflight(config, [method.removal for method in methods])
    run = FlowRunner(config.output)
    config = config.model_copy(update={"data": _split(config)})
    common = {"data": config.data, "seed": config.seed}
    checkpoint = config.model.checkpoint
    source = run.store.add(checkpoint) if checkpoint else config.train
    dense = run(dense_task, config.model.name, architecture=architecture, source=source, **common)
    onnx = run(export_task, "dense", model=dense, config=config.export, **common)
    accuracy = {
        split: run(evaluate_task, f"dense · onnx, {split}", subject=onnx, split=split, config=config.evaluate, **common)
        for split in ("validation", "test")
    }
    cells, files = list[Cell](), [Contestant.of("dense", onnx, dense.macs)]
    for seed in seeds:
        seeded = config.model_copy(update={"seed": seed})
        about = f"{config.calibrate.per_class} a class, seed {seed}"
        calibration = run(calibrate_task, about, data=config.data, config=config.calibrate, seed=seed)
        for method in methods:
            found = _cells(run, _with(seeded, method), method, dense, calibration)
            cells += [cell for cell, _ in found]
            if seed == seeds[0]:
                files += [Contestant.of(cell.candidate, file, cell.macs) for cell, file in found]
    measured = None
    if latency:
        measured = run(benchmark_task, f"{len(files)} files", contestants=tuple(files), config=config.benchmark)
    report = AblationReport(
        parents=(dense.digest, onnx.digest, *(cell.plan.digest for cell in cells)),
        name=config.name,
        config=without_secrets(config.model_dump(mode="json")),
        methods=tuple(method.name for method in methods),
        seeds=seeds,
        dense=dense,
        top1_validation=accuracy["validation"].top1,
        top1_test=accuracy["test"].top1,
        validation_samples=accuracy["validation"].samples,
        test_samples=accuracy["test"].samples,
        cells=tuple(cells),
        latency=measured,
    )
    run(ablation_report_task, config.name, report=report, folder=run.output / report.full_name)
    publish(run.output / report.full_name)
    if config.track.enabled:
        try:
            run(track_ablation_task, config.name, report=report, config=config.track, output=run.output)
        except PipelineError as error:  # the comparison itself is complete
            log.warning("%s; once MLflow is back, the same command logs it, from the cache", error)
    log.info("%d tasks, %d of them from the cache", run.finished, run.cached)
    return report


def _cells(
    run: FlowRunner, config: RunConfig, method: Method, dense: ModelRecord, calibration: CalibrationSet
) -> list[tuple[Cell, OnnxRecord]]:
    """One method at every budget, with the seed of the config."""
    about = f"{method.name}, seed {config.seed}"
    scores = scored(run, config, about, dense, calibration)
    plans = [allocated(run, config, goal, dense, dense, scores, None) for goal in goals(config.allocate)]
    return [_cell(run, config, method, dense, calibration, plan) for plan in plans]


def _cell(
    run: FlowRunner, config: RunConfig, method: Method, dense: ModelRecord, calibration: CalibrationSet, plan: PlanRecord
) -> tuple[Cell, OnnxRecord]:
    about = f"{method.name} · {plan.goal}, seed {config.seed}"
    common = {"data": config.data, "seed": config.seed}
    found = cut(run, config, dense, calibration, None, plan)

    def top1(subject: ModelRecord | OnnxRecord, what: str, split: str) -> float:
        report = run(evaluate_task, f"{about} · {what}, {split}", subject=subject, split=split, config=config.evaluate, **common)
        return report.top1

    onnx = run(export_task, about, model=found.model, config=config.export, **common)
    before = float((method.rounds - 1) * (config.finetune.round_epochs or 0))
    cell = Cell(
        method=method.name,
        goal=plan.goal,
        seed=config.seed,
        plan=found.plan,
        params=found.model.params,
        macs=found.model.macs,
        top1_recalibrated=top1(found.recalibrated, "recalibrated", "validation"),
        epochs_before=before,
        history=tuple(each.model_copy(update={"epoch": before + each.epoch}) for each in found.model.history),
        top1_validation=top1(found.model, "fine-tuned", "validation"),
        top1_test=top1(onnx, "onnx", "test"),
        candidate=f"{method.name} {plan.goal}",
    )
    return cell, onnx


def _split(config: RunConfig) -> DataConfig:
    """The data, split alike for every seed: else one seed would validate on images that the dense model was trained on."""
    return config.data if config.data.seed is not None else config.data.model_copy(update={"seed": config.seed})


def _with(config: RunConfig, method: Method) -> RunConfig:
    score = config.score.model_copy(update={"removal": method.removal})
    how = config.allocate.model_copy(update={"rule": method.rule, "rounds": method.rounds})
    return config.model_copy(update={"score": score, "allocate": how, "finetune": method.recipe(config.finetune)})
