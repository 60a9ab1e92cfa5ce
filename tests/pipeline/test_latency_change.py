import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.latency import LatencyReport, LatencySeries, Machine
from pipeline.latency_change import changes, read_latency, refuse_incomparable

from .. import json_changes

HERE = Machine(cpu="A", cores=2, system="s", versions={"onnxruntime": "1"}, load_average=0, busy_cores=0)


def series(name: str, p50: float, low: float, high: float, batch_size: int = 1) -> LatencySeries:
    return LatencySeries(
        candidate=name,
        batch_size=batch_size,
        runs=50,
        p50_ms=p50,
        p50_low_ms=low,
        p50_high_ms=high,
        p90_ms=p50,
        p95_ms=p50,
        p99_ms=p50,
        mean_ms=p50,
        throughput=1 / p50,
        speedup=1,
        speedup_low=1,
        speedup_high=1,
        verdict="reference",
    )


def report(*found: LatencySeries) -> LatencyReport:
    return LatencyReport(machine=HERE, threads=1, rounds=5, series=found)


def test_files_are_found_again_by_name_and_batch_size() -> None:
    then = report(series("a", 4, 3.9, 4.1), series("a", 8, 7, 9, batch_size=2), series("gone", 1, 1, 1))
    now = report(series("new", 1, 1, 1), series("a", 2, 1.9, 2.1), series("a", 8, 7, 9, batch_size=2))
    found = changes(then, now)
    assert [(each.candidate, each.batch_size, each.then_ms, each.now_ms) for each in found] == [("a", 1, 4, 2), ("a", 2, 8, 8)]
    assert [each.verdict for each in found] == ["faster", "no difference shown"]
    assert (found[0].speedup, found[0].low, found[0].high) == (2, 3.9 / 2.1, 4.1 / 1.9)


TIMES = st.tuples(*[st.floats(0.01, 100)] * 3).map(sorted)


@given(then=TIMES, now=TIMES)
def test_going_back_in_time_turns_the_verdict_round(then: list[float], now: list[float]) -> None:
    one, other = (report(series("a", middle, low, high)) for low, middle, high in (then, now))
    (there,), (back,) = changes(one, other), changes(other, one)
    assert there.low <= there.speedup * (1 + 1e-12)
    assert there.speedup <= there.high * (1 + 1e-12)
    assert back.low == pytest.approx(1 / there.high)
    opposite = {"faster": "slower", "slower": "faster", "no difference shown": "no difference shown"}
    if abs(there.low - 1.05) > 1e-9 and abs(there.high - 1 / 1.05) > 1e-9:  # on the edge rounding decides
        assert back.verdict == opposite[there.verdict]


def test_what_a_machine_does_at_another_time_is_no_difference() -> None:
    """Intervals 4 % apart."""
    (found,) = changes(report(series("a", 1.04, 1.04, 1.04)), report(series("a", 1, 1, 1)))
    assert (found.low, found.verdict) == (1.04, "no difference shown")


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(report(series("a", 1, 1, 1)).model_dump_json())
    assert read_latency(tmp_path / "report.json") == report(series("a", 1, 1, 1))


@pytest.mark.parametrize("content", ["", "[]", '{"machine": {}}', "{"])
def test_what_is_no_report_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(InputError, match=r"other\.json is no latency report .*; give a file that fair-pruner bench --json"):
        read_latency(tmp_path / "other.json")
    with pytest.raises(InputError, match=r"none\.json does not exist"):
        read_latency(tmp_path / "none.json")


def test_only_what_is_comparable_is_compared() -> None:
    earlier, asked = report(series("a", 1, 1, 1)), frozenset({("a", "onnxruntime", 1), ("b", "onnxruntime", 1)})
    refuse_incomparable(earlier, HERE, 1, asked)
    with pytest.raises(InputError, match="cpu is A there and B here; measure both here"):
        refuse_incomparable(earlier, HERE.model_copy(update={"cpu": "B"}), 1, asked)
    with pytest.raises(InputError, match="measured with 1 threads, --threads is 2; take as many"):
        refuse_incomparable(earlier, HERE, 2, asked)
    with pytest.raises(InputError, match="measured a in onnxruntime at batch 1, and nothing of that is asked for now"):
        refuse_incomparable(earlier, HERE, 1, frozenset({("a", "onnxruntime", 8)}))


SAVED = json.loads(report(series("a", 4, 3.9, 4.1), series("b", 8, 7, 9)).model_dump_json())


@settings(max_examples=200, deadline=None)
@example(made=[(("series", 0, "p50_low_ms"), 0)])
@example(made=[(("series", 0, "p50_high_ms"), float("nan"))])
@given(made=json_changes.changes(SAVED))
def test_whatever_is_changed_in_a_report_it_is_refused_or_can_be_compared(
    made: list[json_changes.Change], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "latency.json"
    file.write_text(json.dumps(json_changes.changed(SAVED, made)))
    try:
        earlier = read_latency(file)
        refuse_incomparable(earlier, HERE, 1, frozenset({("a", "onnxruntime", 1)}))
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        now = LatencyReport.model_validate(SAVED)
        assert all(each.verdict for each in (*changes(earlier, now), *changes(now, earlier)))
