"""A synthetic sweep: records with made-up numbers, and small real files in a store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from fair_pruner import ScoreTable, UnitScores
from pipeline.config import GateConfig
from pipeline.exported import EngineRecord, OnnxRecord, Parity
from pipeline.latency import LatencyReport, LatencySeries, Machine
from pipeline.measurements import Candidate, EvalReport, PairedTest, RunReport, Variant
from pipeline.recommend import recommend
from pipeline.records import Architecture, Depth, Epoch, Goal, ModelRecord, PlanRecord, Preprocessing, ScoreRecord, TrainingStep
from pipeline.store import Store

CLASSES, SHAPE, SAMPLES, MACS = 10, (1, 8, 8), 360, 1_000_000
GROUPS = {"conv1": 16, "layer1.0.conv1": 16, "layer2.0.conv1": 32, "layer3.0.conv1": 64}


class Row(NamedTuple):
    """One candidate: its tolerance (None for dense), top-1, and by batch size (p50 ms, speed-up, its low, its high)."""

    tolerance: float | None
    top1: float
    latency: dict[int, tuple[float, float, float, float]]


ROWS = {
    "dense": Row(None, 0.975, {1: (0.500, 1, 1, 1), 8: (2.400, 1, 1, 1)}),
    "not_faster": Row(0.05, 0.9722, {1: (0.490, 1.02, 0.97, 1.06), 8: (2.350, 1.02, 0.99, 1.05)}),
    "slower": Row(0.1, 0.9694, {1: (0.625, 0.80, 0.75, 0.85), 8: (2.500, 0.96, 0.94, 0.98)}),
    "quick": Row(0.2, 0.9639, {1: (0.400, 1.25, 1.20, 1.31), 8: (1.800, 1.33, 1.30, 1.36)}),
    "quicker": Row(0.4, 0.925, {1: (0.250, 2.0, 1.9, 2.1), 8: (1.000, 2.4, 2.3, 2.5)}),
}


def verdict(low: float, high: float) -> str:
    if low == high == 1:
        return "reference"
    return "faster" if low > 1 else "slower" if high < 1 else "too noisy to tell" if high > 1.1 * low else "not faster"


def onnx_bytes(seed: int) -> bytes:
    """A real classifier: flatten, one matrix product, free batch size."""
    weights = np.random.default_rng(seed).normal(size=(int(np.prod(SHAPE)), CLASSES)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node("MatMul", ["flat", "weights"], ["logits"])],
        "classifier",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def evaluation(subject: str, runtime: Any, split: Any, top1: float) -> EvalReport:
    recall = tuple(min(1.0, top1 + (class_ - 4.5) * (1 - top1) / 5) for class_ in range(CLASSES))
    return EvalReport(
        parents=(subject,),
        subject=subject,
        runtime=runtime,
        split=split,
        samples=SAMPLES,
        top1=top1,
        top5=0.999,
        recall=recall,
    )


def score_record(store: Store) -> ScoreRecord:
    """Seeded scores of four groups."""
    random = np.random.default_rng(0)
    groups = (
        UnitScores(name, tuple(random.random(units).tolist()), tuple(random.random(units).tolist()), (name,))
        for name, units in GROUPS.items()
    )
    table = ScoreTable(tuple(groups), "wasserstein", 16, 0, 640, CLASSES)
    return ScoreRecord(
        table=store.put(table.to_json().encode(), ".scores.json"),
        groups=len(GROUPS),
        units=table.units,
        removal=table.removal,
        observe=table.observe,
        aggregate=table.aggregate,
        protection=table.protection,
        samples=table.samples,
        classes=table.classes,
    )


def plan_record(store: Store, tolerance: float) -> PlanRecord:
    depths = tuple(
        Depth(
            group=name,
            kind="channel",
            units=units,
            removed=(removed := int(units * tolerance * 1.2)),
            tod=tolerance / 2,
            removed_mass=0.02 * removed,
            mass_bound=0.06 * removed,
            random_mass=0.1 * removed,
            total_mass=0.1 * units,
        )
        for name, units in GROUPS.items()
    )
    removed = sum(depth.removed for depth in depths)
    return PlanRecord(
        parents=("scores",),
        plan=store.put(b'{"kind":"PruningPlan","tolerance":%f}' % tolerance, ".json"),
        goal=Goal(quantity="tolerance", value=tolerance),
        rule="tod",
        rounds=1,
        tolerance=tolerance,
        limit=None,
        depths=depths,
        units=sum(GROUPS.values()),
        units_removed=removed,
        params=round(70_000 * (1 - tolerance)),
        macs=round(MACS * (1 - tolerance)),
        weights_bytes=round(280_000 * (1 - tolerance)),
        removed_mass=0.02 * removed,
        mass_bound=0.06 * removed,
        random_mass=0.1 * removed,
        uniform_mass=0.03 * removed,
        exchange_margin=0.01 * removed,
    )


def candidate(store: Store, row: Row) -> Candidate:
    name = "dense" if row.tolerance is None else f"tolerance-{row.tolerance:.4g}"
    plan = plan_record(store, row.tolerance) if row.tolerance else None
    seed = round(1000 * (row.tolerance or 0))
    model = ModelRecord(
        parents=(plan.digest,) if plan else (),
        stage="finetuned" if plan else "dense",
        architecture=Architecture(source="builtin", name="resnet20", num_classes=CLASSES, input_shape=SHAPE),
        plan=plan.plan if plan else None,
        weights=store.put(save({"weight": np.full(3, seed, np.float32)}), ".safetensors"),
        params=plan.params if plan else 70_000,
        macs=plan.macs if plan else MACS,
        history=tuple(Epoch(epoch=e, step=10 * e, lr=0.1 / e, loss=1 / e, top1_validation=row.top1 - 0.1 / e) for e in (1, 2, 3)),
        steps=tuple(TrainingStep(step=step, lr=0.1, loss=1 / step) for step in (5, 10, 15)),
    )
    exported = OnnxRecord(
        parents=(model.digest,),
        file=store.put(onnx_bytes(seed), ".onnx"),
        status="verified",
        opset=20,
        input_name="input",
        output_name="logits",
        input_shape=SHAPE,
        num_classes=CLASSES,
        preprocessing=Preprocessing(channels=1, mean=(0.3,), std=(0.4,)),
        parity=Parity(batch_sizes=(1, 16), samples=256, max_abs_diff=2e-6, max_relative_diff=3e-7, top1_agreement=1.0),
    )
    engine = EngineRecord(
        parents=(exported.digest,),
        status="built",
        reason="no GPU here, so it was not executed",
        file=store.put(b"engine %d" % seed, ".engine"),
        library="tensorrt_rtx",
        library_version="1.5.0",
        precision="fp32",
        profile=(1, 8, 16),
        build_seconds=12.5,
    )
    return Candidate(
        name=name,
        tolerance=row.tolerance,
        plan=plan,
        model=model,
        recalibrated_validation=evaluation("recalibrated", "torch", "validation", row.top1 - 0.05) if plan else None,
        torch_validation=evaluation(model.digest, "torch", "validation", row.top1 - 0.002),
        torch_test=evaluation(model.digest, "torch", "test", row.top1),
        onnx=exported,
        onnx_validation=evaluation(exported.digest, "onnxruntime", "validation", row.top1 - 0.002),
        onnx_test=evaluation(exported.digest, "onnxruntime", "test", row.top1),
        engine=engine if row.tolerance != 0.4 else EngineRecord(status="skipped", reason="engine.enabled is false"),
        stage_seconds={"finetune": 3.0, "export": 1.5},
    )


def latency_report(rows: tuple[Row, ...], candidates: tuple[Candidate, ...]) -> LatencyReport:
    def series(row: Row, member: Candidate, batch_size: int) -> LatencySeries:
        p50, speedup, low, high = row.latency[batch_size]
        return LatencySeries(
            candidate=member.name,
            batch_size=batch_size,
            runs=400,
            p50_ms=p50,
            p50_low_ms=0.97 * p50,
            p50_high_ms=1.04 * p50,
            p90_ms=1.2 * p50,
            p95_ms=1.3 * p50,
            p99_ms=1.5 * p50,
            mean_ms=1.05 * p50,
            cpu_ms=0.9 * p50,
            throughput=1000 * batch_size / p50,
            macs_ratio=MACS / member.model.macs,
            speedup=speedup,
            speedup_low=low,
            speedup_high=high,
            verdict=verdict(low, high),
        )

    machine = Machine(
        busy_cores=0.1,
        cpu="Model CPU 3000",
        cores=2,
        system="Linux 6",
        versions={"python": "3.11.7", "onnxruntime": "1.24.0"},
        load_average=0.42,
    )
    pairs = [(size, row, member) for size in rows[0].latency for row, member in zip(rows, candidates, strict=True)]
    return LatencyReport(
        parents=tuple(member.onnx.digest for member in candidates),
        machine=machine,
        threads=1,
        rounds=20,
        series=tuple(series(row, member, size) for size, row, member in pairs),
    )


@pytest.fixture(scope="session")
def make_sweep() -> Callable[..., dict[str, Any]]:
    """make(root, *names of ROWS, name=...): all arguments of `report`, with the files in a store beside the run's folder."""

    def make(root: Path, *names: str, name: str = "digits", **changed: dict[str, Any]) -> dict[str, Any]:
        store = Store(root / "store")
        rows = tuple(ROWS[row]._replace(**changed.get(row, {})) for row in names)
        candidates = tuple(candidate(store, row) for row in rows)
        return {
            "name": name,
            "folder": root / name,
            "config": {"name": name, "seed": 0},
            "candidates": candidates,
            "latency": latency_report(rows, candidates),
            "scores": score_record(store),
            "plans": tuple(c.plan for c in candidates if c.plan),
            "layer_costs": None,
            "gate": GateConfig(max_accuracy_drop=0.02),
            "flow_run_id": "flow-1",
            "git_commit": "0123456789abcdef",
            "store": store,
        }

    return make


@pytest.fixture
def with_variants(make_sweep: Callable[..., dict[str, Any]], tmp_path: Path) -> dict[str, Any]:
    """A sweep of two, of which the pruned one has an fp16 file, and an int8 file that is fast and wrong."""
    sweep = make_sweep(tmp_path, "dense", "quick")
    dense, quick = sweep["candidates"]
    pruned = quick.model_copy(update={"variants": tuple(variant(sweep["store"], quick, one) for one in ("fp16", "int8-cpu"))})
    entry = next(one for one in sweep["latency"].series if (one.candidate, one.batch_size) == (quick.name, 1))
    ratios = {"speedup": 2.0, "speedup_low": 1.9, "speedup_high": 2.1, "fp32_speedup": 1.6, "fp32_speedup_low": 1.5}
    int8 = entry.model_copy(update={"precision": "int8-cpu", "p50_ms": 0.25, "fp32_speedup_high": 1.7, **ratios})
    latency = sweep["latency"].model_copy(update={"series": (*sweep["latency"].series, int8)})
    return sweep | {"candidates": (dense, pruned), "latency": latency}


def variant(store: Store, of: Candidate, precision: Any) -> Variant:
    """A file of another precision, with made-up losses; TensorRT takes fp16 only."""
    parity = of.onnx.parity.model_copy(update={"sqnr_db": 30.0, "max_relative_diff": 1e-3})
    file = store.put(onnx_bytes(len(precision)), ".onnx")
    onnx = of.onnx.model_copy(update={"precision": precision, "file": file, "parity": parity})
    built = of.engine.model_copy(update={"precision": precision})
    return Variant(
        onnx=onnx,
        validation=evaluation(onnx.digest, "onnxruntime", "validation", 0.85 if precision == "int8-cpu" else 0.96),
        against=PairedTest(samples=SAMPLES, lost=14, gained=2, points=-3.4, p_value=0.0005),
        engine=built if precision == "fp16" else EngineRecord(status="skipped", reason="TensorRT wants int8-trt"),
    )


@pytest.fixture
def make_report(make_sweep: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., RunReport]:
    """The record alone, with all on its front: no figures, no folder."""

    def make(*names: str, **changed: dict[str, Any]) -> RunReport:
        arguments = make_sweep(tmp_path, *names, **changed)
        del arguments["store"], arguments["plans"]
        gate, candidates = arguments.pop("gate"), arguments["candidates"]
        decided = {
            "recommendation": recommend(candidates, arguments["latency"], gate),
            "pareto": tuple(c.name for c in candidates),
        }
        return RunReport(**arguments | {"folder": str(arguments["folder"]), "config_digest": ""} | decided)

    return make
