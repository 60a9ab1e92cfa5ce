"""Many small files in bounded time."""

from pathlib import Path

import numpy as np
import pytest

from pipeline import layer_timing
from pipeline.latency_round import Round
from pipeline.layer_kinds import LayerKind
from pipeline.layer_models import INPUT, OUTPUT, identity_model, input_shape, layer_model
from pipeline.layer_timing import MOST_RUNS, PASSES, PILOT_RUNS, TimedFile, medians
from pipeline.runners import Timings


def named(name: str) -> TimedFile:
    return TimedFile(Path(name), INPUT, OUTPUT, (1,))


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[Round]:
    """Every round asked for; a run of a file takes as many milliseconds as its name says, and 1, 2, 3 more by pass."""
    asked: list[Round] = []

    def answer(round_: Round, names: list[str]) -> list[tuple[Timings, ...]]:
        asked.append(round_)
        slower = len(asked) - 1
        return [(Timings(np.full(turn.runs[0], float(turn.path) + slower), None),) for turn in round_.turns]

    monkeypatch.setattr(layer_timing, "run_round", answer)
    return asked


def test_a_file_runs_for_its_time_and_never_more_often_than_need_be(rounds: list[Round]) -> None:
    found = medians([named("0.001"), named("0.1"), named("4"), named("500")], 8, 1, "test")
    pilot, *passes = [[turn.runs[0] for turn in each.turns] for each in rounds]
    assert pilot == [PILOT_RUNS] * 4
    assert passes == [[MOST_RUNS, 100, 2, 1]] * PASSES
    assert {turn.batch_sizes for each in rounds for turn in each.turns} == {(8,)}
    assert found[2] == [5.0, 6.0, 7.0]


def test_many_files_share_the_time(rounds: list[Round], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_timing, "ALL_SECONDS", 0.03)
    medians([named("0.1")] * 10, 1, 1, "test")
    assert rounds[-1].turns[0].runs == (10,)


def test_a_large_layer_takes_longer_than_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_timing, "POINT_SECONDS", 0.003)
    kind = LayerKind(operator="linear", size=(64,))
    for name, content in {"nothing": identity_model(), "large": layer_model(kind, 256, 256)}.items():
        (tmp_path / name).write_bytes(content)
    shapes = {"nothing": (1,), "large": input_shape(kind, 256, 256)}
    files = [TimedFile(tmp_path / name, INPUT, OUTPUT, shape) for name, shape in shapes.items()]
    nothing, large = medians(files, 1, 1, "test")
    assert len(nothing) == len(large) == PASSES
    assert 0 < min(nothing) < min(large)
