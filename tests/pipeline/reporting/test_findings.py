"""Pareto front, ranking and intervals against brute force, an oracle and laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pipeline.errors import StageError
from pipeline.findings import batch_sizes, faster, pareto, series_of, wilson

few_values = st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.8]), st.sampled_from([1.0, 2.0, 3.0, 4.0]))


def dominates(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return first[0] >= second[0] and first[1] <= second[1] and first != second


@given(st.lists(few_values, max_size=12) | st.lists(st.tuples(st.floats(0, 1), st.floats(0, 10)), max_size=12))
def test_pareto_is_what_brute_force_finds(points):
    expected = [i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)]
    assert list(pareto(points)) == expected


def test_equal_points_share_the_front():
    assert pareto([(0.9, 1.0), (0.9, 1.0), (0.9, 2.0), (0.8, 1.0)]) == (0, 1)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy(counted):
    right, samples = counted
    oracle = binomtest(right, samples).proportion_ci(method="wilson")
    low, high = wilson(right / samples, samples)
    assert low == pytest.approx(oracle.low, abs=1e-12)
    assert high == pytest.approx(oracle.high, abs=1e-12)
    assert low <= right / samples <= high


def test_first_measured_batch_size_comes_first(make_sweep, tmp_path):
    assert batch_sizes(make_sweep(tmp_path, "dense", "quick")["latency"]) == (1, 8)


def test_faster_ranks_by_accuracy_and_ignores_all_other_verdicts(make_report):
    result = make_report("dense", "not_faster", "slower", "quick", "quicker")
    assert [candidate.name for candidate in faster(result, 1)] == ["tolerance-0.2", "tolerance-0.4"]


def test_a_measurement_that_was_not_made_is_named(make_sweep, tmp_path):
    latency = make_sweep(tmp_path, "dense")["latency"]
    with pytest.raises(StageError, match="nothing on dense at batch size 3"):
        series_of(latency, "dense", 3)
