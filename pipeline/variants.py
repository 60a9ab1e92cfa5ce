"""A candidate's files in other precisions: which there are, where each is of use, and what it loses."""

from collections.abc import Iterator

from pipeline.exported import EngineRecord, OnnxRecord, Precision
from pipeline.latency import Contestant, Runtime
from pipeline.measurements import Candidate, EvalReport, Variant
from pipeline.paired import paired
from pipeline.runners import MODEL_RECORD
from pipeline.store import Store

# a runtime gains nothing from the others: ONNX Runtime's CPU kernels cast fp16 back and have none for symmetric int8
OF_USE: dict[Runtime, frozenset[Precision]] = {
    "onnxruntime": frozenset({"fp32", "int8-cpu"}),
    "openvino": frozenset({"fp32", "int8-cpu"}),
    "onnxruntime-cuda": frozenset({"fp32", "fp16"}),
    "onnxruntime-tensorrt": frozenset({"fp32", "fp16", "int8-trt"}),
    "tensorrt": frozenset({"fp32", "fp16", "int8-trt"}),
}


def variant(
    onnx: OnnxRecord,
    validation: EvalReport,
    fp32_validation: EvalReport,
    engine: EngineRecord,
    engine_validation: EvalReport | None,
    store: Store,
) -> Variant:
    """One file in another precision, its predictions paired with those of the fp32 file."""
    return Variant(
        onnx=onnx,
        validation=validation,
        against=paired(fp32_validation, validation, store),
        engine=engine,
        engine_validation=engine_validation,
    )


def contestants(candidates: tuple[Candidate, ...], runtimes: tuple[Runtime, ...], store: Store) -> tuple[Contestant, ...]:
    """All that is measured, runtime by runtime, the dense model's fp32 file first in each; engines where there are any.

    torch runs the models themselves.
    """
    return tuple(
        contestant
        for runtime in runtimes
        for candidate in candidates
        for contestant in ((_model(candidate, store),) if runtime == "torch" else _files(candidate, runtime))
    )


def _files(candidate: Candidate, runtime: Runtime) -> Iterator[Contestant]:
    for onnx, _, engine, _ in candidate.files:
        if onnx.precision in OF_USE[runtime] and (runtime != "tensorrt" or engine.file):
            yield Contestant.of(candidate.name, onnx, candidate.model.macs, runtime, engine if runtime == "tensorrt" else None)


def _model(candidate: Candidate, store: Store) -> Contestant:
    model, onnx = candidate.model, candidate.onnx
    for file in model.files():
        store.path(file)  # the process that measures looks for it in the folder alone
    return Contestant(
        name=candidate.name,
        runtime="torch",
        subject=model.digest,
        file=store.put(model.model_dump_json().encode(), MODEL_RECORD),
        input_name=onnx.input_name,
        output_name=onnx.output_name,
        input_shape=onnx.input_shape,
        macs=model.macs,
    )
