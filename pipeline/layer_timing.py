"""How long small files run in ONNX Runtime, many of them, in bounded time."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.latency_process import run_round
from pipeline.latency_round import Round, Turn
from pipeline.pinning import choose_cores
from pipeline.progress import progress

POINT_SECONDS, ALL_SECONDS = 0.03, 60.0  # of one file, and of all together if that is less
PASSES, PILOT_RUNS, MOST_RUNS = 3, 3, 200


class TimedFile(NamedTuple):
    """An ONNX file with one input (batch, *input_shape)."""

    path: Path
    input_name: str
    output_name: str
    input_shape: tuple[int, ...]


def medians(files: Sequence[TimedFile], batch_size: int, threads: int, label: str) -> list[list[float]]:
    """For each file the median milliseconds of a run, in each of PASSES processes in which all take turns.

    A file runs for POINT_SECONDS, or its part of ALL_SECONDS if that is less, but at most MOST_RUNS times in a process, and
    at least once after a warm-up of two runs. Opening the files comes on top. Raises InputError if ONNX Runtime is missing.
    """
    cores = choose_cores(threads)
    milliseconds = 1000 * min(POINT_SECONDS, ALL_SECONDS / len(files)) / PASSES

    def measured(runs: Sequence[int]) -> list[NDArray[np.float64]]:
        turns = (
            Turn(str(file.path), "onnxruntime", file.input_name, file.output_name, file.input_shape, (batch_size,), (times,))
            for file, times in zip(files, runs, strict=True)
        )
        asked = Round(tuple(turns), threads, cores, warmup_seconds=0.0)
        return [timings.wall_ms for (timings,) in run_round(asked, [file.path.name for file in files])]

    pilot = measured([PILOT_RUNS] * len(files))
    runs = [min(MOST_RUNS, max(1, round(milliseconds / float(wall.min())))) for wall in pilot]
    passes = [measured(runs) for _ in progress(range(PASSES), label, PASSES)]
    return [[float(np.median(wall)) for wall in of_file] for of_file in zip(*passes, strict=True)]
