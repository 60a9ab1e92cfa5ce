"""The records and the statistics of a comparison: methods by name, spreads, paired differences, recovery."""

import statistics
import sys
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from fair_pruner.types import Rule
from pipeline.ablation import Difference, Method, Spread, course, difference, methods, recovered_after
from pipeline.config import FinetuneConfig
from pipeline.errors import InputError
from pipeline.pruning_sections import REMOVALS

from .ablations import DENSE, cell, comparison, latency, plan, three_seeds

SIGNAL_AND_RULE = st.tuples(st.sampled_from(REMOVALS), st.sampled_from(get_args(Rule)))
SHARES = st.integers(0, 1000).map(lambda count: count / 1000)
PAIRS = st.lists(st.tuples(SHARES, SHARES), min_size=2, max_size=10)


@given(st.lists(SIGNAL_AND_RULE, min_size=1, max_size=8, unique=True), st.sampled_from((",", " , ", ",,")))
def test_every_signal_with_every_rule_is_a_method_in_the_order_given(asked: list[tuple[str, str]], comma: str) -> None:
    names = [f"{removal}-{rule}" for removal, rule in asked]
    found = methods(comma.join(names))
    assert [(each.name, each.removal, each.rule) for each in found] == [(n, *pair) for n, pair in zip(names, asked, strict=True)]
    assert methods(comma.join(names + names)) == found


def test_fair_is_the_method_itself() -> None:
    assert methods("fair") == (Method("fair", "wasserstein", "tod"),)


@given(rounds=st.integers(2, 99), removal=st.sampled_from(REMOVALS), rule=st.sampled_from(get_args(Rule)))
def test_rounds_stand_behind_the_method(rounds: int, removal: str, rule: Rule) -> None:
    name = f"{removal}-{rule}@{rounds}"
    assert methods(f"fair@{rounds},{name}") == (
        Method(f"fair@{rounds}", "wasserstein", "tod", rounds),
        Method(name, removal, rule, rounds),
    )


@given(rounds=st.integers(1, 20), epochs=st.integers(0, 100))
def test_rounds_share_the_epochs_of_the_recipe(rounds: int, epochs: int) -> None:
    method, whole = Method("fair@9", "wasserstein", "tod", rounds), FinetuneConfig(epochs=epochs)
    if 0 < epochs < rounds:
        with pytest.raises(InputError, match=f"over {rounds} rounds, and there are {epochs}; set more epochs"):
            method.recipe(whole)
        return
    shared = method.recipe(whole)
    spent = [shared.of_round(last=number == rounds).epochs for number in range(1, rounds + 1)]
    assert sum(spent) == epochs
    assert max(spent) == spent[-1]


def test_the_course_of_several_rounds_begins_behind_the_epochs_before_the_last() -> None:
    later = cell(epochs_before=2.0, top1=(0.9, 0.97, 0.96), curve={3.0: 0.97})
    assert course([later]) == {2.0: (0.9,), 3.0: (0.97,)}
    assert later.after(0) is None


@pytest.mark.usefixtures("code_allowed")
def test_a_function_of_ones_own_is_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_signals.py").write_text("def size(group, model): ...\n")
    monkeypatch.delitem(sys.modules, "my_signals", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert methods("my_signals:size-global") == (Method("my_signals:size-global", "my_signals:size", "global"),)
    with pytest.raises(InputError, match="my_signals has no siz; did you mean size"):
        methods("my_signals:siz-global")


@pytest.mark.parametrize(
    "name",
    [
        "l1",
        "l1-",
        "-tod",
        "l1-tods",
        "l3-uniform",
        "L1-uniform",
        "fair-tod",
        "l1_uniform",
        "l1-tod-tod",
        "fair@0",
        "fair@",
        "fair@x",
        "@3",
    ],
)
def test_what_is_no_method_is_named_with_those_there_are(name: str) -> None:
    with pytest.raises(
        InputError, match=rf"^method {name} is none; give fair, or a signal and a rule .*network_pruner or .*tod, uniform"
    ):
        methods(f"fair,{name}")


@pytest.mark.parametrize("names", ["", " ", ",,"])
def test_no_method_is_refused(names: str) -> None:
    with pytest.raises(InputError, match="no methods are named; give some, for example --methods fair,l1-uniform"):
        methods(names)


def test_a_spread_is_mean_and_sample_deviation_and_one_seed_has_none() -> None:
    assert Spread.of([0.9, 0.92, 0.94]) == (pytest.approx(0.92), pytest.approx(0.02))
    assert Spread.of([0.9]) == (0.9, None)


@given(PAIRS)
def test_a_difference_has_the_interval_of_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    found = difference(first, second)
    points = [round(100 * (a - b), 6) for a, b in pairs]
    assert found.mean == pytest.approx(statistics.mean(points), abs=1e-9)
    if len(set(points)) == 1:
        assert found.low == found.high == found.mean
        return
    oracle = ttest_rel([100 * a for a in first], [100 * b for b in second]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(oracle), abs=1e-6)


@given(PAIRS)
def test_the_difference_the_other_way_round_is_its_negative(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    there, back = difference(first, second), difference(second, first)
    assert back == pytest.approx((-there.mean, -there.high, -there.low), abs=1e-9)  # type: ignore[operator]
    assert back.sure == there.sure


def test_one_seed_is_never_sure() -> None:
    assert difference([0.99], [0.5]) == (pytest.approx(49), None, None)
    assert not difference([0.99], [0.5]).sure


def test_seeds_that_agree_to_the_image_give_no_interval_to_be_sure_by() -> None:
    found = difference([196 / 216, 201 / 216, 211 / 216], [195 / 216, 200 / 216, 210 / 216])
    assert found.low == found.high == found.mean == pytest.approx(100 / 216)
    assert not found.sure


@pytest.mark.parametrize(("low", "high", "sure"), [(0.1, 0.3, True), (-0.3, -0.1, True), (-0.1, 0.3, False), (0.0, 0.3, False)])
def test_a_difference_is_sure_where_its_interval_leaves_0_out(low: float, high: float, sure: bool) -> None:
    assert Difference((low + high) / 2, low, high).sure == sure


def test_different_numbers_of_seeds_are_not_paired() -> None:
    with pytest.raises(ValueError, match="zip"):
        difference([0.9, 0.8], [0.9])


def test_accuracy_after_some_epochs_is_the_one_measured_there() -> None:
    found = cell(top1=(0.7, 0.95, 0.94), curve={6 / 23: 0.8, 1.0: 0.9, 2.0: 0.95, 60.0: 0.96, 61.0: 0.97})
    assert [found.after(epochs) for epochs in (0, 6 / 23, 1, 2, 60, 61)] == [0.7, 0.8, 0.9, 0.95, 0.96, 0.97]
    assert found.after(0.26) == 0.8  # a quarter of 23 steps falls on the sixth
    assert [found.after(epochs) for epochs in (0.25, 1.5, 3)] == [None, None, None]


def test_the_course_has_only_what_every_seed_was_measured_at() -> None:
    cells = [cell(seed=0, curve={1.0: 0.8, 2.0: 0.9}), cell(seed=1, curve={1.0: 0.82})]  # the second stopped early
    assert course(cells) == {0.0: (0.9, 0.9), 1.0: (0.8, 0.82)}
    assert course([cell(curve={})]) == {0.0: (0.9,)}


@pytest.mark.parametrize(
    ("curves", "epochs"),
    [
        ([{0.125: 0.975}], 0.125),  # 0.98 - 0.005 to the image
        ([{1.0: 0.96, 2.0: 0.99}], 2.0),
        ([{1.0: 0.97, 2.0: 0.974}], None),
        ([{1.0: 0.99, 2.0: 0.99}, {1.0: 0.95, 2.0: 0.96}], 2.0),  # the mean counts
        ([{1.0: 0.97, 2.0: 0.99}, {1.0: 0.97}], None),
    ],
)
def test_recovery_is_the_first_measurement_within_half_a_point(curves: list[dict[float, float]], epochs: float | None) -> None:
    assert recovered_after([cell(seed=seed, curve=curve) for seed, curve in enumerate(curves)], dense=0.98) == epochs


def test_a_cut_that_lost_nothing_has_recovered_at_once() -> None:
    assert recovered_after([cell(top1=(0.98, 0.98, 0.98))], dense=0.98) == 0


def test_the_digest_is_of_what_was_found_and_not_of_how_long_it_took() -> None:
    report = comparison([cell()])
    slower = [cell(plan=plan(seconds=5.0, latency_ms=3.0))]
    same = comparison(slower, latency()).model_copy(update={"dense": DENSE.model_copy(update={"seconds": 9.0}), "seconds": 2.0})
    assert same.digest == report.digest
    assert comparison([cell(top1=(0.9, 0.97, 0.961))]).digest != report.digest
    assert comparison([cell(plan=plan(units_removed=31))]).digest != report.digest


def test_cells_are_found_by_method_and_budget_in_the_order_of_seeds() -> None:
    report = comparison(three_seeds())
    (goal,) = report.goals
    assert [(each.method, each.seed) for each in report.of("l1-uniform", goal)] == [("l1-uniform", seed) for seed in (0, 1, 2)]
