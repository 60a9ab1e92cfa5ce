import hashlib
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import pipeline
from pipeline import export as stage
from pipeline.config import DataConfig, ExportConfig
from pipeline.data import load_data
from pipeline.errors import StageError
from pipeline.export import export
from pipeline.exported import OnnxRecord
from pipeline.models import load_model
from pipeline.records import ModelRecord, Preprocessing
from pipeline.runner_process import running
from pipeline.runners import Images, Logits, open_file
from pipeline.store import Store

DATA, SEED, ROOT = DataConfig(), 3, Path(pipeline.__file__).parents[1]


class FixedBatch(nn.Module):
    """Knows that there are two images; the exporter accepts that silently, with a fixed output."""

    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, -1)[:, :10]


class ViewedBatch(nn.Module):
    """Likewise, but the exporter notices."""

    def forward(self, images: Tensor) -> Tensor:
        return images.view(2, -1)[:, :10] + images.flatten(1)[:, :10]


def test_the_record_says_what_the_file_is(dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store) -> None:
    proto = onnx.load(store.path(onnx_record.file))
    graph = proto.graph
    data = load_data(DATA, SEED)
    assert [value.name for value in graph.input] == [onnx_record.input_name]
    assert [value.name for value in graph.output] == [onnx_record.output_name]
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in (*graph.input, *graph.output)
    ]
    assert shapes == [["batch", *onnx_record.input_shape], ["batch", onnx_record.num_classes]]
    assert onnx_record.status == "verified"
    assert onnx_record.parents == (dense_record.digest,)
    assert onnx_record.preprocessing == data.preprocessing
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert Preprocessing.model_validate_json(metadata["preprocessing"]) == data.preprocessing
    assert onnx_record.parity.batch_sizes == (1, 3, 16)
    assert onnx_record.parity.samples == len(data.validation_indices)
    assert onnx_record.parity.top1_agreement == 1.0
    assert 0 < onnx_record.parity.max_relative_diff < 1e-5
    assert store.intact(onnx_record)


def test_the_parity_figures_against_numpy(dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store) -> None:
    data = load_data(DATA, SEED)
    images, _ = data.train.load(data.validation_indices)
    with torch.no_grad():
        expected = load_model(dense_record, store)(images).numpy()
    found = open_file(store.path(onnx_record.file), "onnxruntime", "input", "logits")(images.numpy())
    # the same sums in other batches: equal up to the rounding that is measured
    assert onnx_record.parity.max_abs_diff == pytest.approx(abs(found - expected).max(), rel=0.9, abs=1e-6)
    ratio = onnx_record.parity.max_abs_diff / onnx_record.parity.max_relative_diff
    assert ratio == pytest.approx(abs(expected).max(), rel=1e-4)


def test_the_same_model_gives_the_same_bytes(dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store) -> None:
    second = export(dense_record, DATA, SEED, ExportConfig(), store)
    assert second.file == onnx_record.file


def test_another_process_writes_the_same_bytes(dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store) -> None:
    script = (
        "import sys, pathlib, pipeline.export as e, pipeline.store as s, pipeline.config as c, pipeline.records as r\n"
        "model = r.ModelRecord.model_validate_json(sys.argv[1])\n"
        "print(e.export(model, c.DataConfig(), 3, c.ExportConfig(), s.Store(pathlib.Path(sys.argv[2]))).file.sha256)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "12345"}
    command = [sys.executable, "-c", script, dense_record.model_dump_json(), str(store.root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [onnx_record.file.sha256]  # and nothing else was printed


def test_no_path_of_this_machine_is_in_the_file(onnx_record: OnnxRecord, store: Store) -> None:
    content = store.path(onnx_record.file).read_bytes()
    for path in (ROOT, Path(sys.prefix), Path(torch.__file__).parent, Path.home()):
        assert str(path).encode() not in content
    assert b"stack_trace" not in content
    assert hashlib.sha256(content).hexdigest() == onnx_record.file.sha256


@pytest.mark.parametrize("opset", [18, 23])
def test_other_opsets(opset: int, dense_record: ModelRecord, store: Store) -> None:
    record = export(dense_record, DATA, SEED, ExportConfig(opset=opset), store)
    assert [entry.version for entry in onnx.load(store.path(record.file)).opset_import] == [opset] == [record.opset]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (FixedBatch(), "logits has first dimension 2, expected a free batch"),
        (ViewedBatch(), "cannot export the model with a free batch size"),
    ],
)
def test_a_model_with_a_fixed_batch_is_refused(
    model: nn.Module, message: str, dense_record: ModelRecord, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "load_model", lambda *_: model.eval())
    with pytest.raises(StageError, match=message):
        export(dense_record, DATA, SEED, ExportConfig(), store)
    assert not list(store.root.glob("*.onnx"))


def test_a_difference_beyond_the_limit_is_refused_and_no_file_stays(dense_record: ModelRecord, store: Store) -> None:
    with pytest.raises(StageError, match=r"relative difference \S+ \(limit 1e-12\), same top-1 on 1\.0000 of them"):
        export(dense_record, DATA, SEED, ExportConfig(max_relative_diff=1e-12), store)
    assert not list(store.root.glob("*.onnx"))


@pytest.mark.parametrize(("factor", "message"), [(float("nan"), "relative difference nan"), (0.0, "same top-1 on 0")])
def test_other_logits_are_refused(
    factor: float, message: str, dense_record: ModelRecord, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def altered(*arguments: Any) -> Iterator[Callable[[Images], Logits]]:
        with running(*arguments) as runner:
            yield lambda images: runner(images) * np.float32(factor)

    monkeypatch.setattr(stage, "running", altered)
    with pytest.raises(StageError, match=message):
        export(dense_record, DATA, SEED, ExportConfig(max_relative_diff=1), store)


def test_fewer_images_than_the_largest_batch(dense_record: ModelRecord, store: Store) -> None:
    record = export(dense_record, DATA, SEED, ExportConfig(samples=16, max_batch=64), store)
    assert record.parity.batch_sizes == (1, 3, 16)
    assert record.parity.samples == 16


def test_two_gigabytes_are_refused(dense_record: ModelRecord, store: Store) -> None:
    weights = dense_record.weights.model_copy(update={"size_bytes": 2**31})
    with pytest.raises(StageError, match="less than 2 GB"):
        export(dense_record.model_copy(update={"weights": weights}), DATA, SEED, ExportConfig(), store)


def test_nothing_outside_is_touched(
    dense_record: ModelRecord,
    store: Store,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def world() -> tuple[object, ...]:
        levels = {name: logging.getLogger(name).level for name in stage.TALKATIVE}
        return (
            levels,
            list(warnings.filters),
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            sorted(Path().iterdir()),
        )

    export(dense_record, DATA, SEED, ExportConfig(), store)  # imports happen here
    capfd.readouterr()
    before = world()
    with caplog.at_level(logging.INFO):
        export(dense_record, DATA, SEED, ExportConfig(), store)
    assert world() == before
    assert capfd.readouterr() == ("", "")
    assert [record.name for record in caplog.records if record.levelno >= logging.INFO] == []
