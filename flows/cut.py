"""One candidate cut in one round or several: scored, allocated, pruned, recalibrated, fine-tuned."""

from typing import NamedTuple

from flows.tasks import FlowRunner, allocate_task, finetune_task, prune_task, recalibrate_task, score_task
from pipeline.config import RunConfig
from pipeline.latency import LayerCostRecord
from pipeline.records import CalibrationSet, Goal, ModelRecord, PlanRecord, Record, ScoreRecord


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


def _about(goal: Goal, rounds: int, round_: int) -> str:
    """What a task is about, in its name."""
    return f"{goal} · round {round_}" if rounds > 1 else str(goal)
