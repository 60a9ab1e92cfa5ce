"""Measures how long the models of a bundle take on this machine.

    python3 benchmark.py                                every ONNX file, in ONNX Runtime on the CPU
    python3 benchmark.py --files model.int8-cpu.onnx --batches 1 4 --threads 4
    python3 benchmark.py --files model.fp16.engine      an engine built by build_engine.py, on the GPU

Needs numpy and onnxruntime, for engines numpy and tensorrt (or tensorrt_rtx). Files are run in turns in random order, so that
whatever else the machine does meets all alike. Let it do nothing else. Exit code 0, or 1 and why in a sentence.
"""

import argparse
import importlib
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent
CPU = "CPUExecutionProvider"
ONLY_ERRORS = 3  # severity of ONNX Runtime's log
Run = Callable[[], float]  # runs one batch, returns its milliseconds


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description="Measure the latency of this bundle's models on this machine.")
    parser.add_argument("--files", type=Path, nargs="+", help="ONNX files or engines; default: every ONNX file of the bundle")
    parser.add_argument("--batches", type=int, nargs="+", help="images of one batch; default: 1 and the engine profile's")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="measured on each file at each batch size, at least; default 3"
    )
    parser.add_argument("--runs", type=int, default=50, help="of each file at each batch size, at least; default 50")
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds of unmeasured running before; default 0.5")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime on the CPU; default 1")
    parser.add_argument("--provider", default=CPU, help=f"of ONNX Runtime; default {CPU}")
    arguments = parser.parse_args()
    sys.dont_write_bytecode = True  # a bundle stays as it is
    try:
        content = importlib.import_module("bundle_content")
        manifest = content.read_manifest(FOLDER)
        print_latencies(arguments, manifest, content.read_golden(FOLDER, manifest)["images"])
    except Exception as error:  # noqa: BLE001  # ONNX Runtime's errors have no base of their own
        print(f"benchmark.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def print_latencies(arguments: argparse.Namespace, manifest: dict[str, Any], golden: NDArray[np.float32]) -> None:
    """One line for each file and batch size, under what the machine is."""
    files = arguments.files or [FOLDER / model["path"] for model in manifest["models"]]
    batches = arguments.batches or sorted({1, manifest["profile"]["opt"]})
    if min(*batches, arguments.runs, arguments.threads) < 1:
        raise ValueError("--batches, --runs and --threads must be at least 1")
    for line in machine(arguments.threads):
        print(line)
    print(f"\n{'file':32} {'runtime':28} {'batch':>5} {'runs':>6} {'p50 ms':>9} {'p90 ms':>9} {'p99 ms':>9} {'images/s':>9}")
    for batch in batches:
        images = np.resize(golden, (batch, *golden.shape[1:]))
        opened = [open_file(file, manifest, images, arguments.provider, arguments.threads) for file in files]
        times = measure([run for _, run in opened], arguments.seconds, arguments.runs, arguments.warmup)
        for file, (runtime, _), milliseconds in zip(files, opened, times, strict=True):
            p50, p90, p99 = np.percentile(milliseconds, (50, 90, 99))
            figures = f"{p50:9.3f} {p90:9.3f} {p99:9.3f} {1000 * batch / p50:9.0f}"
            print(f"{file.name:32} {runtime:28} {batch:5} {len(milliseconds):6} {figures}", flush=True)
    print("\nmilliseconds of one batch; ONNX Runtime: from images to logits in memory; engines: the computation on the GPU alone")


def open_file(file: Path, manifest: dict[str, Any], images: NDArray[np.float32], provider: str, threads: int) -> tuple[str, Run]:
    """What runs a file, and a function that runs the images once. Raises RuntimeError if another provider would run it."""
    source, logits = manifest["inputs"][0]["name"], manifest["outputs"][0]["name"]
    if file.suffix != ".onnx":
        engine = importlib.import_module("cuda_engine").Engine(file, source, logits)
        return engine.version, lambda: float(engine.time(images, 1)[0])
    onnxruntime = importlib.import_module("onnxruntime")
    if provider not in onnxruntime.get_available_providers():
        raise RuntimeError(f"ONNX Runtime here has no {provider}, only {', '.join(onnxruntime.get_available_providers())}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = ONLY_ERRORS
    # idle threads of one file would otherwise spin on the cores that the next one is measured on
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # 8-bit products must not saturate on CPUs without instructions for them
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(file), options, providers=[provider])
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"ONNX Runtime runs {file.name} on {session.get_providers()[0]}, not on {provider}")

    def run() -> float:
        start = time.perf_counter_ns()
        session.run([logits], {source: images})
        return (time.perf_counter_ns() - start) / 1e6

    return f"{provider.removesuffix('ExecutionProvider')} {onnxruntime.__version__}", run


def measure(runs: list[Run], seconds: float, least: int, warmup: float) -> list[list[float]]:
    """Milliseconds of each file's runs: all are warmed up, then run once each in random order, again and again."""
    for run in runs:
        end = time.perf_counter() + warmup
        while time.perf_counter() < end:
            run()
    times: list[list[float]] = [[] for _ in runs]
    order, shuffler = list(range(len(runs))), random.Random(0)  # noqa: S311  # nosec B311  # an order, no secret
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end or len(times[0]) < least:
        shuffler.shuffle(order)
        for index in order:
            times[index].append(runs[index]())
    return times


def machine(threads: int) -> list[str]:
    """What a latency depends on, a line each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return [
        f"machine   {cpu_name()}, {cores} cores, {platform.platform()}",
        f"governor  {governor.read_text().strip() if governor.is_file() else 'unknown'}",
        f"load      {load} (one-minute average before the measurement)",
        f"software  Python {platform.python_version()}, numpy {np.__version__}, threads of ONNX Runtime: {threads}",
    ]


def cpu_name() -> str:
    """The processor as the system calls it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
