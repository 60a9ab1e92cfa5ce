"""Stage: ONNX file -> TensorRT engine, built and not executed."""

from pipeline.compile_engine import EngineError, OnnxSource
from pipeline.config import EngineConfig
from pipeline.engine_builder import build_from
from pipeline.errors import StageError
from pipeline.exported import EngineRecord, OnnxRecord
from pipeline.records import timed
from pipeline.store import Store
from pipeline.tensorrt_library import NoTensorRTError


@timed
def build_engine(onnx: OnnxRecord, config: EngineConfig, store: Store) -> EngineRecord:
    """Build an engine for batches of `config.min_batch` to `config.max_batch`, tuned for `config.opt_batch`.

    The precision is the ONNX file's own. TensorRT needs the GPU that will run the engine, TensorRT-RTX none. The status is
    `built` at most, since nothing here runs an engine; `skipped` with the reason if the configuration says so, the file is
    int8 for CPUs, or no library can build here. Ctrl-C ends the build. Raises StageError with the library's own messages if
    the file is not understood or the build fails; all that the library said is in the store either way.
    """
    skipped = EngineRecord(parents=(onnx.digest,), status="skipped", precision=onnx.precision)
    if not config.enabled:
        return skipped.model_copy(update={"reason": "switched off by engine.enabled"})
    if onnx.precision == "int8-cpu":
        reason = "its activations are unsigned, TensorRT wants them signed and symmetric: build from the int8-trt file"
        return skipped.model_copy(update={"reason": reason})
    source = OnnxSource(store.path(onnx.file), onnx.input_name, onnx.input_shape)
    try:
        built = build_from(source, onnx.precision, config, store.put, store.root)
    except NoTensorRTError as error:
        return skipped.model_copy(update={"reason": str(error)})
    except EngineError as error:
        log = store.path(store.put(error.log.encode(), ".log"))
        raise StageError(f"{error}; its log is {log}; set engine.enabled: false to go on without") from error
    return built.model_copy(update={"parents": (onnx.digest,)})
