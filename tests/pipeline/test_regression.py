"""A file beside the same one of an earlier run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import GateConfig
from pipeline.errors import InputError
from pipeline.gate import Baseline, GateResult, baseline_of, gate
from pipeline.measurements import RunReport
from pipeline.regression import RegressionConfig

from .reporting.conftest import ROWS, Row
from .reporting.finished import finished

LENIENT = GateConfig(max_accuracy_drop=1)
BOTH = RegressionConfig(max_regression=0.005, max_slowdown=1.1)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., RunReport]:
    """make(name, *rows): a run of its own."""

    def make(name: str, *rows: str | Row, **changes: Any) -> RunReport:
        return finished(tmp_path / name, *rows, **changes)

    return make


def against(run: RunReport, earlier: RunReport, config: RegressionConfig = BOTH) -> GateResult:
    return gate(run, LENIENT, baseline=Baseline(earlier, config))


def test_the_same_run_is_no_regression(make: Callable[..., RunReport]) -> None:
    run = make("run", "dense", "quick")
    assert {check.name: check.outcome for check in against(run, run).checks} == {
        "speed-up": "passed",
        "accuracy": "passed",
        "accuracy against the baseline": "passed",
        "latency against the baseline": "passed",
    }


def test_lost_accuracy_is_refused(make: Callable[..., RunReport]) -> None:
    result = against(make("run", "dense", ROWS["quick"]._replace(top1=0.9578)), make("then", "dense", "quick"))
    check = result.checks[2]
    assert (check.outcome, check.found, check.allowed) == ("refused", "0.61 points lost", "at most 0.5 points lost")
    assert not result.passes
    assert result.recommendation.candidate == "tolerance-0.2"  # it would ship, were it not for the baseline


@pytest.mark.parametrize(
    ("then_ms", "most", "outcome", "found"),
    [
        (0.4, 1.05, "too noisy to tell", "1.00 times [0.93, 1.07]"),
        (0.4, 1.08, "passed", "1.00 times [0.93, 1.07]"),
        (0.2, 1.05, "refused", "2.00 times [1.87, 2.14]"),
        (0.6, 1.05, "passed", "0.67 times [0.62, 0.71]"),
    ],
)
def test_latency(make: Callable[..., RunReport], then_ms: float, most: float, outcome: str, found: str) -> None:
    earlier = {1: (then_ms, 1.25, 1.2, 1.31), 8: (1.8, 1.3, 1.2, 1.4)}
    then = make("then", "dense", ROWS["quick"]._replace(latency=earlier))
    result = against(make("run", "dense", "quick"), then, RegressionConfig(max_slowdown=most))
    assert (result.checks[2].outcome, result.checks[2].found) == (outcome, found)
    assert len(result.checks) == 3  # accuracy against the baseline was not asked for


@pytest.mark.parametrize(
    ("change", "bound", "why"),
    [
        (
            {"machine": {"cpu": "Other CPU"}},
            "latency",
            "latencies of different machines are not compared: cpu is Other CPU in the baseline and Model CPU 3000 in this",
        ),
        ({"threads": 4}, "latency", "threads is 4 in the baseline and 1 in this run"),
        (
            {"data": {"validation_fraction": 0.3}},
            "accuracy",
            "accuracies on different images are not compared: data.validation_fraction is 0.3 in the baseline and none in",
        ),
    ],
)
def test_what_must_not_be_compared_does_not_pass(
    make: Callable[..., RunReport], change: dict[str, Any], bound: str, why: str
) -> None:
    result = against(make("run", "dense", "quick"), make("then", "dense", "quick", **change))
    assert not result.passes
    assert [check.name for check in result.checks if check.outcome == "not comparable"] == [f"{bound} against the baseline"]
    assert why in result.sentence
    assert "measure the baseline anew under the same conditions, or leave this bound out" in result.sentence


def test_another_seed_drew_other_validation_images(make: Callable[..., RunReport]) -> None:
    run = make("run", "dense", "quick")
    result = against(run, run.model_copy(update={"config": run.config | {"seed": 7}}))
    assert result.checks[2].outcome == "not comparable"
    assert "the validation images are others: the seed is 7 in the baseline and 0 in this run" in result.sentence


def test_a_candidate_that_the_baseline_lacks_does_not_pass(make: Callable[..., RunReport]) -> None:
    result = against(make("run", "dense", "quick"), make("then", "dense", "quicker"))
    assert [check.outcome for check in result.checks[2:]] == ["not comparable", "not comparable"]
    assert "the baseline has no tolerance-0.2 fp32" in result.sentence
    assert "the baseline has not measured tolerance-0.2 fp32 in onnxruntime at batch 1" in result.sentence


def test_where_the_data_lies_makes_no_difference(make: Callable[..., RunReport]) -> None:
    run, then = (make(name, "dense", "quick", data={"root": f"/{name}"}) for name in ("run", "then"))
    assert against(run, then).passes
    folders = (
        report.model_copy(update={"config": {"data": {"name": "imagefolder", "root": name}}})
        for report, name in ((run, "a"), (then, "b"))
    )
    assert not against(*folders).passes


def test_a_baseline_and_its_bounds_come_together(make: Callable[..., RunReport]) -> None:
    run = make("run", "dense", "quick")
    file = Path(run.folder) / "report.json"
    assert baseline_of(None, {"max_slowdown": None}) is None
    assert baseline_of(file, {"max_slowdown": 1.1, "max_regression": 0.005}) == Baseline(run, BOTH)
    with pytest.raises(InputError, match="--baseline alone bounds nothing"):
        baseline_of(file, {"max_slowdown": None})
    with pytest.raises(InputError, match="as --baseline"):
        baseline_of(None, {"max_slowdown": 1.1})
    with pytest.raises(InputError, match="--max-slowdown 0 is refused"):
        baseline_of(file, {"max_slowdown": 0})
    with pytest.raises(InputError, match="is no file"):
        baseline_of(Path(run.folder), {"max_slowdown": 1.1})
