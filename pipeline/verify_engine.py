"""Stage: engine -> the same engine, executed on the GPU and found to follow its ONNX file."""

from pipeline.config import DataConfig, ExportConfig
from pipeline.data import load_data
from pipeline.engine_runner import running_engine
from pipeline.errors import StageError
from pipeline.exported import EngineRecord, OnnxRecord, Precision
from pipeline.parity import compare
from pipeline.records import timed
from pipeline.runner_process import running
from pipeline.store import Store

# TensorRT computes fp32 in TF32, whose mantissa has 10 bits like fp16's; int8 is held to its classes, for scales differ by kernel
MAX_RELATIVE_DIFF: dict[Precision, float] = {"fp32": 0.01, "fp16": 0.05}
MIN_AGREEMENT: dict[Precision, float] = {"fp32": 0.99, "fp16": 0.98, "int8-trt": 0.95}


@timed
def verify_engine(
    engine: EngineRecord, onnx: OnnxRecord, data: DataConfig, seed: int, config: ExportConfig, store: Store
) -> EngineRecord:
    """Run the engine and its ONNX file (in ONNX Runtime on the CPU) on validation images; the status becomes `executed`.

    Needs the GPU that the engine was built for. Raises InputError if it does not load, StageError if it follows its file less
    closely than its precision allows.
    """
    assert engine.profile
    sized = config.model_copy(update={"max_batch": min(config.max_batch, engine.profile[-1])})
    path, limits = store.path(onnx.file), config.limits("verify_engine")
    with (
        running_engine(engine, store, limits) as follower,
        running(path, "onnxruntime", onnx.input_name, onnx.output_name, limits) as reference,
    ):
        parity = compare(reference, follower, load_data(data, seed), sized, f"verify engine {onnx.precision}")
    limit, agreement = MAX_RELATIVE_DIFF.get(onnx.precision), MIN_AGREEMENT[onnx.precision]
    if (limit is not None and not parity.max_relative_diff <= limit) or parity.top1_agreement < agreement:
        raise StageError(
            f"the {onnx.precision} engine differs from its ONNX file on {parity.samples} images: relative difference "
            f"{parity.max_relative_diff:.3g}, same top-1 on {parity.top1_agreement:.4f} of them (at least {agreement:g}); "
            "do not ship it"
        )
    return engine.model_copy(update={"status": "executed", "reason": "", "parity": parity})
