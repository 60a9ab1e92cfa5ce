"""Runs of several files -> percentiles, speed-ups with intervals, verdicts."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from pipeline.errors import StageError
from pipeline.latency import Contestant, LatencySeries, Verdict

Runs = NDArray[np.float64]  # (rounds, runs a round), ms per batch
RESAMPLES, GRID, SEED = 2000, 2001, 0
CONFIDENCE = 0.95


class Measured(NamedTuple):
    """All runs of one file at one batch size; `cpu_ms` is None where a GPU's clock tells the time."""

    wall_ms: Runs
    cpu_ms: Runs | None


class Interval(NamedTuple):
    """How many times as fast as another file, 1 = equal, and the ends of its 95 % interval."""

    ratio: float
    low: float
    high: float


def summarise(
    contestants: Sequence[Contestant], batch_size: int, measured: Sequence[Measured], widest_interval: float
) -> tuple[LatencySeries, ...]:
    """Percentiles, speed-up and verdict of each contestant from its runs, all measured in the same rounds.

    `p50_ms` and the other percentiles are those of all runs; its 95 % interval resamples whole rounds and pools the runs of
    those drawn, because the runs of one round share its process and are no independent observations. The speed-up is
    `speedup`'s. Raises StageError if a runtime has no reference.
    """
    draws = _draws(len(measured[0].wall_ms))
    series = []
    for index, (contestant, runs) in enumerate(zip(contestants, measured, strict=True)):
        reference = reference_of(index, contestants)
        against = speedup(measured[reference].wall_ms, runs.wall_ms)
        dense = fp32_of(index, contestants)
        fp32 = None if dense is None else speedup(measured[dense].wall_ms, runs.wall_ms)
        macs = contestants[reference].macs, contestant.macs
        p50, p90, p95, p99 = (float(value) for value in np.percentile(runs.wall_ms, (50, 90, 95, 99)))
        p50_low, p50_high = _ends(pooled_medians(runs.wall_ms, draws), len(draws[0]))
        series.append(
            LatencySeries(
                candidate=contestant.name,
                precision=contestant.precision,
                runtime=contestant.runtime,
                batch_size=batch_size,
                runs=runs.wall_ms.size,
                p50_ms=p50,
                p50_low_ms=p50_low,
                p50_high_ms=p50_high,
                p90_ms=p90,
                p95_ms=p95,
                p99_ms=p99,
                mean_ms=float(runs.wall_ms.mean()),
                cpu_ms=None if runs.cpu_ms is None else float(np.median(runs.cpu_ms)),
                throughput=batch_size * 1000 / p50,
                macs_ratio=macs[0] / macs[1] if macs[0] and macs[1] else None,
                speedup=against.ratio,
                speedup_low=against.low,
                speedup_high=against.high,
                fp32_speedup=fp32 and fp32.ratio,
                fp32_speedup_low=fp32 and fp32.low,
                fp32_speedup_high=fp32 and fp32.high,
                verdict="reference" if index == reference else verdict(against, widest_interval),
            )
        )
    return tuple(series)


def reference_of(index: int, contestants: Sequence[Contestant]) -> int:
    """What a contestant is compared with: the first one in its runtime that is in fp32, or that is somebody's own file.

    Raises StageError if there is none.
    """
    runtime = contestants[index].runtime
    for place, other in enumerate(contestants):
        if other.runtime == runtime and (other.precision == "fp32" or not other.subject):
            return place
    raise StageError(f"{runtime} has no file in fp32 to compare {contestants[index].name} with; measure the dense one in it too")


def fp32_of(index: int, contestants: Sequence[Contestant]) -> int | None:
    """The same candidate's fp32 file in the same runtime; None if the contestant is that itself or there is none."""
    this = contestants[index]
    if this.precision == "fp32":
        return None
    same = (this.name, "fp32", this.runtime)
    places = (place for place, other in enumerate(contestants) if (other.name, other.precision, other.runtime) == same)
    return next(places, None)


def speedup(reference: Runs, runs: Runs) -> Interval:
    """Median over the rounds of (the reference's median time / this file's) in the round, with its 95 % bootstrap interval.

    The bootstrap draws rounds. A ratio is taken within a round, so that what slows a whole round cancels, and the median of
    the ratios does not follow the few rounds in which other work hit one file and not the other. Measured beside other work,
    600 rounds of a file of 0.02 ms against itself, drawn at random, and in each round at random which turn was the reference's:
    from 5, 10, 20 and 40 rounds it was called faster or slower in 7, 4, 5 and 4 % of 1000 trials. By the ratio of the medians
    of all runs, with 2.5 % cut off at each end, it was in 13, 8, 9 and 6 % of 300; by the t interval of the mean log ratio in
    2 %, but that was seven times as wide at 20 rounds.
    """
    ratios = np.median(reference, axis=1) / np.median(runs, axis=1)  # (rounds,)
    low, high = _ends(np.median(ratios[_draws(len(ratios))], axis=1), len(ratios))
    return Interval(float(np.median(ratios)), low, high)


def verdict(against: Interval, widest_interval: float) -> Verdict:
    """What the interval says; around 1 it is too noisy to tell if `high` / `low` - 1 exceeds `widest_interval`."""
    if against.low > 1:
        return "faster"
    if against.high < 1:
        return "slower"
    return "too noisy to tell" if against.high / against.low - 1 > widest_interval else "not faster"


def pooled_medians(runs: Runs, draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Medians (B,) of the pooled runs of the rounds in each line of `draws` (B, rounds).

    A pooled median lies between the smallest and the largest median of a round: there the distribution function of each
    round is tabulated, and that of a pool is their sum. So its size does not matter.
    """
    of_rounds = np.median(runs, axis=1)
    grid = np.linspace(of_rounds.min(), of_rounds.max(), GRID)
    at_most = np.stack([np.searchsorted(np.sort(line), grid, side="right") for line in runs])  # (rounds, GRID)
    times_drawn = np.stack([np.bincount(line, minlength=len(runs)) for line in draws])  # (B, rounds)
    cumulated = times_drawn.astype(np.float64) @ at_most.astype(np.float64)  # (B, GRID)
    medians: NDArray[np.float64] = grid[(cumulated >= runs.size / 2).argmax(axis=1)]
    return medians


def _draws(rounds: int) -> NDArray[np.int64]:
    """Which rounds each resample takes, (RESAMPLES, rounds); the same ones every time."""
    return np.random.default_rng(SEED).integers(0, rounds, (RESAMPLES, rounds))


def tail_percent(rounds: int) -> float:
    """Percent of the resamples to leave out at each end: less than 2.5, since few rounds make a bootstrap too narrow.

    The expanded percentile interval of T. Hesterberg, What Teachers Should Know about the Bootstrap, The American Statistician
    69 (2015), 371-386: Phi(-sqrt(n / (n - 1)) t), t the quantile of Student's t with n - 1 degrees of freedom.
    """
    t = stdtrit(rounds - 1, (1 + CONFIDENCE) / 2)
    return float(100 * ndtr(-math.sqrt(rounds / (rounds - 1)) * t))


def _ends(values: NDArray[np.float64], rounds: int) -> tuple[float, float]:
    tail = tail_percent(rounds)
    low, high = np.percentile(values, (tail, 100 - tail))
    return float(low), float(high)
