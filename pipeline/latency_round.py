"""One round of a latency measurement, in a process of its own: `python -m pipeline.latency_round`.

Answers a Round with the wall and CPU times of every turn by batch size, in ms; says {"started": place} when a turn starts.
Imports no more than it must, since it is started anew for every round.
"""

import gc
import os
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.answering import Answer, Say, answer
from pipeline.runners import Images, Runner, Timings, open_file

if TYPE_CHECKING:
    from pipeline.latency import Runtime

SEED = 0
LEAST_WARMUP_RUNS = 2


class Turn(NamedTuple):
    """What one file does in a round. `runs[i]` batches of `batch_sizes[i]` images of `input_shape` are measured."""

    path: str
    runtime: "Runtime"
    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    runs: tuple[int, ...]


class Round(NamedTuple):
    """The turns in their order; `cores` is where the process is held, empty: anywhere."""

    turns: tuple[Turn, ...]
    threads: int
    cores: tuple[int, ...]
    warmup_seconds: float

    def to_values(self) -> dict[str, Any]:
        """As the process is asked."""
        return self._asdict() | {"turns": [turn._asdict() for turn in self.turns]}

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "Round":
        """The inverse of `to_values`."""
        return cls(**(values | {"turns": tuple(Turn(**turn) for turn in values["turns"])}))


def measure(asked: Round, say: Say) -> list[dict[str, Any]]:
    """Take all turns with garbage collection off; `wall_ms` and `cpu_ms` of each. The file is opened anew in each turn.

    A turn goes through its batch sizes. Before each the file runs unmeasured for an equal share of `warmup_seconds`, twice
    at least: memory is allocated, weights come into the cache, clocks rise. The first file takes a short turn beforehand
    that does not count: whatever ran first in a new process was 1 % faster than the same file in later places.
    """
    finished: list[dict[str, Any]] = []
    gc.collect()
    gc.disable()
    try:
        for turn in asked.turns[:1]:
            _take(turn._replace(batch_sizes=turn.batch_sizes[:1], runs=(1,)), asked.threads, warmup_seconds=0.0)
        for place, turn in enumerate(asked.turns):
            say({"started": place})
            timings = _take(turn, asked.threads, asked.warmup_seconds)
            wall = [each.wall_ms.tolist() for each in timings]
            cpu = [None if each.cpu_ms is None else each.cpu_ms.tolist() for each in timings]
            finished.append({"wall_ms": wall, "cpu_ms": cpu})
    finally:
        gc.enable()
    return finished


def _inside(request: dict[str, Any], _: bytes, say: Say) -> Answer:
    asked = Round.from_values(request)
    if asked.cores:
        os.sched_setaffinity(0, asked.cores)
    return {"turns": measure(asked, say)}, b""


def _take(turn: Turn, threads: int, warmup_seconds: float) -> list[Timings]:
    runner = open_file(Path(turn.path), turn.runtime, turn.input_name, turn.output_name, threads)
    timings = []
    for batch_size, runs in zip(turn.batch_sizes, turn.runs, strict=True):
        images = np.random.default_rng(SEED).standard_normal((batch_size, *turn.input_shape), dtype=np.float32)
        _warm_up(runner, images, warmup_seconds / len(turn.batch_sizes))
        timings.append(runner.time(images, runs))
    return timings


def _warm_up(runner: Runner, images: Images, seconds: float) -> None:
    end = time.perf_counter() + seconds
    for index in count():
        if index >= LEAST_WARMUP_RUNS and time.perf_counter() >= end:
            return
        runner.time(images, 1)


if __name__ == "__main__":
    answer(_inside)
