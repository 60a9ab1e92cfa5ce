"""One candidate of a sweep: cut in one round or several, then exported and measured."""

from collections.abc import Sequence

from flows.tasks import (
    FlowRunner,
    allocate_task,
    build_engine_task,
    evaluate_task,
    export_task,
    finetune_task,
    prune_task,
    recalibrate_task,
    score_task,
)
from pipeline.config import RunConfig
from pipeline.measurements import Candidate, EvalReport
from pipeline.records import CalibrationSet, EngineRecord, Goal, ModelRecord, OnnxRecord, PlanRecord, Record, ScoreRecord

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
    run: FlowRunner, config: RunConfig, goal: Goal, dense: ModelRecord, model: ModelRecord, scores: ScoreRecord, round_: int = 1
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
    )


def branch(run: FlowRunner, config: RunConfig, dense: ModelRecord, calibration: CalibrationSet, plan: PlanRecord) -> Candidate:
    """All rounds of one candidate, `plan` being that of the first: cut, recalibrate, fine-tune, and score again.

    A round that would remove nothing, because the budget is met already or no unit may go, is left out.
    """
    goal, rounds = plan.goal, config.allocate.rounds
    model, recalibrated, made = dense, dense, list[Record]([plan])
    for round_ in range(1, rounds + 1):
        about = _about(goal, rounds, round_)
        if round_ > 1:
            scores = scored(run, config, about, model, calibration)
            following = allocated(run, config, goal, dense, model, scores, round_)
            made += [scores, following]
            if following.plan == model.plan:
                continue
            plan = following
        common = {"data": config.data, "seed": config.seed}
        pruned = run(prune_task, about, model=model, plan=plan)
        recalibrated = run(recalibrate_task, about, model=pruned, calibration=calibration, config=config.recalibrate, **common)
        model = run(finetune_task, about, model=recalibrated, label=f"finetune · {about}", config=config.finetune, **common)
        made += [pruned, recalibrated, model]
    return measured(run, config, goal.name, model, plan, recalibrated, made)


def measured(
    run: FlowRunner,
    config: RunConfig,
    name: str,
    model: ModelRecord,
    plan: PlanRecord | None = None,
    recalibrated: ModelRecord | None = None,
    made: Sequence[Record] = (),
) -> Candidate:
    """Export a model, build its engine, and measure its accuracy in torch and in ONNX Runtime; `made` led to the model."""
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
        stage_seconds=_seconds(*made, *([before] if before else []), validation, test, onnx, onnx_test, engine),
    )


def _about(goal: Goal, rounds: int, round_: int) -> str:
    """What a task is about, in its name."""
    return f"{goal} · round {round_}" if rounds > 1 else str(goal)


def _seconds(*records: Record) -> dict[str, float]:
    """Wall time by stage, summed over rounds."""
    seconds: dict[str, float] = {}
    for record in records:
        stage = record.stage if isinstance(record, ModelRecord) else STAGE_OF[type(record)]
        seconds[stage] = seconds.get(stage, 0.0) + record.seconds
    return seconds
