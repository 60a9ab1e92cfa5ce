import gc
import json
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import benchmark as stage
from pipeline.benchmark import benchmark, summarise
from pipeline.config import BenchmarkConfig
from pipeline.errors import InputError
from pipeline.measurements import Contestant, LatencySeries
from pipeline.records import OnnxRecord
from pipeline.store import Store

Runs = np.ndarray
SHORT = BenchmarkConfig(batch_sizes=(1, 2), rounds=5, min_runs=50, min_seconds=0.05, warmup_seconds=0.01)


@pytest.fixture
def contestants(exported: tuple[Store, OnnxRecord]) -> tuple[Contestant, ...]:
    return tuple(Contestant(name=name, onnx=exported[1], macs=macs) for name, macs in (("dense", 300), ("a", 100), ("b", 60)))


def noisy(median_ms: float, seed: int, rounds: int = 20, runs: int = 30) -> Runs:
    """Log-normal latencies, whose rounds share a drift."""
    rng, drift = np.random.default_rng(seed), np.random.default_rng(99)
    scale = np.exp(0.2 * drift.standard_normal((rounds, 1)) + 0.05 * rng.standard_normal((rounds, runs)))
    return median_ms * scale


def compare(contestants: tuple[Contestant, ...], dense: Runs, candidate: Runs) -> LatencySeries:
    return summarise(contestants[:2], 4, [dense, candidate])[1]


def test_percentiles_against_numpy(contestants: tuple[Contestant, ...]) -> None:
    runs, dense = noisy(3.0, 1, runs=31), noisy(6.0, 2)
    series = compare(contestants, dense, runs)
    pooled = np.sort(runs.ravel())
    for found, share in ((series.p50_ms, 0.5), (series.p90_ms, 0.9), (series.p99_ms, 0.99)):
        assert found == pytest.approx(np.quantile(pooled, share))
        assert np.mean(pooled <= found) == pytest.approx(share, abs=1 / len(pooled))
    assert series.mean_ms == pytest.approx(pooled.sum() / len(pooled))
    assert series.runs == 620
    assert series.throughput == pytest.approx(4 / (series.p50_ms / 1000))
    assert series.speedup == pytest.approx(np.median(dense) / np.median(runs))
    assert series.macs_ratio == 3.0


@pytest.mark.parametrize("runs", [5, 30])
def test_the_medians_of_resamples_against_brute_force(runs: int) -> None:
    measured = noisy(2.0, 5, runs=runs)
    draws = np.random.default_rng(1).integers(0, 20, (200, 20))
    found = stage._resampled_medians(measured, draws)
    exact = np.array([np.median(measured[line]) for line in draws])
    # the smallest value that half of the runs do not exceed, where numpy takes the middle of two neighbours
    lower = np.array([np.sort(measured[line], axis=None)[measured.size // 2 - 1] for line in draws])
    resolution = np.ptp(np.median(measured, axis=1)) / (stage.GRID - 1)
    assert np.all(found >= np.minimum(lower, exact) - resolution)
    assert np.all(found <= exact + resolution)


def test_the_interval_is_that_of_scipys_bootstrap(contestants: tuple[Contestant, ...]) -> None:
    from scipy.stats import bootstrap

    dense, candidate = noisy(6.0, 1), noisy(3.0, 2)
    series = compare(contestants, dense, candidate)

    def ratio(which: Runs) -> float:
        return float(np.median(dense[which.astype(int)]) / np.median(candidate[which.astype(int)]))

    oracle = bootstrap(
        (np.arange(20),), ratio, vectorized=False, method="percentile", n_resamples=2000, rng=np.random.default_rng(7)
    ).confidence_interval
    width = oracle.high - oracle.low
    assert series.speedup_low == pytest.approx(oracle.low, abs=0.2 * width)
    assert series.speedup_high == pytest.approx(oracle.high, abs=0.2 * width)
    assert series.p50_low_ms <= series.p50_ms <= series.p50_high_ms


def test_pairing_takes_the_shared_drift_out_of_the_ratio(contestants: tuple[Contestant, ...]) -> None:
    series = compare(contestants, noisy(6.0, 1), noisy(3.0, 2))
    spread_of_p50 = series.p50_high_ms / series.p50_low_ms - 1
    spread_of_ratio = series.speedup_high / series.speedup_low - 1
    assert spread_of_ratio < spread_of_p50 / 3


def test_identical_series_are_not_faster(contestants: tuple[Contestant, ...]) -> None:
    runs = noisy(3.0, 1)
    series = compare(contestants, runs, runs.copy())
    assert (series.speedup, series.speedup_low, series.speedup_high) == (1, 1, 1)
    assert series.verdict == "not faster"


def test_equal_models_with_their_own_noise_are_not_faster(contestants: tuple[Contestant, ...]) -> None:
    """In 95 of 100 experiments, as the interval promises; the bound leaves room for the roughness of a bootstrap."""
    wrong = sum(compare(contestants, noisy(3.0, 2 * i), noisy(3.0, 2 * i + 1)).verdict != "not faster" for i in range(40))
    assert wrong <= 6


@pytest.mark.parametrize(("candidate_ms", "verdict"), [(3.0, "faster"), (12.0, "slower")])
def test_twice_as_fast_and_twice_as_slow(candidate_ms: float, verdict: str, contestants: tuple[Contestant, ...]) -> None:
    series = compare(contestants, noisy(6.0, 1), noisy(candidate_ms, 2))
    assert series.verdict == verdict
    assert series.speedup == pytest.approx(6.0 / candidate_ms, rel=0.1)
    assert series.speedup_low <= series.speedup <= series.speedup_high


def test_the_first_is_the_reference_even_against_itself(contestants: tuple[Contestant, ...]) -> None:
    runs = noisy(3.0, 1)
    first, second = summarise((contestants[0], contestants[0]), 1, [runs, runs])
    assert (first.verdict, first.speedup, first.macs_ratio) == ("reference", 1, 1)
    assert second.verdict == "not faster"


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_the_unit_of_time_does_not_matter_for_the_ratio(factor: float, seed: int) -> None:
    def ratios(scale: float) -> Runs:
        draws = np.random.default_rng(0).integers(0, 20, (50, 20))
        first, second = (stage._resampled_medians(scale * noisy(ms, seed + i), draws) for i, ms in enumerate((6.0, 3.0)))
        return first / second

    np.testing.assert_allclose(ratios(factor), ratios(1.0), rtol=1e-3)


def test_a_whole_benchmark(
    contestants: tuple[Contestant, ...], exported: tuple[Store, OnnxRecord], capfd: pytest.CaptureFixture[str]
) -> None:
    report = benchmark(contestants, SHORT, exported[0])
    assert [(entry.candidate, entry.batch_size) for entry in report.series] == [
        (name, size) for size in (1, 2) for name in ("dense", "a", "b")
    ]
    for entry in report.series:
        assert entry.runs >= SHORT.min_runs
        assert entry.runs * entry.mean_ms >= SHORT.min_seconds * 1000 * (1 - 1e-9)
        assert 0 < entry.p50_ms <= entry.p90_ms <= entry.p99_ms
    assert [entry.verdict for entry in report.series[::3]] == ["reference", "reference"]
    assert report.parents == (exported[1].digest,) * 3
    assert (report.threads, report.rounds) == (1, 5)
    json.loads(report.model_dump_json())
    assert capfd.readouterr() == ("", "")


def test_the_machine_is_described(contestants: tuple[Contestant, ...], exported: tuple[Store, OnnxRecord]) -> None:
    import onnxruntime

    machine = benchmark(contestants[:1], SHORT, exported[0]).machine
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.load_average >= 0
    assert 0 <= machine.busy_cores <= machine.cores
    assert machine.python == ".".join(str(part) for part in sys.version_info[:3])
    assert machine.onnxruntime == onnxruntime.__version__


class Recorder:
    """Stands for a runner; every run is written down as its name."""

    def __init__(self, name: str, runs: list[tuple[str, bool]]) -> None:
        self.input_name, self.output_name, self.session, self.name, self.runs = "input", "logits", self, name, runs

    def run(self, _: list[str], inputs: dict[str, Runs]) -> None:
        assert inputs["input"].shape == (2, 1, 8, 8)
        self.runs.append((self.name, gc.isenabled()))


def test_turns_rotate_after_the_warm_up_and_garbage_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[str, bool]] = []

    def once(runner: Recorder, images: Runs, times: int) -> Runs:
        runner.run([], {"input": images})
        return np.ones(times)

    monkeypatch.setattr(stage, "_warm_up", lambda runner, images, _: once(runner, images, 1)[0])
    monkeypatch.setattr(stage, "_run", once)
    assert gc.isenabled()
    measured = stage._measure([partial(Recorder, name, runs) for name in "abc"], (2, 1, 8, 8), SHORT)
    assert "".join(name for name, _ in runs) == "abc" + "abc" + "bca" + "cab" + "abc" + "bca"
    assert not any(enabled for _, enabled in runs)
    assert gc.isenabled()
    assert [lines.shape for lines in measured] == [(5, 10)] * 3  # 50 runs of 1 ms in 5 rounds


def test_more_rounds_where_the_time_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warm-up was on a busy machine: a run takes half of what it took."""
    runs: list[tuple[str, bool]] = []
    monkeypatch.setattr(stage, "_warm_up", lambda *_: 1.0)
    monkeypatch.setattr(stage, "_run", lambda *arguments: np.full(arguments[2], 0.5))
    (measured,) = stage._measure([partial(Recorder, "a", runs)], (2, 1, 8, 8), SHORT)
    assert measured.shape == (10, 10)
    assert measured.sum() == 50


def test_as_many_runs_as_asked_for_however_long_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_warm_up", lambda *_: 100.0)
    monkeypatch.setattr(stage, "_run", lambda *arguments: np.arange(100.0, 100 + arguments[2]))
    (measured,) = stage._measure([partial(Recorder, "a", [])], (2, 1, 8, 8), SHORT)
    assert measured.shape == (5, 10)
    assert measured.min() == 100 + stage.UNMEASURED  # the first runs of a turn do not count


def test_different_inputs_are_not_compared(contestants: tuple[Contestant, ...], exported: tuple[Store, OnnxRecord]) -> None:
    other = contestants[1].model_copy(update={"onnx": exported[1].model_copy(update={"input_shape": (3, 8, 8)})})
    with pytest.raises(InputError, match="one input shape"):
        benchmark((contestants[0], other), SHORT, exported[0])
    with pytest.raises(InputError, match="one input shape"):
        benchmark((), SHORT, exported[0])
