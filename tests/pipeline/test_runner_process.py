import os
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.config import EvaluateConfig
from pipeline.errors import InputError, StageError
from pipeline.exported import OnnxRecord
from pipeline.runner_process import running
from pipeline.runners import open_file
from pipeline.store import Store
from pipeline.watched_process import Limits

NAMES = ("onnxruntime", "input", "logits")


@pytest.fixture
def path(exported: tuple[Store, OnnxRecord]) -> Path:
    store, record = exported
    return store.path(record.file)


def test_another_process_finds_the_same_logits(path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((5, 1, 8, 8)).astype(np.float32)
    expected = open_file(path, *NAMES)(images)
    with running(path, *NAMES, Limits()) as runner:
        assert runner.runtime == "onnxruntime"
        for batch in (images, images[:1]):
            np.testing.assert_array_equal(runner(batch), expected[: len(batch)])


def test_it_has_the_threads_that_it_is_told(path: Path) -> None:
    def threads(wanted: int) -> int:
        with running(path, *NAMES, Limits(), threads=wanted) as runner:
            return psutil.Process(runner._process._process.pid).num_threads()

    assert threads(3) == threads(1) + 2


def test_a_file_that_does_not_load_is_refused_as_ever(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no protobuf")
    with pytest.raises(InputError, match=r"does not load broken\.onnx"), running(broken, *NAMES, Limits()):
        pass


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_session_that_hangs_or_takes_too_much_is_ended(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(
            StageError, match=r"took more than 16 MiB and was ended; raise evaluate.max_memory_mb, or lower evaluate.batch"
        ),
        running(path, *NAMES, EvaluateConfig(max_memory_mb=16).limits("evaluate")),
    ):
        pass
    (tmp_path / "onnxruntime.py").write_text("import ctypes\nctypes.CDLL(None).pause()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    message = (
        rf"^loading {path.name} in onnxruntime took more than 1 s and was ended; raise evaluate.max_seconds, or lower evaluate"
    )
    with (
        pytest.raises(StageError, match=message),
        running(path, *NAMES, EvaluateConfig(max_seconds=1).limits("evaluate")),
    ):
        pass
