"""An engine held to its ONNX file and evaluated, with ONNX Runtime in the place of the GPU; none ran on a real one."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import DataConfig, EvaluateConfig, ExportConfig
from pipeline.engine_runner import WithinProfile
from pipeline.errors import InputError, StageError
from pipeline.evaluate import evaluate
from pipeline.exported import EngineRecord, OnnxRecord
from pipeline.runners import Images, Logits
from pipeline.store import Store
from pipeline.verify_engine import verify_engine

DATA, SEED = DataConfig(), 3
SMALLEST, LARGEST = 2, 5
on_posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


# in the process that would run TensorRT
STAND_IN = """
import ctypes, os, signal, sys, types
from pipeline.onnxruntime_runner import OnnxRunner

class StandIn:
    runtime = "tensorrt"

    def __init__(self, path, input_name, output_name):
        assert (input_name, output_name) == ("", "")
        self._runner = OnnxRunner(path, "input", "logits", 1)
        {opening}

    def __call__(self, images):
        assert {smallest} <= len(images) <= {largest}
        {running}
        logits = self._runner(images)
        logits[:, 0] += {error}
        return logits

sys.modules["pipeline.tensorrt_runner"] = types.SimpleNamespace(TensorRTRunner=StandIn)
"""
StandIn = Callable[..., None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Called, it lets new processes run the ONNX file that lies where the engine should, with `error` in the first logit.

    They refuse batches outside the profile, and execute `opening` when the file is loaded and `running` at each batch.
    """
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def put(error: float = 0.0, opening: str = "", running: str = "") -> None:
        values = {"smallest": SMALLEST, "largest": LARGEST, "error": error, "opening": opening, "running": running}
        (tmp_path / "sitecustomize.py").write_text(STAND_IN.format(**values))

    put()
    return put


@pytest.fixture
def engine(onnx_record: OnnxRecord, stand_in: StandIn) -> EngineRecord:
    profile = (SMALLEST, SMALLEST, LARGEST)
    return EngineRecord(parents=(onnx_record.digest,), status="built", file=onnx_record.file, gpu="a GPU", profile=profile)


def test_an_engine_that_follows_its_file_is_called_executed(engine: EngineRecord, onnx_record: OnnxRecord, store: Store) -> None:
    found = verify_engine(engine, onnx_record, DATA, SEED, ExportConfig(max_batch=16), store)
    assert (engine.status, found.status) == ("built", "executed")
    assert found.parity and found.parity.top1_agreement == 1.0 and found.parity.max_relative_diff < 1e-5
    assert found.parity.batch_sizes == (1, 3, LARGEST)


def test_an_engine_that_does_not_is_refused(
    engine: EngineRecord, onnx_record: OnnxRecord, store: Store, stand_in: StandIn
) -> None:
    stand_in(error=1e3)
    with pytest.raises(StageError, match=r"the fp32 engine differs from its ONNX file .*; do not ship it"):
        verify_engine(engine, onnx_record, DATA, SEED, ExportConfig(), store)


@on_posix
def test_an_engine_that_hangs_is_ended(engine: EngineRecord, onnx_record: OnnxRecord, store: Store, stand_in: StandIn) -> None:
    stand_in(opening="ctypes.CDLL(None).pause()")
    message = r"^loading the engine in tensorrt took more than 2 s and was ended; raise (\w+).max_seconds, or lower \1.\w+$"
    with pytest.raises(StageError, match=message):
        verify_engine(engine, onnx_record, DATA, SEED, ExportConfig(max_seconds=2), store)
    with pytest.raises(StageError, match=message):
        evaluate(engine, "validation", DATA, SEED, EvaluateConfig(max_seconds=2), store)


@on_posix
def test_an_engine_that_crashes_ends_nothing_else(
    engine: EngineRecord, onnx_record: OnnxRecord, store: Store, stand_in: StandIn
) -> None:
    stand_in(running="os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(StageError, match=r"^the process that was running the engine in tensorrt died of SIGSEGV"):
        verify_engine(engine, onnx_record, DATA, SEED, ExportConfig(), store)


def test_the_accuracy_of_an_engine_is_its_own(
    engine: EngineRecord, onnx_record: OnnxRecord, store: Store, stand_in: StandIn
) -> None:
    of_engine, of_file = (evaluate(each, "validation", DATA, SEED, EvaluateConfig(), store) for each in (engine, onnx_record))
    assert (of_engine.runtime, of_engine.subject) == ("tensorrt", engine.digest)
    assert (of_engine.top1, of_engine.recall, of_engine.predictions) == (of_file.top1, of_file.recall, of_file.predictions)
    stand_in(error=1e3)
    always_zero = evaluate(engine, "validation", DATA, SEED, EvaluateConfig(), store)
    assert always_zero.recall == (1.0, *(0.0,) * 9)


def test_an_engine_runs_in_tensorrt_alone(engine: EngineRecord, store: Store) -> None:
    with pytest.raises(InputError, match="onnxruntime does not run an engine"):
        evaluate(engine, "validation", DATA, SEED, EvaluateConfig(), store, "onnxruntime")


def test_an_engine_that_was_not_built_cannot_be_evaluated(store: Store) -> None:
    skipped = EngineRecord(status="skipped", reason="no TensorRT library is installed")
    with pytest.raises(InputError, match="there is no engine \\(no TensorRT library is installed\\)"):
        evaluate(skipped, "validation", DATA, SEED, EvaluateConfig(), store)


def test_without_a_gpu_the_engine_is_named(store: Store) -> None:
    file = store.put(b"ftrt" + bytes(100), ".engine")
    built = EngineRecord(status="built", file=file, profile=(1, 1, 1))
    with pytest.raises(InputError, match="no GPU on this machine: engines are built here, not executed"):
        evaluate(built, "validation", DATA, SEED, EvaluateConfig(), store)


def test_batches_come_back_whole_and_in_order() -> None:
    images = np.arange(13, dtype=np.float32)[:, None]

    def run(batch: Images) -> Logits:
        assert SMALLEST <= len(batch) <= LARGEST
        return batch * 2

    run.runtime = "tensorrt"  # type: ignore[attr-defined]
    for count in (1, SMALLEST, LARGEST, 6, 13):
        found = WithinProfile(run, SMALLEST, LARGEST)(images[:count])
        np.testing.assert_array_equal(found, images[:count] * 2)
