"""A small comparison with made-up numbers: records without files."""

from collections.abc import Sequence
from typing import Any

from pipeline.ablation import AblationReport, Cell
from pipeline.config import RunConfig
from pipeline.latency import LatencyReport, LatencySeries, Machine
from pipeline.records import Architecture, Epoch, FileRef, Goal, ModelRecord, PlanRecord

HALF, QUARTER = Goal(quantity="macs", value=0.5), Goal(quantity="macs", value=0.25)
FILE = FileRef(path="file", sha256="0" * 64, size_bytes=1)
DENSE = ModelRecord(
    stage="dense",
    architecture=Architecture(source="builtin", name="vgg", num_classes=10, input_shape=(1, 8, 8)),
    plan=None,
    weights=FILE,
    params=100_000,
    macs=1_000_000,
)
STEPS = 20  # of an epoch


def plan(goal: Goal = HALF, **changes: Any) -> PlanRecord:
    values: dict[str, Any] = {
        "plan": FILE,
        "goal": goal,
        "rule": "tod",
        "rounds": 1,
        "tolerance": 0.1,
        "limit": None,
        "depths": (),
        "units": 100,
        "units_removed": 30,
        "params": 50_000,
        "macs": 499_000,
        "weights_bytes": 200_000,
        **dict.fromkeys(("removed_mass", "mass_bound", "random_mass", "uniform_mass", "exchange_margin"), 0.0),
    }
    return PlanRecord(**values | changes)


def cell(
    method: str = "fair",
    seed: int = 0,
    top1: tuple[float, float, float] = (0.9, 0.97, 0.96),
    goal: Goal = HALF,
    curve: dict[float, float] | None = None,
    **changes: Any,
) -> Cell:
    """`top1` recalibrated, fine-tuned and on the test images; `curve` is validation accuracy by epochs."""
    points = {0.25: 0.94, 1.0: top1[1]} if curve is None else curve
    history = tuple(
        Epoch(epoch=epoch, step=round(STEPS * epoch), lr=0.02, loss=1.0, top1_validation=value) for epoch, value in points.items()
    )
    found = Cell(
        method=method,
        goal=goal,
        seed=seed,
        plan=plan(goal),
        params=50_000,
        macs=round(1_000_000 * goal.value),
        top1_recalibrated=top1[0],
        history=history,
        top1_validation=top1[1],
        top1_test=top1[2],
        candidate=f"{method} {goal}",
    )
    return found.model_copy(update=changes)


def comparison(cells: Sequence[Cell], latency: LatencyReport | None = None, **settings: Any) -> AblationReport:
    """Of these cells, with `settings` for sections of the config."""
    return AblationReport(
        name="digits",
        config=RunConfig.model_validate({"name": "digits", "finetune": {"epochs": 1}} | settings).model_dump(mode="json"),
        methods=tuple(dict.fromkeys(cell.method for cell in cells)),
        seeds=tuple(dict.fromkeys(cell.seed for cell in cells)),
        dense=DENSE,
        top1_validation=0.98,
        top1_test=0.975,
        validation_samples=200,
        test_samples=400,
        cells=tuple(cells),
        latency=latency,
    )


def three_seeds(goals: Sequence[Goal] = (HALF,)) -> list[Cell]:
    """`fair` beats `l1-uniform` before fine-tuning, is told from it by nothing after it, and is worse on the test images."""
    return [
        cell(method, seed, (first + 0.01 * seed, 0.97 + 0.01 * (seed % 2), last + 0.002 * seed * (method == "fair")), goal)
        for goal in goals
        for seed in (0, 1, 2)
        for method, first, last in (("fair", 0.92 + 0.001 * seed, 0.95), ("l1-uniform", 0.85, 0.965))
    ]


def latency() -> LatencyReport:
    """Of the dense file and two others at batch 1."""

    def series(candidate: str, p50_ms: float, speedup: float, verdict: Any) -> LatencySeries:
        times = dict.fromkeys(("p50_low_ms", "p50_high_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms"), p50_ms)
        low, high = (1.0, 1.0) if verdict == "reference" else (speedup - 0.1, speedup + 0.1)
        return LatencySeries(
            candidate=candidate,
            batch_size=1,
            runs=50,
            p50_ms=p50_ms,
            throughput=1000 / p50_ms,
            speedup=speedup,
            speedup_low=low,
            speedup_high=high,
            verdict=verdict,
            **times,
        )

    machine = Machine(cpu="Test CPU", cores=2, system="Linux", versions={}, load_average=0.1, busy_cores=0.25)
    found = (
        ("dense", 0.5, 1.0, "reference"),
        ("fair macs 0.5", 0.4, 1.25, "faster"),
        ("l1-uniform macs 0.5", 0.5, 1.0, "not faster"),
    )
    return LatencyReport(machine=machine, threads=1, rounds=5, series=tuple(series(*each) for each in found))
