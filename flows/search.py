"""The deepest cut that keeps its accuracy, found by training as few branches as a bisection needs."""

from flows.cut import Cut, cut
from flows.tasks import FlowRunner, evaluate_task
from pipeline.config import RunConfig
from pipeline.latency import LayerCostRecord
from pipeline.measurements import SearchRecord, Trial
from pipeline.progress import log
from pipeline.records import CalibrationSet, ModelRecord, PlanRecord


def search(
    run: FlowRunner,
    config: RunConfig,
    dense: ModelRecord,
    calibration: CalibrationSet,
    layer_costs: LayerCostRecord | None,
    plans: tuple[PlanRecord, ...],
) -> tuple[tuple[Cut, ...], SearchRecord]:
    """Bisect over `plans`, the mildest first, for the deepest that loses no more validation top-1 than the config allows.

    Takes it that what a plan loses, every deeper one loses too. A branch whose validation accuracy can no longer get there is
    not trained to its end. Returns the branches that hold, the mildest first, and all that were tried.
    """
    drop = config.allocate.max_accuracy_drop or 0.0
    common = {"data": config.data, "seed": config.seed, "config": config.evaluate, "split": "validation"}
    reference = run(evaluate_task, "dense · torch, validation", subject=dense, **common).top1
    floor = max(0.0, reference - drop)
    held, trials = dict[int, Cut](), list[Trial]()
    low, high = -1, len(plans)  # plans[low] holds (or is the dense model), plans[high] does not (or is beyond the deepest)
    while high - low > 1:
        middle = (low + high) // 2
        found = cut(run, config, dense, calibration, layer_costs, plans[middle], wanted=floor)
        about = f"{plans[middle].goal} · torch, validation"
        top1 = run(evaluate_task, about, subject=found.model, **common).top1
        trials.append(Trial.of(found.plan, found.model, dense, top1, holds=top1 >= floor))
        log.info("search: %s", trials[-1])
        if top1 >= floor:
            low, held[middle] = middle, found
        else:
            high = middle
    record = SearchRecord(
        reference=reference,
        floor=floor,
        trials=tuple(trials),
        considered=len(plans),
        epochs_a_branch=config.finetune.epochs,
    )
    return tuple(held[place] for place in sorted(held)), record
