"""A verdict on made-up runs: every bound, and noise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.bounds import interval_outcome
from pipeline.config import GateConfig
from pipeline.errors import InputError
from pipeline.gate import GateResult, gate, gate_config
from pipeline.measurements import RunReport
from pipeline.recommend import recommend

from .reporting.conftest import ROWS, Row
from .reporting.finished import finished

LENIENT = GateConfig(max_accuracy_drop=1)
QUICKER = "tolerance-0.4"  # 1.90 to 2.10 times as fast, 5 points below dense


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """Candidates that are slower, not faster, quick and quicker than dense, each with an int8 file."""
    return finished(tmp_path_factory.mktemp("runs") / "digits", *ROWS, int8=True)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., RunReport]:
    """make(name, *rows): a run of its own."""

    def make(name: str, *rows: str | Row, **changes: Any) -> RunReport:
        return finished(tmp_path / name, *rows, **changes)

    return make


def outcomes(result: GateResult) -> dict[str, str]:
    return {check.name: check.outcome for check in result.checks}


def timed(low: float, high: float) -> Row:
    """A candidate with this interval of its speed-up."""
    return ROWS["quick"]._replace(latency={1: (0.4, (low * high) ** 0.5, low, high), 8: (1.8, 1.3, 1.2, 1.4)})


BOUNDS = st.builds(
    GateConfig,
    max_accuracy_drop=st.floats(0, 0.1),
    min_speedup=st.floats(1, 4),
    max_p99_ms=st.none() | st.floats(0.1, 1),
    max_bytes=st.none() | st.integers(1000, 4000),
    max_parity=st.none() | st.floats(1e-8, 1e-5),
)


@settings(deadline=None)
@given(bounds=BOUNDS, batch_size=st.sampled_from((None, 1, 8)))
def test_gate_and_recommendation_never_disagree(report: RunReport, bounds: GateConfig, batch_size: int | None) -> None:
    result = gate(report, bounds, batch_size=batch_size)
    wanted = recommend(report.candidates, report.latency, bounds, batch_size)
    assert result.recommendation == wanted
    assert result.passes == bool(wanted.candidate)
    if wanted.candidate:
        assert (result.candidate, result.precision, result.runtime) == (wanted.candidate, wanted.precision, wanted.runtime)


@given(ends=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)).map(sorted), least=st.floats(0.1, 10), widest=st.floats(0.01, 1))
def test_only_an_interval_around_the_bound_is_noise(ends: list[float], least: float, widest: float) -> None:
    low, high = ends
    outcome = interval_outcome(low, high, least, widest)
    assert (outcome == "passed") == (low >= least)
    if outcome == "too noisy to tell":
        assert low < least <= high
        assert high / low - 1 > widest
    if high < least:
        assert outcome == "refused"


@pytest.mark.parametrize(
    ("interval", "least", "outcome", "objection"),
    [
        ((1.19, 1.23), 1.2, "refused", "its speed-up 1.21 [1.19, 1.23] does not surely reach 1.2"),
        ((1.1, 1.5), 1.2, "too noisy to tell", "too noisy to tell whether its speed-up 1.28 [1.10, 1.50] reaches 1.2"),
        ((0.9, 1.3), 1.0, "too noisy to tell", "too noisy to tell: 1.08 [0.90, 1.30]"),
        ((0.9, 1.15), 1.2, "refused", "its speed-up 1.02 [0.90, 1.15] does not reach 1.2"),
        ((0.98, 1.02), 1.0, "refused", "not faster: 1.00 [0.98, 1.02]"),
        ((1.0, 1.02), 1.0, "refused", "not faster: 1.01 [1.00, 1.02]"),
        ((0.7, 0.95), 1.0, "refused", "slower: 0.82 [0.70, 0.95]"),
        ((1.2, 9.0), 1.2, "passed", ""),
    ],
)
def test_noise_is_told_from_slowness(
    make: Callable[..., RunReport], interval: tuple[float, float], least: float, outcome: str, objection: str
) -> None:
    result = gate(make("run", "dense", timed(*interval)), GateConfig(max_accuracy_drop=1, min_speedup=least))
    assert (result.checks[0].outcome, result.checks[0].objection) == (outcome, objection)
    assert ("measure again on a quieter machine" in result.sentence) == (outcome == "too noisy to tell")


@pytest.mark.parametrize(
    ("bounds", "name", "found", "allowed"),
    [
        ({"max_accuracy_drop": 0.04}, "accuracy", "5.00 points lost", "at most 4 points lost"),
        ({"min_speedup": 2.2}, "speed-up", "2.00 [1.90, 2.10]", "at least 2.2 at the lower end"),
        ({"max_p99_ms": 0.3}, "p99 latency", "0.375 ms", "at most 0.3 ms"),
        ({"max_bytes": 100}, "file size", None, "at most 100 bytes"),
        ({"max_parity": 2e-7}, "parity", "3.0e-07", "at most 2e-07"),
    ],
)
def test_every_bound_can_refuse_alone(
    report: RunReport, bounds: dict[str, float], name: str, found: str | None, allowed: str
) -> None:
    strict = GateConfig.model_validate({"max_accuracy_drop": 1} | bounds)
    result = gate(report, strict, QUICKER, "fp32")
    assert [check.name for check in result.checks if check.outcome != "passed"] == [name]
    check = next(check for check in result.checks if check.name == name)
    size = report.candidates[-1].onnx.file.size_bytes
    assert (check.outcome, check.found, check.allowed) == ("refused", found or f"{size} bytes", allowed)
    assert gate(report, LENIENT, QUICKER, "fp32").passes


def test_what_is_just_allowed_passes(make: Callable[..., RunReport]) -> None:
    run = make("run", "dense", ROWS["quick"]._replace(top1=ROWS["dense"].top1 - 0.01))
    assert run.candidates[0].onnx_validation.top1 - run.candidates[1].onnx_validation.top1 > 0.01  # by rounding alone
    exact = {"min_speedup": 1.2, "max_p99_ms": 1.5 * 0.4, "max_bytes": run.candidates[1].onnx.file.size_bytes, "max_parity": 3e-7}
    assert gate(run, GateConfig.model_validate({"max_accuracy_drop": 0.01} | exact)).passes


def test_without_a_name_the_best_candidate_is_judged_and_named(report: RunReport) -> None:
    result = gate(report, GateConfig(max_accuracy_drop=0.02))
    assert (result.candidate, result.precision) == ("tolerance-0.2", "int8-cpu")
    assert result.sentence == "digits passes the gate with tolerance-0.2 in int8-cpu"
    assert outcomes(result) == {"speed-up": "passed", "speed-up over its fp32 file": "passed", "accuracy": "passed"}


def test_where_none_passes_the_closest_is_judged(report: RunReport) -> None:
    result = gate(report, GateConfig(max_accuracy_drop=0.02, min_speedup=2))
    assert (result.passes, result.candidate, result.precision) == (False, QUICKER, "int8-cpu")
    assert result.sentence == (
        f"digits does not pass the gate with {QUICKER} in int8-cpu: loses 5.50 points on the validation images, 2 are allowed"
    )


def test_a_choice_of_files_leaves_the_recommendation_as_it_is(report: RunReport) -> None:
    bounds = GateConfig(max_accuracy_drop=0.02)
    for choice in ({"candidate": "tolerance-0.1"}, {"precision": "fp32"}, {"candidate": "dense"}):
        result = gate(report, bounds, **choice)
        assert choice.items() <= {"candidate": result.candidate, "precision": result.precision}.items()
        assert result.recommendation.candidate == "tolerance-0.2"
    assert gate(report, bounds, precision="fp32").passes
    assert not gate(report, bounds, candidate="tolerance-0.1", precision="fp32").passes


def test_the_batch_size_decides(make: Callable[..., RunReport]) -> None:
    run = make("run", "dense", timed(0.9, 0.95))
    assert not gate(run, LENIENT).passes
    result = gate(run, LENIENT, batch_size=8)
    assert (result.passes, result.batch_size) == (True, 8)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"candidate": "macs-0.5"}, "digits has no candidate macs-0.5; it has dense, tolerance-0.05"),
        ({"candidate": "dense", "precision": "fp32"}, "digits has not measured dense fp32 beside the dense fp32 file"),
        ({"precision": "fp16"}, "digits has not measured fp16 beside the dense fp32 file; measured were: tolerance-0.05 fp32"),
        ({"batch_size": 4}, "digits was not measured at batch 4; choose with --batch one of 1, 8"),
    ],
)
def test_a_file_that_was_not_measured_is_bad_input(report: RunReport, choice: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        gate(report, LENIENT, **choice)
    assert str(error.value).startswith(message)


def test_bounds_not_given_are_the_runs_own(report: RunReport) -> None:
    own = report.model_copy(update={"config": report.config | {"gate": {"max_accuracy_drop": 0.03, "max_bytes": 500}}})
    found = gate_config(own, {"max_bytes": 900, "min_speedup": None})
    assert found == GateConfig(max_accuracy_drop=0.03, max_bytes=900)
    with pytest.raises(InputError, match=r"--max-accuracy-drop 2\.0 is refused"):
        gate_config(own, {"max_accuracy_drop": 2.0})
    with pytest.raises(InputError, match="unknown key surprise"):
        gate_config(report.model_copy(update={"config": {"surprise": 1}}), {})


def test_where_engines_are_measured_their_own_accuracy_decides(report: RunReport) -> None:
    series = tuple(each.model_copy(update={"runtime": "tensorrt"}) for each in report.latency.series)
    latency = report.latency.model_copy(update={"series": series})

    def accuracy(drop: float) -> str:
        """Every engine loses so much against its file, which itself loses 5 points against dense."""
        candidates = tuple(
            each.model_copy(
                update={"engine_validation": each.onnx_validation.model_copy(update={"top1": each.onnx_validation.top1 - drop})}
            )
            for each in report.candidates
        )
        run = report.model_copy(update={"latency": latency, "candidates": candidates})
        return outcomes(gate(run, GateConfig(max_accuracy_drop=0.06), QUICKER, "fp32"))["accuracy"]

    assert (accuracy(0.0), accuracy(0.02)) == ("passed", "refused")
