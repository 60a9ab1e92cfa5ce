import importlib.util
import json
import logging
import math
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, recall_score, top_k_accuracy_score

from pipeline import evaluate as stage
from pipeline.config import DataConfig, EvaluateConfig
from pipeline.data import Data, load_data
from pipeline.errors import InputError, StageError
from pipeline.evaluate import evaluate
from pipeline.exported import OnnxRecord
from pipeline.latency import Runtime
from pipeline.models import load_model
from pipeline.records import ModelRecord
from pipeline.runners import Images, Logits
from pipeline.store import Store

DATA, SEED = DataConfig(), 3


def fake_runner(monkeypatch: pytest.MonkeyPatch, run: Callable[[Images], Logits]) -> None:
    class Fake:
        runtime = "torch"

        def __call__(self, images: Images) -> Logits:
            return run(images)

    monkeypatch.setattr(stage, "TorchRunner", lambda *_: Fake())
    monkeypatch.setattr(stage, "running", lambda *_: nullcontext(Fake()))


def fix_logits(monkeypatch: pytest.MonkeyPatch, value: float, classes: int = 10) -> None:
    """Every model answers with the same logit for all classes."""
    fake_runner(monkeypatch, lambda images: np.full((len(images), classes), value, np.float32))


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("batch_size", [1000, 7])
def test_against_scikit_learn(split: str, batch_size: int, dense_record: ModelRecord, store: Store) -> None:
    data = load_data(DATA, SEED)
    images, labels = data.train.load(data.validation_indices) if split == "validation" else data.test.load(range(len(data.test)))
    with torch.no_grad():
        logits = load_model(dense_record, store)(images)
    report = evaluate(dense_record, split, DATA, SEED, EvaluateConfig(batch_size=batch_size), store)
    predicted = logits.argmax(1)
    assert 0 < report.top1 < 1  # else the comparisons below say little
    assert report.samples == len(labels)
    assert report.top1 == pytest.approx(accuracy_score(labels, predicted))
    assert report.top5 == pytest.approx(top_k_accuracy_score(labels, logits.numpy(), k=5))
    assert report.recall == pytest.approx(recall_score(labels, predicted, average=None, zero_division=0))
    assert report.predictions
    saved = np.load(store.path(report.predictions), allow_pickle=False)
    assert saved.dtype == np.int32
    np.testing.assert_array_equal(saved, torch.stack((predicted, labels)))
    assert store.intact(report)


def test_the_onnx_file_scores_as_the_model_does(dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store) -> None:
    of_torch = evaluate(dense_record, "test", DATA, SEED, EvaluateConfig(), store)
    of_onnx = evaluate(onnx_record, "test", DATA, SEED, EvaluateConfig(), store)
    assert (of_torch.runtime, of_onnx.runtime) == ("torch", "onnxruntime")
    assert (of_torch.top1, of_torch.top5, of_torch.recall) == (of_onnx.top1, of_onnx.top5, of_onnx.recall)
    assert of_torch.parents == (of_torch.subject,) == (dense_record.digest,)
    assert of_onnx.parents == (of_onnx.subject,) == (onnx_record.digest,)


def test_another_runtime_finds_the_same(onnx_record: OnnxRecord, store: Store) -> None:
    if importlib.util.find_spec("openvino") is None:  # to import it here would report to Google Analytics
        pytest.skip("openvino is not installed")
    usual, other = (evaluate(onnx_record, "test", DATA, SEED, EvaluateConfig(), store, runtime) for runtime in (None, "openvino"))
    assert (usual.runtime, other.runtime) == ("onnxruntime", "openvino")
    assert (usual.top1, usual.recall, usual.predictions) == (other.top1, other.recall, other.predictions)
    assert usual.digest != other.digest


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_the_usual_runtime_may_be_named(
    runtime: Runtime, dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store
) -> None:
    subject = dense_record if runtime == "torch" else onnx_record
    named, usual = (evaluate(subject, "test", DATA, SEED, EvaluateConfig(), store, given) for given in (runtime, None))
    assert named.digest == usual.digest


@pytest.mark.parametrize(
    ("runtime", "of_model", "message"),
    [
        ("onnxruntime", True, "onnxruntime does not run a torch model; torch runs models"),
        ("torch", False, "torch does not run an ONNX file; torch runs models"),
        ("tensorrt", False, "tensorrt does not run an ONNX file; torch runs models, tensorrt engines"),
    ],
)
def test_a_runtime_that_does_not_fit_is_refused(
    runtime: Runtime, of_model: bool, message: str, dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(dense_record if of_model else onnx_record, "test", DATA, SEED, EvaluateConfig(), store, runtime)


def test_equal_inputs_give_equal_digests(dense_record: ModelRecord, store: Store) -> None:
    first, second = (evaluate(dense_record, "test", DATA, SEED, EvaluateConfig(), store) for _ in range(2))
    assert first.digest == second.digest
    assert first.seconds > 0


def only_classes(data: Data, count: int) -> Data:
    """The same images, of which the validation split keeps those of the first `count` classes."""
    kept = tuple(index for index in data.validation_indices if data.train.labels[index] < count)
    return Data(**{**vars(data), "validation_indices": kept})


def test_a_class_without_images_has_recall_zero_and_a_warning(
    dense_record: ModelRecord, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = only_classes(load_data(DATA, SEED), 8)
    monkeypatch.setattr(stage, "load_data", lambda *_: data)
    with caplog.at_level(logging.WARNING, "pipeline"):
        report = evaluate(dense_record, "validation", DATA, SEED, EvaluateConfig(), store)
    assert report.recall[8:] == (0.0, 0.0)
    assert all(math.isfinite(value) for value in json.loads(report.model_dump_json())["recall"])
    assert "no images of 8, 9" in caplog.text


def test_no_top5_below_ten_classes(dense_record: ModelRecord, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = only_classes(load_data(DATA, SEED), 9)
    nine = Data(**{**vars(data), "class_names": data.class_names[:9]})
    monkeypatch.setattr(stage, "load_data", lambda *_: nine)
    fix_logits(monkeypatch, 0.0, classes=9)
    report = evaluate(dense_record, "validation", DATA, SEED, EvaluateConfig(), store)
    assert report.top5 is None
    assert report.recall == (1.0,) + (0.0,) * 8  # of equal logits the first wins


@pytest.mark.parametrize(
    ("precision", "remedy"), [("fp32", "train it anew"), ("int8-cpu", "leave int8-cpu out of quantize.precisions")]
)
def test_logits_that_are_not_finite_are_refused(
    precision: str, remedy: str, onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix_logits(monkeypatch, math.nan)
    with pytest.raises(StageError, match=f"not finite on test images; {remedy}"):
        evaluate(onnx_record.model_copy(update={"precision": precision}), "test", DATA, SEED, EvaluateConfig(), store)


def test_another_number_of_classes_is_refused(dense_record: ModelRecord, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fix_logits(monkeypatch, 0.0, classes=7)
    with pytest.raises(InputError, match="the model has 7 classes, digits has 10"):
        evaluate(dense_record, "test", DATA, SEED, EvaluateConfig(), store)


def test_an_empty_split_is_refused(dense_record: ModelRecord, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = only_classes(load_data(DATA, SEED), 0)
    monkeypatch.setattr(stage, "load_data", lambda *_: data)
    with pytest.raises(InputError, match="the validation split of digits has no images"):
        evaluate(dense_record, "validation", DATA, SEED, EvaluateConfig(), store)


def test_labels_are_those_of_the_images(dense_record: ModelRecord, store: Store) -> None:
    """A model that knows the answers is right everywhere: indices, images and labels belong together."""
    data = load_data(DATA, SEED)
    known = {image.numpy().tobytes(): int(label) for image, label in zip(*data.test.load(range(100)), strict=True)}

    def oracle(images: Images) -> Logits:
        return np.eye(10, dtype=np.float32)[[known[image.tobytes()] for image in images]]

    hundred = Data(**{**vars(data), "test": data.train, "train": data.test, "validation_indices": tuple(range(100))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "load_data", lambda *_: hundred)
        fake_runner(patch, oracle)
        report = evaluate(dense_record, "validation", DATA, SEED, EvaluateConfig(batch_size=13), store)
    assert report.top1 == 1.0
