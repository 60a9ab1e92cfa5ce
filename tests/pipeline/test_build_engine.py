import hashlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline import compile_engine, engine_builder
from pipeline.build_engine import build_engine
from pipeline.config import EngineConfig
from pipeline.errors import InputError, StageError
from pipeline.exported import OnnxRecord
from pipeline.store import Store

from ..disks import small_disk

CONFIG = EngineConfig()


@pytest.fixture
def rtx() -> Any:
    """The real library, which builds without a GPU."""
    return pytest.importorskip("tensorrt_rtx")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU as far as torch tells."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA A10 (24 GB)")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 6))


def test_an_engine_is_built_and_not_executed(onnx_record: OnnxRecord, store: Store, rtx: Any) -> None:
    record = build_engine(onnx_record, EngineConfig(targets=("SM86", "SM120")), store)
    assert record.status == "built"
    assert "not executed" in record.reason
    assert record.parents == (onnx_record.digest,)
    assert (record.library, record.library_version) == ("tensorrt_rtx", rtx.__version__)
    assert (record.precision, record.profile) == ("fp32", (1, 8, 16))
    assert (record.gpu, record.compute_capability, record.targets) == ("", "", ("SM86", "SM120"))
    assert record.seconds > record.build_seconds > 0
    assert record.file and record.log
    assert record.peak_memory_bytes > record.file.size_bytes
    assert store.path(record.file).read_bytes()[:4] == b"vtrt"
    assert store.path(record.log).read_text().startswith("[I] ")
    assert store.intact(record)
    assert not [*store.root.glob("timing-*")]  # TensorRT-RTX has no use for a timing cache


def test_the_same_file_gives_the_same_engine(onnx_record: OnnxRecord, store: Store, rtx: Any) -> None:
    """But for the numbers of the compiler's temporaries: RTX 1.7 counts them from one of several starts."""
    records = [build_engine(onnx_record, CONFIG, store) for _ in range(3)]
    contents = [re.sub(rb"__mye\d+", b"__mye", store.path(record.file).read_bytes()) for record in records]
    assert len({hashlib.sha256(content).hexdigest() for content in contents}) == 1
    assert len({record.digest for record in records}) == 1


def test_garbage_is_refused_in_the_librarys_words_and_they_are_kept(onnx_record: OnnxRecord, store: Store, rtx: Any) -> None:
    garbage = onnx_record.model_copy(update={"file": store.put(b"no protobuf at all", ".onnx")})
    with pytest.raises(StageError, match=r"does not understand the ONNX file: .*[Pp]arse") as caught:
        build_engine(garbage, CONFIG, store)
    assert "cudaError 35" not in str(caught.value)
    assert "catchCudaError" not in str(caught.value)
    assert str(caught.value).endswith("; set engine.enabled: false to go on without")
    (log,) = store.root.glob("*.log")
    assert f"its log is {log};" in str(caught.value)
    assert "[E] " in log.read_text()


def test_a_build_that_fails_says_why(onnx_record: OnnxRecord, store: Store, rtx: Any) -> None:
    """A profile for another image size: the library refuses it when it builds."""
    wrong = onnx_record.model_copy(update={"input_shape": (3, 8, 8)})
    with pytest.raises(StageError, match=r"tensorrt_rtx .*(profile|dimension)"):
        build_engine(wrong, CONFIG, store)


def test_switched_off(onnx_record: OnnxRecord, store: Store) -> None:
    record = build_engine(onnx_record, EngineConfig(enabled=False), store)
    assert (record.status, record.reason) == ("skipped", "switched off by engine.enabled")
    assert record.file is None


def test_int8_for_cpus_is_skipped(onnx_record: OnnxRecord, store: Store) -> None:
    record = build_engine(onnx_record.model_copy(update={"precision": "int8-cpu"}), CONFIG, store)
    assert (record.status, record.precision) == ("skipped", "int8-cpu")
    assert record.reason.endswith("build from the int8-trt file")


def test_without_a_library(onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    record = build_engine(onnx_record, CONFIG, store)
    assert record.status == "skipped"
    assert "install fair-pruner[gpu] on the GPU that will run the engine, or fair-pruner[rtx]" in record.reason


def test_with_a_gpu_it_is_still_not_executed_and_the_record_names_the_gpu(
    onnx_record: OnnxRecord, store: Store, rtx: Any, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_builder, "load_tensorrt", lambda _: rtx)
    record = build_engine(onnx_record, CONFIG, store)
    assert (record.status, record.reason) == ("built", "not executed: nothing has run it yet")
    assert (record.gpu, record.compute_capability) == ("NVIDIA A10 (24 GB)", "8.6")


@pytest.mark.parametrize(("wanted", "name"), [(True, "timing-10.9.0.34-NVIDIA-A10-24-GB-.cache"), (False, None)])
def test_tensorrt_keeps_a_timing_cache_of_its_version_and_gpu_beside_the_engines(
    wanted: bool, name: str | None, onnx_record: OnnxRecord, store: Store, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    full = SimpleNamespace(__name__="tensorrt", __version__="10.9.0.34")

    def compiled(library: Any, source: Any, config: Any, timing_cache: Any) -> compile_engine.Built:
        asked.append(timing_cache)
        return compile_engine.Built(b"engine", "", 1.0, 1)

    monkeypatch.setattr(engine_builder, "load_tensorrt", lambda _: full)
    monkeypatch.setattr(engine_builder, "build", compiled)
    record = build_engine(onnx_record, EngineConfig(timing_cache=wanted, targets=("SM86",)), store)
    assert asked == [store.root / name if name else None]
    assert record.targets == ()  # TensorRT builds for its GPU


def test_a_full_disk_is_one_sentence_and_leaves_no_engine(
    onnx_record: OnnxRecord, store: Store, rtx: Any, tmp_path: Path
) -> None:
    with small_disk(tmp_path) as disk:
        full = Store(disk)
        onnx = full.put(store.path(onnx_record.file).read_bytes(), ".onnx")
        with pytest.raises(InputError, match=f"no space left in {disk}: free some, or set the output elsewhere"):
            build_engine(onnx_record.model_copy(update={"file": onnx}), CONFIG, full)
        assert [path.name for path in disk.iterdir()] == [onnx.path]
