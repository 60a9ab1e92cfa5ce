"""One candidate of a sweep: cut in one round or several, then exported and measured."""

from collections.abc import Sequence
from typing import NamedTuple

from flows.tasks import (
    FlowRunner,
    allocate_task,
    build_engine_task,
    evaluate_engine_task,
    evaluate_task,
    export_task,
    finetune_task,
    prune_task,
    quantize_task,
    recalibrate_task,
    score_task,
    verify_engine_task,
)
from pipeline.config import RunConfig
from pipeline.exported import EngineRecord, OnnxRecord, Precision
from pipeline.latency import LayerCostRecord
from pipeline.measurements import Candidate, EvalReport
from pipeline.records import CalibrationSet, Goal, ModelRecord, PlanRecord, Record, ScoreRecord
from pipeline.variants import variant

STAGE_OF: dict[type[Record], str] = {
    ScoreRecord: "score",
    PlanRecord: "allocate",
    OnnxRecord: "export",
    EvalReport: "evaluate",
    EngineRecord: "build_engine",
}


def scored(run: FlowRunner, config: RunConfig, about: str, model: ModelRecord, calibration: CalibrationSet) -> ScoreRecord:
    """The scores of a model, dense or cut before."""
    return run(
        score_task,
        about,
        model=model,
        calibration=calibration,
        ignore=config.model.ignore,
        embedding=config.model.embedding,
        data=config.data,
        config=config.score,
        seed=config.seed,
        label=f"score · {about}",
    )


def allocated(
    run: FlowRunner,
    config: RunConfig,
    goal: Goal,
    dense: ModelRecord,
    model: ModelRecord,
    scores: ScoreRecord,
    layer_costs: LayerCostRecord | None,
    round_: int = 1,
) -> PlanRecord:
    """The plan of one goal for a round."""
    settings = config.allocate
    return run(
        allocate_task,
        _about(goal, settings.rounds, round_),
        model=model,
        dense=dense,
        scores=scores,
        goal=goal,
        way=round_ / settings.rounds if goal.is_budget else 1.0,
        rule=settings.rule,
        round_to=settings.round_to,
        min_units=settings.min_units,
        layer_costs=layer_costs,
    )


class Cut(NamedTuple):
    """A model after all its rounds: `recalibrated` is it before the last fine-tuning, `made` are all records on the way."""

    plan: PlanRecord
    recalibrated: ModelRecord
    model: ModelRecord
    made: tuple[Record, ...]


def cut(
    run: FlowRunner,
    config: RunConfig,
    dense: ModelRecord,
    calibration: CalibrationSet,
    layer_costs: LayerCostRecord | None,
    plan: PlanRecord,
    wanted: float = 0.0,
) -> Cut:
    """All rounds of one candidate, `plan` being that of the first: cut, recalibrate, fine-tune, and score again.

    A round that would remove nothing, because the budget is met already or no unit may go, is left out. With `wanted` the
    last fine-tuning stops as soon as that validation accuracy is out of reach.
    """
    goal, rounds = plan.goal, config.allocate.rounds
    model, recalibrated, made = dense, dense, list[Record]([plan])
    for round_ in range(1, rounds + 1):
        about = _about(goal, rounds, round_)
        if round_ > 1:
            scores = scored(run, config, about, model, calibration)
            following = allocated(run, config, goal, dense, model, scores, layer_costs, round_)
            made += [scores, following]
            if following.plan == model.plan:
                continue
            plan = following
        common = {"data": config.data, "seed": config.seed}
        pruned = run(prune_task, about, model=model, plan=plan)
        recalibrated = run(recalibrate_task, about, model=pruned, calibration=calibration, config=config.recalibrate, **common)
        model = finetuned(run, config, about, recalibrated, dense, calibration, round_ == rounds, wanted)
        made += [pruned, recalibrated, model]
    return Cut(plan, recalibrated, model, tuple(made))


def branch(
    run: FlowRunner,
    config: RunConfig,
    dense: ModelRecord,
    calibration: CalibrationSet,
    layer_costs: LayerCostRecord | None,
    plan: PlanRecord,
) -> Candidate:
    """One candidate: all its rounds, and everything that is measured on it."""
    return measured_cut(run, config, calibration, cut(run, config, dense, calibration, layer_costs, plan))


def measured_cut(run: FlowRunner, config: RunConfig, calibration: CalibrationSet, found: Cut) -> Candidate:
    """Everything that is measured on a model after all its rounds."""
    name = found.plan.goal.name
    return measured(run, config, name, found.model, calibration, found.plan, found.recalibrated, found.made)


def finetuned(
    run: FlowRunner,
    config: RunConfig,
    about: str,
    model: ModelRecord,
    dense: ModelRecord,
    calibration: CalibrationSet,
    last: bool,
    wanted: float,
) -> ModelRecord:
    """A recalibrated model after its round's recipe, taught by the dense one and recalibrated again where that asks for it."""
    recipe = config.finetune.of_round(last)
    return run(
        finetune_task,
        about,
        model=model,
        teacher=dense if recipe.distillation.weight else None,
        calibration=calibration if recipe.recalibrate else None,
        label=f"finetune · {about}",
        config=recipe,
        data=config.data,
        seed=config.seed,
        wanted=wanted if last else 0.0,
    )


def measured(
    run: FlowRunner,
    config: RunConfig,
    name: str,
    model: ModelRecord,
    calibration: CalibrationSet,
    plan: PlanRecord | None = None,
    recalibrated: ModelRecord | None = None,
    made: Sequence[Record] = (),
) -> Candidate:
    """Export a model in every precision, build engines, and measure accuracy in torch and in ONNX Runtime.

    `made` led to the model; `calibration` are the images that int8 takes its ranges from.
    """
    about = str(plan.goal) if plan else name
    common = {"data": config.data, "seed": config.seed, "config": config.evaluate}
    before = (
        run(evaluate_task, f"{about} · recalibrated, validation", subject=recalibrated, split="validation", **common)
        if recalibrated
        else None
    )
    validation = run(evaluate_task, f"{about} · torch, validation", subject=model, split="validation", **common)
    test = run(evaluate_task, f"{about} · torch, test", subject=model, split="test", **common)
    onnx = run(export_task, about, model=model, data=config.data, seed=config.seed, config=config.export)
    onnx_validation = run(evaluate_task, f"{about} · onnx, validation", subject=onnx, split="validation", **common)
    onnx_test = run(evaluate_task, f"{about} · onnx, test", subject=onnx, split="test", **common)
    engine, engine_validation = _engine(run, config, about, onnx)
    variants = []
    for precision in config.quantize.precisions:
        in_precision = f"{about} · {precision}"
        file = quantized(run, config, about, onnx, precision, calibration)
        accuracy = run(evaluate_task, f"{in_precision}, validation", subject=file, split="validation", **common)
        built, built_accuracy = _engine(run, config, in_precision, file)
        variants.append(variant(file, accuracy, onnx_validation, built, built_accuracy, run.store))
    records = [*made, *([before] if before else []), validation, test, onnx, onnx_validation, onnx_test, engine]
    records += [record for v in variants for record in (v.onnx, v.validation, v.engine)]
    return Candidate(
        name=name,
        tolerance=plan.tolerance if plan else None,
        plan=plan,
        model=model,
        recalibrated_validation=before,
        torch_validation=validation,
        torch_test=test,
        onnx=onnx,
        onnx_validation=onnx_validation,
        onnx_test=onnx_test,
        engine=engine,
        engine_validation=engine_validation,
        variants=tuple(variants),
        stage_seconds=_seconds(*records),
    )


def quantized(
    run: FlowRunner, config: RunConfig, about: str, onnx: OnnxRecord, precision: Precision, calibration: CalibrationSet
) -> OnnxRecord:
    """A model's fp32 file in another precision."""
    return run(
        quantize_task,
        f"{about} · {precision}",
        onnx=onnx,
        precision=precision,
        calibration=calibration,
        data=config.data,
        seed=config.seed,
        config=config.quantize,
        export=config.export,
    )


def _engine(run: FlowRunner, config: RunConfig, about: str, onnx: OnnxRecord) -> tuple[EngineRecord, EvalReport | None]:
    """The engine of a file, executed where there is a GPU, and its accuracy."""
    built = run(build_engine_task, about, onnx=onnx, config=config.engine)
    return executed(run, config, about, onnx, built)


def executed(
    run: FlowRunner, config: RunConfig, about: str, onnx: OnnxRecord, engine: EngineRecord
) -> tuple[EngineRecord, EvalReport | None]:
    """The same engine, run and compared with its file if the machine that built it has a GPU; then its accuracy too."""
    if engine.status != "built" or not engine.gpu:
        return engine, None
    common = {"data": config.data, "seed": config.seed}
    verified = run(verify_engine_task, about, engine=engine, onnx=onnx, config=config.export, **common)
    subject = {"subject": verified, "split": "validation", "config": config.evaluate}
    return verified, run(evaluate_engine_task, f"{about} · engine, validation", **subject, **common)


def _about(goal: Goal, rounds: int, round_: int) -> str:
    """What a task is about, in its name."""
    return f"{goal} · round {round_}" if rounds > 1 else str(goal)


def _seconds(*records: Record) -> dict[str, float]:
    """Wall time by stage, summed over rounds."""
    seconds: dict[str, float] = {}
    for record in records:
        stage = record.stage if isinstance(record, ModelRecord) else STAGE_OF[type(record)]
        if isinstance(record, OnnxRecord) and record.precision != "fp32":
            stage = "quantize"
        seconds[stage] = seconds.get(stage, 0.0) + record.seconds
    return seconds
