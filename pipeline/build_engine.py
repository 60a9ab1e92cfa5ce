"""Stage: ONNX file -> TensorRT engine, built and not executed."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.config import EngineConfig
from pipeline.errors import StageError
from pipeline.records import EngineRecord, OnnxRecord, timed
from pipeline.store import Store
from pipeline.tensorrt_library import (
    FULL_MODULE,
    RTX_MODULE,
    NoTensorRTError,
    TensorRT,
    load_tensorrt,
    message_collector,
    progress_monitor,
)

MIB = 2**20
RTX_MAGIC = b"vtrt"  # the first bytes of a TensorRT-RTX engine
PRECISIONS = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16", "INT8": "int8", "FLOAT8E4M3FN": "fp8"}


@timed
def build_engine(onnx: OnnxRecord, config: EngineConfig, store: Store) -> EngineRecord:
    """Build an engine for batches of `config.min_batch` to `config.max_batch`, tuned for `config.opt_batch`.

    The network is strongly typed: the precision is the ONNX file's own (for fp32 a library may use TF32 units).
    TensorRT needs the GPU that will run the engine, TensorRT-RTX none. The status is `built` at most, since nothing
    here runs an engine; `skipped` with the reason if the configuration says so or no library can build here. Ctrl-C
    ends the build. Raises StageError with the library's own messages if the file is not understood or the build fails.
    """
    gpu = torch.cuda.is_available()
    if not config.enabled:
        return EngineRecord(parents=(onnx.digest,), status="skipped", reason="switched off by engine.enabled")
    try:
        library = load_tensorrt(gpu)
    except NoTensorRTError as error:
        return EngineRecord(parents=(onnx.digest,), status="skipped", reason=str(error))
    if library.__name__ == FULL_MODULE and not gpu:
        reason = (
            f"tensorrt {library.__version__} needs the GPU that will run the engine, and there is none; "
            "build there, or install fair-pruner[rtx], which builds without a GPU"
        )
        return EngineRecord(parents=(onnx.digest,), status="skipped", reason=reason)
    path = store.path(onnx.file)
    content, build_seconds = _build(library, path, onnx, config)
    return EngineRecord(
        parents=(onnx.digest,),
        status="built",
        reason="not executed: running engines is not part of this stage"
        if gpu
        else "no GPU on this machine: built, not executed",
        file=store.put(content, ".engine"),
        library=library.__name__,
        library_version=library.__version__,
        precision=_precision(path),
        profile=(config.min_batch, config.opt_batch, config.max_batch),
        build_seconds=build_seconds,
    )


def _build(library: TensorRT, path: Path, onnx: OnnxRecord, config: EngineConfig) -> tuple[bytes, float]:
    logger, errors = message_collector(library)
    builder = library.Builder(logger)
    typed = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # gone where there is no other way
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = library.OnnxParser(network, logger)  # owns the weights: must live until the engine is built
    if not parser.parse_from_file(str(path)):
        found = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise _failure(library, "does not understand the ONNX file", found + errors())
    settings, profile = builder.create_builder_config(), builder.create_optimization_profile()
    settings.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, config.workspace_mib * MIB)
    profile.set_shape(
        onnx.input_name,
        *((batch, *onnx.input_shape) for batch in (config.min_batch, config.opt_batch, config.max_batch)),
    )
    if settings.add_optimization_profile(profile) < 0:
        raise _failure(library, "refuses the batch profile", errors())
    cancelled = threading.Event()
    start = time.perf_counter()
    with _bar(f"build engine · {library.__name__}") as advance:
        settings.progress_monitor = monitor = progress_monitor(library, cancelled, advance)
        engine = _interruptible(lambda: builder.build_serialized_network(network, settings), cancelled)
        del monitor  # until here the library holds a bare pointer to it
    content = b"" if engine is None else bytes(memoryview(engine))
    if not content or (library.__name__ == RTX_MODULE and not content.startswith(RTX_MAGIC)):
        raise _failure(
            library, "gives no engine" if not content else f"gives an engine that begins with {content[:4]!r}", errors()
        )
    return content, time.perf_counter() - start


def _interruptible(build: Callable[[], Any], cancelled: threading.Event) -> Any:
    """Build in a second thread, so that Ctrl-C arrives here and not inside the library, which would swallow it."""
    waited_for = threading.Event()  # until then an interrupt could hit the start of the thread, which nobody would join

    def run() -> Any:
        waited_for.wait()
        return build()

    with ThreadPoolExecutor(1, "build-engine") as pool:
        try:
            future = pool.submit(run)
            waited_for.set()
            return future.result()
        except BaseException:
            cancelled.set()
            waited_for.set()
            raise


def _failure(library: TensorRT, what: str, errors: list[str]) -> StageError:
    lines = "; ".join(errors) or "it gives no message"
    return StageError(f"{library.__name__} {library.__version__} {what}: {lines}; set engine.enabled: false to go on without")


def _precision(path: Path) -> str:
    """The floating-point and 8-bit types of the weights, joined by `+`."""
    import onnx

    kinds = {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in onnx.load(path).graph.initializer}
    return "+".join(name for kind, name in PRECISIONS.items() if kind in kinds)


@contextmanager
def _bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere; yields a function (done, total) that any thread may call."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
