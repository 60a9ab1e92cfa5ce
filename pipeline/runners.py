"""Runners: what executes a classifier on a batch, whichever runtime it lives in, and how long that takes.

Nothing here imports torch: the process that measures ONNX Runtime must not carry another library's threads. Nor pydantic,
which that process, started once a round, would wait for.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.latency import Runtime

MODEL_RECORD = ".model.json"  # the ending of a ModelRecord that lies in the store, beside its weights
Images = NDArray[np.float32]  # (n, C, H, W), normalised
Logits = NDArray[np.float32]  # (n, K)


class Timings(NamedTuple):
    """One value a run. `cpu_ms` is the CPU time of all threads of the process; None where a GPU's clock tells the time."""

    wall_ms: NDArray[np.float64]
    cpu_ms: NDArray[np.float64] | None


class Runner(Protocol):
    """Executes one classifier. Opening it is expensive, running it is not; dropping it frees what it holds."""

    runtime: "Runtime"

    def __call__(self, images: Images) -> Logits:
        """Logits (n, K) of images (n, C, H, W)."""
        ...

    def time(self, images: Images, runs: int) -> Timings:
        """Run the batch `runs` times, each run to its end, and tell how long each took."""
        ...


def open_file(path: Path, runtime: "Runtime", input_name: str, output_name: str, threads: int = 0) -> Runner:
    """A file in a runtime: ONNX, an engine for `tensorrt`, a ModelRecord in its store for `torch`.

    `threads` 0: as many as there are cores. An engine of one input needs no names.

    Raises InputError if the runtime is not installed or cannot run here (no GPU), or the file does not load; StageError if
    the runtime would run it elsewhere than asked (a provider's silent fallback).
    """
    if runtime == "torch":
        if path.name.endswith(MODEL_RECORD):
            from pipeline.torch_runner import open_model

            return open_model(path, threads)
        raise InputError(f"torch does not run {path.name}; choose a runtime that reads ONNX files, for example onnxruntime")
    if runtime == "openvino":
        from pipeline.openvino_runner import OpenVinoRunner

        return OpenVinoRunner(path, input_name, output_name, threads)
    if runtime == "tensorrt":
        from pipeline.tensorrt_runner import TensorRTRunner

        return TensorRTRunner(path, input_name, output_name)
    from pipeline.onnxruntime_runner import OnnxRunner

    return OnnxRunner(path, input_name, output_name, threads, runtime)


def time_on_cpu(run: Callable[[], object], runs: int) -> Timings:
    """Call `run` that often; wall time and CPU time of the whole process, ms, of each call."""
    wall, cpu = np.empty(runs), np.empty(runs)
    for index in range(runs):
        cpu_start, start = time.process_time_ns(), time.perf_counter_ns()
        run()
        wall[index] = time.perf_counter_ns() - start
        cpu[index] = time.process_time_ns() - cpu_start
    return Timings(wall / 1e6, cpu / 1e6)
