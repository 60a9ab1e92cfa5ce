"""An engine with its record, from any ONNX file, by the library that builds here."""

import re
from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.build_process import build
from pipeline.compile_engine import OnnxSource
from pipeline.config import EngineConfig
from pipeline.exported import EngineRecord
from pipeline.records import FileRef, timed
from pipeline.tensorrt_library import FULL_MODULE, RTX_MODULE, load_tensorrt

Save = Callable[[bytes, str], FileRef]


@timed
def build_from(source: OnnxSource, precision: str, config: EngineConfig, save: Save, caches: Path) -> EngineRecord:
    """Build an engine; TensorRT needs the GPU that will run it, TensorRT-RTX none.

    `save` (content, suffix) keeps the engine (.engine) and what the library said (.log). TensorRT's timing cache for this GPU
    is read from the folder `caches` and kept there. The status is `built` at most, since nothing here runs an engine. Raises
    NoTensorRTError if no library builds here, else what compile_engine raises.
    """
    gpu, compute_capability = _gpu()
    library = load_tensorrt(bool(gpu))
    cached = config.timing_cache and library.__name__ == FULL_MODULE
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"timing-{library.__version__}-{gpu}")
    built = build(library, source, config, caches / f"{name}.cache" if cached else None)
    return EngineRecord(
        status="built",
        reason="not executed: nothing has run it yet" if gpu else "no GPU on this machine: built, not executed",
        file=save(built.engine, ".engine"),
        log=save(built.log.encode(), ".log"),
        library=library.__name__,
        library_version=library.__version__,
        precision=precision,
        profile=(config.min_batch, config.opt_batch, config.max_batch),
        gpu=gpu,
        compute_capability=compute_capability,
        targets=config.targets if library.__name__ == RTX_MODULE else (),
        build_seconds=built.seconds,
        peak_memory_bytes=built.peak_memory_bytes,
    )


def _gpu() -> tuple[str, str]:
    """Name and compute capability of the GPU, both empty without one."""
    if not torch.cuda.is_available():
        return "", ""
    major, minor = torch.cuda.get_device_capability()
    return torch.cuda.get_device_name(), f"{major}.{minor}"
