"""One candidate of a sweep: cut in one round or several, then exported and measured."""

from collections.abc import Sequence

from flows.cut import Cut, cut
from flows.tasks import (
    FlowRunner,
    build_engine_task,
    evaluate_engine_task,
    evaluate_task,
    export_task,
    quantize_task,
    verify_engine_task,
)
from pipeline.config import RunConfig
from pipeline.exported import EngineRecord, OnnxRecord, Precision
from pipeline.latency import LayerCostRecord
from pipeline.measurements import Candidate, EvalReport
from pipeline.records import CalibrationSet, ModelRecord, PlanRecord, Record, ScoreRecord
from pipeline.variants import variant

STAGE_OF: dict[type[Record], str] = {
    ScoreRecord: "score",
    PlanRecord: "allocate",
    OnnxRecord: "export",
    EvalReport: "evaluate",
    EngineRecord: "build_engine",
}


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


def _seconds(*records: Record) -> dict[str, float]:
    """Wall time by stage, summed over rounds."""
    seconds: dict[str, float] = {}
    for record in records:
        stage = record.stage if isinstance(record, ModelRecord) else STAGE_OF[type(record)]
        if isinstance(record, OnnxRecord) and record.precision != "fp32":
            stage = "quantize"
        seconds[stage] = seconds.get(stage, 0.0) + record.seconds
    return seconds
