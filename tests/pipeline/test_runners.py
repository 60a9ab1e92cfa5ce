import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import InputError, StageError
from pipeline.models import device, load_model
from pipeline.records import ModelRecord, OnnxRecord
from pipeline.runners import OnnxRunner, TorchRunner, open_runner
from pipeline.store import Store


@pytest.fixture
def images() -> Tensor:
    return torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_both_runtimes_give_the_models_logits(
    images: Tensor, dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store
) -> None:
    with torch.no_grad():
        expected = load_model(dense_record, store)(images)
    torch.testing.assert_close(open_runner(dense_record, store)(images).cpu(), expected)
    torch.testing.assert_close(open_runner(onnx_record, store)(images), expected, rtol=1e-4, atol=1e-5)


def test_the_record_decides_the_runner(dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store) -> None:
    torch_runner, onnx_runner = open_runner(dense_record, store), open_runner(onnx_record, store)
    assert isinstance(torch_runner, TorchRunner)
    assert torch_runner.device == device()
    assert isinstance(onnx_runner, OnnxRunner)
    assert onnx_runner.session.get_providers() == ["CPUExecutionProvider"]


def test_torch_runs_in_eval_mode_and_without_gradients(images: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.5)).train()
    runner = TorchRunner(model, "cpu")
    logits = runner(images)
    assert not logits.requires_grad
    torch.testing.assert_close(logits, model[1](images.flatten(1)).detach())


def test_images_need_not_be_contiguous(images: Tensor, onnx_record: OnnxRecord, store: Store) -> None:
    runner, turned = open_runner(onnx_record, store), images.transpose(2, 3)
    assert not turned.is_contiguous()
    torch.testing.assert_close(runner(turned), runner(turned.clone(memory_format=torch.contiguous_format)))


def test_threads_reach_onnx_runtime(onnx_record: OnnxRecord, store: Store) -> None:
    runner = OnnxRunner(store.path(onnx_record.file), "input", "logits", threads=3)
    options = runner.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no protobuf")
    with pytest.raises(StageError, match=r"does not load broken\.onnx: .*export it anew"):
        OnnxRunner(tmp_path / "broken.onnx", "input", "logits")


def test_another_provider_is_refused(onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda _: ["AzureExecutionProvider"])
    with pytest.raises(StageError, match="on AzureExecutionProvider, not on CPUExecutionProvider"):
        open_runner(onnx_record, store)


def test_a_missing_onnx_runtime_names_both_extras(onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"install fair-pruner\[cpu\] or fair-pruner\[gpu\]"):
        open_runner(onnx_record, store)
