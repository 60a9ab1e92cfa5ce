import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import latency_statistics as stage
from pipeline.errors import StageError
from pipeline.latency import Contestant, LatencySeries
from pipeline.latency_statistics import (
    Interval,
    Measured,
    fp32_of,
    pooled_medians,
    reference_of,
    speedup,
    summarise,
    tail_percent,
    verdict,
)
from pipeline.records import FileRef

Runs = np.ndarray
WIDEST = 0.1
FILE = FileRef(path="a.onnx", sha256="0" * 64, size_bytes=1)


def contestant(
    name: str = "dense", precision: str = "fp32", runtime: str = "onnxruntime", macs: int | None = 300, subject: str = "record"
) -> Contestant:
    return Contestant(
        name=name,
        precision=precision,
        runtime=runtime,
        subject=subject,
        file=FILE,
        input_name="input",
        output_name="logits",
        input_shape=(1, 8, 8),
        macs=macs,
    )


def noisy(median_ms: float, seed: int, rounds: int = 20, runs: int = 30) -> Runs:
    """Log-normal latencies, whose rounds share a drift."""
    rng, drift = np.random.default_rng(seed), np.random.default_rng(99)
    scale = np.exp(0.2 * drift.standard_normal((rounds, 1)) + 0.05 * rng.standard_normal((rounds, runs)))
    return median_ms * scale


def compare(dense: Runs, candidate: Runs) -> LatencySeries:
    entrants = (contestant(), contestant("cut", macs=100))
    return summarise(entrants, 4, [Measured(dense, dense / 2), Measured(candidate, candidate / 2)], WIDEST)[1]


def test_percentiles_against_numpy() -> None:
    runs, dense = noisy(3.0, 1, runs=31), noisy(6.0, 2)
    series = compare(dense, runs)
    pooled = np.sort(runs.ravel())
    for found, share in ((series.p50_ms, 0.5), (series.p90_ms, 0.9), (series.p95_ms, 0.95), (series.p99_ms, 0.99)):
        assert found == pytest.approx(np.quantile(pooled, share))
        assert np.mean(pooled <= found) == pytest.approx(share, abs=1 / len(pooled))
    assert series.mean_ms == pytest.approx(pooled.sum() / len(pooled))
    assert series.cpu_ms == pytest.approx(series.p50_ms / 2)
    assert series.runs == 620
    assert series.throughput == pytest.approx(4 / (series.p50_ms / 1000))
    assert series.macs_ratio == 3.0


def test_the_speedup_is_the_median_of_the_rounds_ratios() -> None:
    dense, runs = noisy(6.0, 2), noisy(3.0, 1)
    by_round = sorted(float(np.median(a) / np.median(b)) for a, b in zip(dense, runs, strict=True))
    assert compare(dense, runs).speedup == pytest.approx((by_round[9] + by_round[10]) / 2)


@pytest.mark.parametrize("runs", [5, 30])
def test_the_medians_of_resamples_against_brute_force(runs: int) -> None:
    measured = noisy(2.0, 5, runs=runs)
    draws = np.random.default_rng(1).integers(0, 20, (200, 20))
    found = pooled_medians(measured, draws)
    exact = np.array([np.median(measured[line]) for line in draws])
    # the smallest value that half of the runs do not exceed, where numpy takes the middle of two neighbours
    lower = np.array([np.sort(measured[line], axis=None)[measured.size // 2 - 1] for line in draws])
    resolution = np.ptp(np.median(measured, axis=1)) / (stage.GRID - 1)
    assert np.all(found >= np.minimum(lower, exact) - resolution)
    assert np.all(found <= exact + resolution)


def test_the_intervals_are_those_of_scipys_bootstrap() -> None:
    from scipy.stats import bootstrap

    dense, candidate = noisy(6.0, 1), noisy(3.0, 2)
    series = compare(dense, candidate)
    ratios = np.median(dense, axis=1) / np.median(candidate, axis=1)

    def pooled(which: Runs) -> float:
        return float(np.median(candidate[which.astype(int)]))

    level = 1 - 2 * tail_percent(20) / 100
    how = {"method": "percentile", "n_resamples": 2000, "confidence_level": level, "rng": np.random.default_rng(7)}
    for data, statistic, low, high in (
        (ratios, np.median, series.speedup_low, series.speedup_high),
        (np.arange(20), pooled, series.p50_low_ms, series.p50_high_ms),
    ):
        oracle = bootstrap((data,), statistic, vectorized=False, **how).confidence_interval
        width = oracle.high - oracle.low
        assert low == pytest.approx(oracle.low, abs=0.2 * width)
        assert high == pytest.approx(oracle.high, abs=0.2 * width)


def test_few_rounds_widen_the_interval_and_many_leave_it_as_it_is() -> None:
    from scipy.stats import norm, t

    for rounds in (5, 20, 1000):
        assert tail_percent(rounds) == pytest.approx(100 * norm.cdf(-np.sqrt(rounds / (rounds - 1)) * t.ppf(0.975, rounds - 1)))
    assert tail_percent(5) < tail_percent(20) < tail_percent(1000) < 2.5
    assert tail_percent(10**7) == pytest.approx(2.5, rel=1e-5)


def test_a_ratio_within_the_round_takes_the_shared_drift_out() -> None:
    series = compare(noisy(6.0, 1), noisy(3.0, 2))
    spread_of_p50 = series.p50_high_ms / series.p50_low_ms - 1
    spread_of_ratio = series.speedup_high / series.speedup_low - 1
    assert spread_of_ratio < spread_of_p50 / 3


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 1000), rounds=st.integers(5, 30))
def test_an_interval_holds_its_estimate_and_knows_no_unit_of_time(factor: float, seed: int, rounds: int) -> None:
    dense, cut = noisy(6.0, seed, rounds), noisy(5.5, seed + 1, rounds)
    found = speedup(dense, cut)
    assert 0 < found.low <= found.ratio <= found.high
    np.testing.assert_allclose(speedup(factor * dense, factor * cut), found, rtol=1e-9)
    np.testing.assert_allclose(speedup(dense, factor * cut), np.array(found) / factor, rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_turning_the_comparison_round_turns_the_verdict_round(seed: int) -> None:
    one, other = noisy(3.0, seed), noisy(3.1, seed + 1)
    there, back = speedup(one, other), speedup(other, one)
    # the middle of an even number of ratios is a mean, and that of reciprocals is not the reciprocal
    np.testing.assert_allclose([back.ratio, back.low, back.high], [1 / there.ratio, 1 / there.high, 1 / there.low], rtol=2e-3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_few_disturbed_rounds_of_one_file_change_no_verdict(seed: int) -> None:
    """Other work hits three of twenty rounds, and there the faster file only."""
    dense, cut = noisy(3.0, seed), noisy(2.5, seed + 1)
    cut[np.random.default_rng(seed).permutation(20)[:3]] *= 5
    assert verdict(speedup(dense, cut), WIDEST) == "faster"


@given(
    low=st.floats(0.01, 100),
    stretch=st.floats(1, 10),
    widest=st.floats(0.001, 10),
)
def test_a_verdict_is_a_matter_of_the_interval_alone(low: float, stretch: float, widest: float) -> None:
    high = low * stretch
    found = verdict(Interval(low, low, high), widest)
    assert (found == "faster") == (low > 1)
    assert (found == "slower") == (high < 1)
    if low <= 1 <= high:
        assert (found == "too noisy to tell") == (high / low - 1 > widest)
        assert verdict(Interval(low, low, high), 2 * stretch) == "not faster"


def test_a_wide_interval_around_one_is_too_noisy_to_tell() -> None:
    rng = np.random.default_rng(1)
    wild = [3.0 * np.exp(0.5 * rng.standard_normal((20, 1))) * np.ones((20, 30)) for _ in range(2)]
    assert compare(*wild).verdict == "too noisy to tell"
    assert compare(noisy(3.0, 1), noisy(3.0, 2)).verdict == "not faster"


def test_identical_series_are_not_faster() -> None:
    runs = noisy(3.0, 1)
    series = compare(runs, runs.copy())
    assert (series.speedup, series.speedup_low, series.speedup_high) == (1, 1, 1)
    assert series.verdict == "not faster"


@pytest.mark.parametrize("rounds", [5, 20])
def test_equal_models_with_their_own_noise_are_not_faster(rounds: int) -> None:
    """In 95 of 100 experiments, as the interval promises; the bound leaves room for the roughness of a bootstrap."""
    found = [verdict(speedup(noisy(3.0, 2 * i, rounds), noisy(3.0, 2 * i + 1, rounds)), WIDEST) for i in range(60)]
    assert sum(each != "not faster" for each in found) <= 9


@pytest.mark.parametrize(("candidate_ms", "expected"), [(3.0, "faster"), (12.0, "slower")])
def test_twice_as_fast_and_twice_as_slow(candidate_ms: float, expected: str) -> None:
    series = compare(noisy(6.0, 1), noisy(candidate_ms, 2))
    assert series.verdict == expected
    assert series.speedup == pytest.approx(6.0 / candidate_ms, rel=0.1)


def test_the_first_is_the_reference_even_against_itself() -> None:
    runs = Measured(noisy(3.0, 1), None)
    first, second = summarise((contestant(), contestant()), 1, [runs, runs], WIDEST)
    assert (first.verdict, first.speedup, first.macs_ratio) == ("reference", 1, 1)
    assert second.verdict == "not faster"
    assert first.cpu_ms is None


ENTRANTS = (
    contestant("dense", "int8-cpu", macs=None),
    contestant("dense"),
    contestant("cut"),
    contestant("cut", "fp16"),
    contestant("dense", "fp32", "openvino"),
    contestant("cut", "int8-cpu", "openvino"),
)


def test_every_runtime_has_its_own_reference() -> None:
    assert [reference_of(place, ENTRANTS) for place in range(6)] == [1, 1, 1, 1, 4, 4]
    assert [fp32_of(place, ENTRANTS) for place in range(6)] == [1, None, None, 2, None, None]


def test_precisions_are_compared_with_the_dense_model_and_with_their_own_fp32() -> None:
    medians = (3.0, 6.0, 4.0, 2.0, 10.0, 5.0)
    found = summarise(ENTRANTS, 1, [Measured(noisy(ms, i), None) for i, ms in enumerate(medians)], WIDEST)
    assert [series.speedup for series in found] == pytest.approx([2, 1, 1.5, 3, 1, 2], rel=0.05)
    assert [series.fp32_speedup and round(series.fp32_speedup) for series in found] == [2, None, None, 2, None, None]
    for series in found:
        bounds = series.fp32_speedup_low, series.fp32_speedup, series.fp32_speedup_high
        assert bounds == (None,) * 3 or bounds == tuple(sorted(bounds))
    assert [series.verdict == "reference" for series in found] == [False, True, False, False, True, False]
    assert [series.macs_ratio for series in found] == [None, 1, 1, 1, 1, 1]


def test_ones_own_files_are_compared_with_the_first_whatever_its_precision() -> None:
    own = (contestant("a", "int8-cpu", subject=""), contestant("b", subject=""), contestant("c", "", subject=""))
    assert [reference_of(place, own) for place in range(3)] == [0, 0, 0]


def test_a_runtime_without_an_fp32_file_is_refused() -> None:
    entrants = (contestant(), contestant("cut", "fp16", "tensorrt"))
    with pytest.raises(StageError, match="tensorrt has no file in fp32 to compare cut with; measure the dense one in it too"):
        summarise(entrants, 1, [Measured(noisy(3.0, 1), None)] * 2, WIDEST)
