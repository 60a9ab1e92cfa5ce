"""The rule by which a file becomes the champion, on reports with made-up numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config import GateConfig
from pipeline.errors import InputError
from pipeline.latency_change import DRIFT
from pipeline.measurements import RunReport
from pipeline.promotion import Contender, contender, objection

from .reporting.conftest import ROWS, Row
from .reporting.finished import finished

BOUNDS = GateConfig(max_accuracy_drop=0.02)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., RunReport]:
    """make(name, *rows): a run of its own."""

    def make(name: str, *rows: str | Row, **changes: Any) -> RunReport:
        return finished(tmp_path / name, *rows, **changes)

    return make


def quick(p50: float = 0.4, top1: float = 0.9639) -> Row:
    """A pruned model with another median at batch 1; its interval goes from 3 % below to 4 % above."""
    return ROWS["quick"]._replace(top1=top1, latency={1: (p50, 1.25, 1.20, 1.31), 8: (1.8, 1.33, 1.3, 1.36)})


def shipped(report: RunReport, precision: str = "fp32") -> Contender:
    return contender(report, "tolerance-0.2", precision, "onnxruntime")


def test_the_first_one_needs_no_other_to_beat_but_must_pass_the_gate(make: Callable[..., RunReport]) -> None:
    file = shipped(make("run", "dense", "quick"))
    assert objection(file, None, BOUNDS) == ""
    assert objection(file, None, GateConfig(max_accuracy_drop=0.01)) == (
        "it does not pass the gate: loses 1.11 points on the validation images, 1 are allowed"
    )
    assert objection(file, None, GateConfig(max_accuracy_drop=0.02, min_speedup=1.3)) == (
        "it does not pass the gate: its speed-up 1.25 [1.20, 1.31] does not surely reach 1.3"
    )


def test_the_faster_one_of_two_wins(make: Callable[..., RunReport]) -> None:
    champion, challenger = shipped(make("then", "dense", quick(0.4))), shipped(make("now", "dense", quick(0.3)))
    assert objection(challenger, champion, BOUNDS) == ""
    assert objection(champion, challenger, BOUNDS) == (
        "it is not surely faster than the champion: 0.75 times [0.70, 0.80] as fast at batch 1"
    )


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.floats(0.1, 1), st.floats(0.1, 1))
def test_it_wins_only_if_the_medians_intervals_are_further_apart_than_drift(
    make: Callable[..., RunReport], then: float, now: float
) -> None:
    champion, challenger = shipped(make("then", "dense", quick(then))), shipped(make("now", "dense", quick(now)))
    assert (objection(challenger, champion, BOUNDS) == "") == (0.97 * then > (1 + DRIFT) * 1.04 * now)


def test_a_file_does_not_beat_itself(make: Callable[..., RunReport]) -> None:
    file = shipped(make("run", "dense", "quick"))
    assert "not surely faster" in objection(file, file, BOUNDS)


def test_lost_accuracy_is_an_objection_however_fast_it_is(make: Callable[..., RunReport]) -> None:
    champion = shipped(make("then", "dense", "quick"))
    worse = make("now", ROWS["dense"]._replace(top1=0.95), quick(0.1, top1=0.94))
    assert objection(shipped(worse), champion, BOUNDS) == (
        "it loses 2.39 points on the validation images against the champion, 2 are allowed"
    )
    assert objection(shipped(worse), champion, GateConfig(max_accuracy_drop=0.0239)) == ""


def test_each_file_counts_in_the_precision_that_ships(make: Callable[..., RunReport]) -> None:
    both = make("run", "dense", "quick", int8=True)
    assert objection(shipped(both, "int8-cpu"), shipped(both), BOUNDS) == ""
    assert "0.62 times" in objection(shipped(both), shipped(both, "int8-cpu"), BOUNDS)
    accurate = shipped(make("then", "dense", quick(0.9, top1=0.98)))  # its int8 rival has lost half a point on top
    assert objection(shipped(both, "int8-cpu"), accurate, BOUNDS) == (
        "it loses 2.11 points on the validation images against the champion, 2 are allowed"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"machine": {"cpu": "Other CPU"}},
            "latencies of different machines are not compared: cpu is Model CPU 3000 in",
        ),
        ({"threads": 2}, "threads is 1 in the champion's run and 2 in this run"),
        ({"data": {"name": "cifar10"}}, "accuracies on different images are not compared: data.name is digits in the champion's"),
    ],
)
def test_what_cannot_be_compared_does_not_win(make: Callable[..., RunReport], changes: dict[str, Any], words: str) -> None:
    champion, challenger = shipped(make("then", "dense", "quick")), shipped(make("now", "dense", quick(0.1), **changes))
    assert words in objection(challenger, champion, BOUNDS)


def test_another_seed_draws_other_validation_images(make: Callable[..., RunReport]) -> None:
    champion, report = shipped(make("then", "dense", "quick")), make("now", "dense", quick(0.1))
    other = report.model_copy(update={"config": report.config | {"seed": 7}})
    assert objection(shipped(other), champion, BOUNDS) == (
        "the validation images are others: the seed is 0 in the champion's run and 7 in this run"
    )


def test_a_champion_that_was_not_measured_at_the_same_batch_size_stays(make: Callable[..., RunReport]) -> None:
    report = make("then", "dense", "quick")
    only8 = tuple(series for series in report.latency.series if series.batch_size == 8)
    champion = report.model_copy(update={"latency": report.latency.model_copy(update={"series": only8})})
    assert objection(shipped(make("now", "dense", quick(0.1))), shipped(champion), BOUNDS) == (
        "tolerance-0.2 in fp32 was not measured in onnxruntime at batch 1"
    )


@pytest.mark.parametrize(("candidate", "precision"), [("tolerance-9", "fp32"), ("tolerance-0.2", "fp16")])
def test_a_file_that_the_run_does_not_have_is_named(make: Callable[..., RunReport], candidate: str, precision: str) -> None:
    with pytest.raises(InputError, match=f"has no .*{candidate if precision == 'fp32' else precision}"):
        contender(make("run", "dense", "quick"), candidate, precision, "onnxruntime")
