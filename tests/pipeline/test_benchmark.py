import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import benchmark as stage
from pipeline import machine
from pipeline.benchmark import benchmark, rotated
from pipeline.config import BenchmarkConfig
from pipeline.errors import InputError, StageError
from pipeline.exported import OnnxRecord
from pipeline.latency import Contestant
from pipeline.latency_process import TurnTimings
from pipeline.latency_round import Round
from pipeline.pinning import choose_cores
from pipeline.runners import Timings
from pipeline.store import Store
from pipeline.watched_process import Limits

SHORT = BenchmarkConfig(batch_sizes=(1, 2), rounds=5, min_runs=50, min_seconds=0.05, warmup_seconds=0.01)


@pytest.fixture(autouse=True)
def short_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LOOK_SECONDS", 0.05)


@pytest.fixture
def contestants(exported: tuple[Store, OnnxRecord]) -> tuple[Contestant, ...]:
    return tuple(Contestant.of(name, exported[1], macs) for name, macs in (("dense", 300), ("a", 100), ("b", 60)))


def test_a_whole_benchmark(
    contestants: tuple[Contestant, ...], exported: tuple[Store, OnnxRecord], capfd: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime

    report = benchmark(contestants, SHORT, exported[0])
    assert [(entry.candidate, entry.batch_size) for entry in report.series] == [
        (name, size) for size in (1, 2) for name in ("dense", "a", "b")
    ]
    for entry in report.series:
        assert entry.runs >= SHORT.min_runs
        assert entry.runs * entry.mean_ms >= SHORT.min_seconds * 1000 * (1 - 1e-9)
        assert 0 < entry.p50_ms <= entry.p90_ms <= entry.p95_ms <= entry.p99_ms
        assert entry.cpu_ms is not None
        assert entry.cpu_ms > 0
    assert [entry.verdict for entry in report.series[::3]] == ["reference", "reference"]
    assert report.parents == (exported[1].digest,) * 3
    assert report.threads == 1
    assert report.rounds >= 5
    assert report.pinned == choose_cores(1)
    assert report.machine.versions["onnxruntime"] == onnxruntime.__version__
    json.loads(report.model_dump_json())
    assert capfd.readouterr() == ("", "")


Asked = list[tuple[Round, list[str]]]


def fake_rounds(monkeypatch: pytest.MonkeyPatch, ms: float, pilot_ms: float | None = None) -> Asked:
    """Rounds in which every run takes `ms`, in the pilot `pilot_ms`; returns what is asked of them."""
    asked: Asked = []

    def run_round(round_: Round, names: list[str], limits: Limits) -> list[TurnTimings]:
        assert limits.section == "benchmark"
        asked.append((round_, names))
        each = (pilot_ms or ms) if len(asked) == 1 else ms
        return [tuple(Timings(np.full(runs, each), None) for runs in turn.runs) for turn in round_.turns]

    monkeypatch.setattr(stage, "run_round", run_round)
    return asked


def test_contestants_take_turns_in_an_order_that_changes(
    contestants: tuple[Contestant, ...], exported: tuple[Store, OnnxRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fake_rounds(monkeypatch, ms=1.0)
    benchmark(contestants, SHORT, exported[0])
    orders = ["".join(name.split()[0][0] for name in names) for _, names in asked]
    assert orders == ["dab", "dab", "bad", "abd", "dba", "bda"]  # the pilot, and five rounds
    assert {turn.runs for turn in asked[0][0].turns} == {(stage.PILOT_RUNS,) * 2}
    for round_, _ in asked:
        assert (round_.threads, round_.cores, round_.warmup_seconds) == (1, choose_cores(1), 0.01)
        assert {turn.batch_sizes for turn in round_.turns} == {(1, 2)}


@given(contestants=st.integers(1, 8), start=st.integers(0, 50))
def test_everybody_takes_every_place_equally_often(contestants: int, start: int) -> None:
    orders = [rotated(contestants, start * 2 + turn) for turn in range(2 * contestants)]
    for order in orders:
        assert sorted(order) == list(range(contestants))
    for place in zip(*orders, strict=True):
        assert sorted(place) == sorted([*range(contestants)] * 2)


@pytest.mark.parametrize(("ms", "runs"), [(1.0, 10), (0.125, 80), (100.0, 10)])
def test_runs_are_as_many_as_time_and_number_ask_for(
    ms: float, runs: int, contestants: tuple[Contestant, ...], exported: tuple[Store, OnnxRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fake_rounds(monkeypatch, ms)
    report = benchmark(contestants, SHORT, exported[0])
    assert len(asked) == 1 + 5
    assert {turn.runs for turn in asked[-1][0].turns} == {(runs, runs)}
    assert {series.runs for series in report.series} == {5 * runs}


def test_more_rounds_where_the_time_is_not_reached(
    contestants: tuple[Contestant, ...], exported: tuple[Store, OnnxRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pilot was on a busy machine: a run takes half of what it took."""
    asked = fake_rounds(monkeypatch, ms=0.5, pilot_ms=1.0)
    report = benchmark(contestants, SHORT, exported[0])
    assert len(asked) == 1 + 10
    assert report.rounds == 10
    assert {series.runs * series.mean_ms for series in report.series} == {50.0}


def test_throttling_during_the_measurement_is_counted(
    contestants: tuple[Contestant, ...], exported: tuple[Store, OnnxRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_rounds(monkeypatch, ms=1.0)
    counts = iter([7, 9])
    monkeypatch.setattr(stage, "throttle_count", lambda: next(counts))
    assert benchmark(contestants, SHORT, exported[0]).machine.throttled == 2
    monkeypatch.setattr(stage, "throttle_count", lambda: None)
    fake_rounds(monkeypatch, ms=1.0)
    assert benchmark(contestants, SHORT, exported[0]).machine.throttled is None


def test_pinning_is_a_choice(
    contestants: tuple[Contestant, ...], exported: tuple[Store, OnnxRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fake_rounds(monkeypatch, ms=1.0)
    report = benchmark(contestants, SHORT.model_copy(update={"pin": False}), exported[0])
    assert report.pinned == ()
    assert {round_.cores for round_, _ in asked} == {()}


def test_different_inputs_are_not_compared(contestants: tuple[Contestant, ...], exported: tuple[Store, OnnxRecord]) -> None:
    other = contestants[1].model_copy(update={"input_shape": (3, 8, 8)})
    with pytest.raises(InputError, match="one input shape"):
        benchmark((contestants[0], other), SHORT, exported[0])
    with pytest.raises(InputError, match="one input shape"):
        benchmark((), SHORT, exported[0])


def test_a_runtime_without_reference_is_refused_before_anything_runs(
    contestants: tuple[Contestant, ...], exported: tuple[Store, OnnxRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fake_rounds(monkeypatch, ms=1.0)
    other = contestants[1].model_copy(update={"runtime": "openvino", "precision": "fp16"})
    with pytest.raises(StageError, match="openvino has no file in fp32"):
        benchmark((contestants[0], other), SHORT, exported[0])
    assert not asked


def test_a_file_that_does_not_load_is_named(contestants: tuple[Contestant, ...], tmp_path: Path) -> None:
    store = Store(tmp_path)
    broken = contestants[1].model_copy(update={"file": store.put(b"no protobuf", ".onnx")})
    with pytest.raises(InputError, match=rf"does not load {broken.file.path}"):
        benchmark((broken,), SHORT, store)
