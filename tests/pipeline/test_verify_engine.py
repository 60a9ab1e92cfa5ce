"""An engine held to its ONNX file and evaluated, with ONNX Runtime in the place of the GPU; none ran on a real one."""

from pathlib import Path

import numpy as np
import pytest

from pipeline import tensorrt_runner
from pipeline.config import DataConfig, EvaluateConfig, ExportConfig
from pipeline.errors import InputError, StageError
from pipeline.evaluate import evaluate
from pipeline.exported import EngineRecord, OnnxRecord
from pipeline.onnxruntime_runner import OnnxRunner
from pipeline.runners import Images, Logits
from pipeline.store import Store
from pipeline.tensorrt_runner import EngineTensors
from pipeline.verify_engine import verify_engine

DATA, SEED = DataConfig(), 3
SMALLEST, LARGEST = 2, 5


class StandIn:
    """Runs the ONNX file that lies where the engine should, in the profile's batches, and adds `error` to the first logit."""

    runtime = "tensorrt"
    error = 0.0

    def __init__(self, path: Path, input_name: str, output_name: str) -> None:
        self._runner = OnnxRunner(path, input_name, output_name, 1)

    def __call__(self, images: Images) -> Logits:
        assert SMALLEST <= len(images) <= LARGEST
        logits = self._runner(images)
        logits[:, 0] += self.error
        return logits


@pytest.fixture
def engine(onnx_record: OnnxRecord, monkeypatch: pytest.MonkeyPatch) -> EngineRecord:
    names = onnx_record.input_name, onnx_record.output_name
    monkeypatch.setattr(tensorrt_runner, "TensorRTRunner", StandIn)
    monkeypatch.setattr(tensorrt_runner, "engine_tensors", lambda _: EngineTensors(*names, onnx_record.input_shape))
    profile = (SMALLEST, SMALLEST, LARGEST)
    return EngineRecord(parents=(onnx_record.digest,), status="built", file=onnx_record.file, gpu="a GPU", profile=profile)


def test_an_engine_that_follows_its_file_is_called_executed(engine: EngineRecord, onnx_record: OnnxRecord, store: Store) -> None:
    found = verify_engine(engine, onnx_record, DATA, SEED, ExportConfig(max_batch=16), store)
    assert (engine.status, found.status) == ("built", "executed")
    assert found.parity and found.parity.top1_agreement == 1.0 and found.parity.max_relative_diff < 1e-5
    assert found.parity.batch_sizes == (1, 3, LARGEST)


def test_an_engine_that_does_not_is_refused(
    engine: EngineRecord, onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StandIn, "error", 1e3)
    with pytest.raises(StageError, match=r"the fp32 engine differs from its ONNX file .*; do not ship it"):
        verify_engine(engine, onnx_record, DATA, SEED, ExportConfig(), store)


def test_the_accuracy_of_an_engine_is_its_own(
    engine: EngineRecord, onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_engine, of_file = (evaluate(each, "validation", DATA, SEED, EvaluateConfig(), store) for each in (engine, onnx_record))
    assert (of_engine.runtime, of_engine.subject) == ("tensorrt", engine.digest)
    assert (of_engine.top1, of_engine.recall, of_engine.predictions) == (of_file.top1, of_file.recall, of_file.predictions)
    monkeypatch.setattr(StandIn, "error", 1e3)
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
        found = tensorrt_runner.WithinProfile(run, SMALLEST, LARGEST)(images[:count])
        np.testing.assert_array_equal(found, images[:count] * 2)
