"""Stage: ONNX files of the dense model and its candidates -> latency, measured interleaved, with intervals."""

import gc
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
from numpy.typing import NDArray

from pipeline.config import BenchmarkConfig
from pipeline.errors import InputError
from pipeline.measurements import Contestant, LatencyReport, LatencySeries, Machine
from pipeline.progress import log, progress
from pipeline.records import timed
from pipeline.runners import OnnxRunner
from pipeline.store import Store

Runs = NDArray[np.float64]  # (rounds, runs a round), ms per batch
RESAMPLES, GRID, SEED = 2000, 2001, 0
LOOK_SECONDS, NEGLIGIBLE_CORES = 1.0, 0.2
UNMEASURED = 5  # first runs of a turn: memory is allocated, weights come into the cache
INTERVAL_PERCENT = (2.5, 97.5)


@timed
def benchmark(contestants: tuple[Contestant, ...], config: BenchmarkConfig, store: Store) -> LatencyReport:
    """Latency of each contestant in ONNX Runtime on this machine's CPU; the first is the dense model, the reference.

    Per batch size: every model is warmed up, then `config.rounds` rounds follow (more only where `config.min_seconds`
    is not reached). In a round the models take turns, in an order that rotates from round to round, so that a drift of
    the machine hits all models alike. A turn opens the file anew, since a session keeps the luck of its memory layout:
    with sessions kept open, a file was called faster or slower than itself in 26 of 75 trials, with new ones in 10 of
    150 (tiny models, 2 busy cores; 5 % is what the interval promises). Some unmeasured runs follow, then the measured
    ones, equally many in each round. Run it alone on the machine. Raises InputError if there is no contestant, or if
    their inputs differ in shape.
    """
    shapes = {contestant.onnx.input_shape for contestant in contestants}
    if len(shapes) != 1:
        raise InputError(f"a benchmark compares models of one input shape, found {sorted(shapes)}; give the dense model first")
    machine = _machine()
    if machine.busy_cores + config.threads > machine.cores + NEGLIGIBLE_CORES:
        log.warning(
            "%d threads are measured on %d cores of which other work keeps %.1f busy: latencies will be noisy",
            config.threads,
            machine.cores,
            machine.busy_cores,
        )
    openers = [
        partial(OnnxRunner, store.path(each.onnx.file), each.onnx.input_name, each.onnx.output_name, config.threads)
        for each in contestants
    ]
    series: list[LatencySeries] = []
    for batch_size in config.batch_sizes:
        measured = _measure(openers, (batch_size, *contestants[0].onnx.input_shape), config)
        series += summarise(contestants, batch_size, measured)
    return LatencyReport(
        parents=tuple(contestant.onnx.digest for contestant in contestants),
        machine=machine,
        threads=config.threads,
        rounds=config.rounds,
        series=tuple(series),
    )


def summarise(contestants: tuple[Contestant, ...], batch_size: int, measured: list[Runs]) -> list[LatencySeries]:
    """Percentiles, speed-up and verdict of each model from its runs (rounds, runs a round) in ms, the dense one first.

    `speedup` is dense p50 over this p50; percentiles are those of all runs. The 95 % percentile interval resamples
    whole rounds and pools the runs of those drawn, because the runs of one round share the state of the machine and are
    no independent observations. All models use the same draws, so that what slows a whole round cancels in the ratio.
    """
    draws = np.random.default_rng(SEED).integers(0, len(measured[0]), (RESAMPLES, len(measured[0])))
    dense, dense_p50 = _resampled_medians(measured[0], draws), float(np.median(measured[0]))
    series = []
    for index, (contestant, runs) in enumerate(zip(contestants, measured, strict=True)):
        medians = _resampled_medians(runs, draws)
        p50, p90, p99 = (float(value) for value in np.percentile(runs, (50, 90, 99)))
        p50_low, p50_high = (float(value) for value in np.percentile(medians, INTERVAL_PERCENT))
        low, high = (float(value) for value in np.percentile(dense / medians, INTERVAL_PERCENT))
        series.append(
            LatencySeries(
                candidate=contestant.name,
                batch_size=batch_size,
                runs=runs.size,
                p50_ms=p50,
                p50_low_ms=p50_low,
                p50_high_ms=p50_high,
                p90_ms=p90,
                p99_ms=p99,
                mean_ms=float(runs.mean()),
                throughput=batch_size * 1000 / p50,
                macs_ratio=contestants[0].macs / contestant.macs,
                speedup=dense_p50 / p50,
                speedup_low=low,
                speedup_high=high,
                verdict="reference" if index == 0 else _verdict(low, high),
            )
        )
    return series


def _verdict(low: float, high: float) -> Literal["faster", "not faster", "slower"]:
    return "faster" if low > 1 else "slower" if high < 1 else "not faster"


def _resampled_medians(runs: Runs, draws: NDArray[np.int64]) -> Runs:
    """Medians (B,) of the pooled runs of the rounds in each line of `draws` (B, rounds).

    A pooled median lies between the smallest and the largest median of a round: there the distribution function of each
    round is tabulated, and that of a pool is their sum. So its size does not matter.
    """
    of_rounds = np.median(runs, axis=1)
    grid = np.linspace(of_rounds.min(), of_rounds.max(), GRID)
    at_most = np.stack([np.searchsorted(np.sort(line), grid, side="right") for line in runs])  # (rounds, GRID)
    times_drawn = np.stack([np.bincount(line, minlength=len(runs)) for line in draws])  # (B, rounds)
    cumulated = times_drawn.astype(np.float64) @ at_most.astype(np.float64)  # (B, GRID)
    medians: Runs = grid[(cumulated >= runs.size / 2).argmax(axis=1)]
    return medians


def _measure(openers: Sequence[Callable[[], OnnxRunner]], shape: tuple[int, ...], config: BenchmarkConfig) -> list[Runs]:
    images = np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)
    wanted_ms = config.min_seconds * 1000
    rounds: list[list[Runs]] = [[] for _ in openers]
    with _no_gc():
        fastest = [_warm_up(open_file(), images, config.warmup_seconds) for open_file in openers]  # ms
        times = [math.ceil(max(config.min_runs, wanted_ms / each) / config.rounds) for each in fastest]
        turns = takewhile(lambda turn: turn < config.rounds or min(map(np.sum, rounds)) < wanted_ms, count())
        for turn in progress(turns, f"benchmark · batch {shape[0]}", config.rounds):
            for offset in range(len(openers)):
                which = (turn + offset) % len(openers)
                rounds[which].append(_run(openers[which](), images, UNMEASURED + times[which])[UNMEASURED:])
    return [np.stack(lines) for lines in rounds]


def _warm_up(runner: OnnxRunner, images: NDArray[np.float32], seconds: float) -> float:
    """Run for `seconds`, three times at least; milliseconds of the fastest run."""
    end, fastest = time.perf_counter() + seconds, math.inf
    for index in count():
        if index >= 3 and time.perf_counter() >= end:
            break
        fastest = min(fastest, float(_run(runner, images, 1)[0]))
    return fastest


def _run(runner: OnnxRunner, images: NDArray[np.float32], times: int) -> Runs:
    """Milliseconds (times,) of as many runs."""
    run, outputs, inputs = runner.session.run, [runner.output_name], {runner.input_name: images}
    nanoseconds = np.empty(times)
    for index in range(times):
        start = time.perf_counter_ns()
        run(outputs, inputs)
        nanoseconds[index] = time.perf_counter_ns() - start
    return nanoseconds / 1e6


@contextmanager
def _no_gc() -> Iterator[None]:
    """Collect garbage first, and none inside the block."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _machine() -> Machine:
    import onnxruntime

    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        system=platform.platform(),
        python=platform.python_version(),
        onnxruntime=onnxruntime.__version__,
        load_average=os.getloadavg()[0],
        busy_cores=psutil.cpu_percent(interval=LOOK_SECONDS) / 100 * (os.cpu_count() or 1),
    )


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
