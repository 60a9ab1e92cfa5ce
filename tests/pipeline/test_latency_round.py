import gc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline import latency_round as stage
from pipeline.latency_round import Round, Turn, measure
from pipeline.runners import Images, Timings

TURN = Turn("a.onnx", "onnxruntime", "input", "logits", (1, 8, 8), (1, 4), (3, 2))


class Recorder:
    """Stands for a runner, whose runs take a millisecond; writes down every batch with whether garbage is collected."""

    runtime = "onnxruntime"

    def __init__(self, name: str, log: list[tuple[str, int, int, bool]]) -> None:
        self.name, self.log = name, log

    def __call__(self, images: Images) -> Images:
        raise AssertionError("a measurement wants no logits")

    def time(self, images: Images, runs: int) -> Timings:
        self.log.append((self.name, len(images), runs, gc.isenabled()))
        return Timings(np.ones(runs), None if self.name == "gpu" else np.full(runs, 0.5))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int, bool]]:
    log: list[tuple[str, int, int, bool]] = []
    monkeypatch.setattr(stage, "open_file", lambda path, *_: Recorder(Path(path).stem, log))
    return log


def measured(asked: Round) -> list[dict[str, object]]:
    return measure(asked, lambda _: None)


def test_turns_come_in_their_order_each_through_all_batch_sizes(log: list[tuple[str, int, int, bool]]) -> None:
    said: list[dict[str, object]] = []
    first, second = measure(Round((TURN, TURN._replace(path="b.onnx")), 1, (), 0.0), said.append)
    before = [("a", 1, 1)] * 3  # a short turn of the first file, which is not told
    turn = [("a", 1, 1), ("a", 1, 1), ("a", 1, 3), ("a", 4, 1), ("a", 4, 1), ("a", 4, 2)]
    assert [entry[:3] for entry in log] == before + turn + [("b", *rest) for _, *rest in turn]
    assert said == [{"started": 0}, {"started": 1}]
    assert first == second == {"wall_ms": [[1.0] * 3, [1.0] * 2], "cpu_ms": [[0.5] * 3, [0.5] * 2]}


def test_a_gpu_tells_no_cpu_time(log: list[tuple[str, int, int, bool]]) -> None:
    (turn,) = measured(Round((TURN._replace(path="gpu.engine"),), 1, (), 0.0))
    assert turn["cpu_ms"] == [None, None]


def test_no_garbage_is_collected_meanwhile(log: list[tuple[str, int, int, bool]]) -> None:
    assert gc.isenabled()
    measured(Round((TURN,), 1, (), 0.0))
    assert not any(enabled for *_, enabled in log)
    assert gc.isenabled()


def test_all_batch_sizes_share_the_warm_up(log: list[tuple[str, int, int, bool]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by 10 ms whenever it is looked at."""
    now = iter(np.arange(0, 100, 0.01))
    monkeypatch.setattr(stage.time, "perf_counter", lambda: next(now))
    measured(Round((TURN,), 1, (), 0.4))
    runs = [batch for _, batch, count, _ in log[3:] if count == 1]  # behind the short turn
    assert 18 <= runs.count(1) <= 22
    assert 18 <= runs.count(4) <= 22


def test_all_files_get_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Images] = []

    class Keeper(Recorder):
        def time(self, images: Images, runs: int) -> Timings:
            seen.append(images)
            return super().time(images, runs)

    monkeypatch.setattr(stage, "open_file", lambda *_: Keeper("a", []))
    measured(Round((TURN, TURN), 1, (), 0.0))
    ones = [images for images in seen if len(images) == 1]
    assert all(np.array_equal(first, second) for first, second in pairwise(ones))
    assert {(images.dtype, images.shape) for images in ones} == {(np.dtype(np.float32), (1, 1, 8, 8))}
