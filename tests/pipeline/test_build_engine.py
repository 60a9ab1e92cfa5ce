import hashlib
import re
import signal
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline import build_engine as stage
from pipeline import tensorrt_library
from pipeline.build_engine import build_engine
from pipeline.config import EngineConfig
from pipeline.errors import StageError
from pipeline.records import OnnxRecord
from pipeline.store import Store
from pipeline.tensorrt_library import NoTensorRTError, load_tensorrt, message_collector

CONFIG = EngineConfig()


@pytest.fixture
def rtx() -> Any:
    """The real library, which builds without a GPU."""
    return pytest.importorskip("tensorrt_rtx")


def members(protocol: type) -> set[str]:
    return {name for name in {*vars(protocol), *protocol.__annotations__} if not name.startswith("_")}


@pytest.mark.parametrize(
    ("protocol", "real"),
    [
        ("TensorRT", ""),
        ("Builder", "Builder"),
        ("Network", "INetworkDefinition"),
        ("Profile", "IOptimizationProfile"),
        ("BuilderConfig", "IBuilderConfig"),
        ("OnnxParser", "OnnxParser"),
    ],
)
def test_the_library_has_every_member_that_is_used(protocol: str, real: str, rtx: Any) -> None:
    wanted = members(getattr(tensorrt_library, protocol))
    assert wanted
    assert {name for name in wanted if not hasattr(getattr(rtx, real) if real else rtx, name)} == set()


def test_the_library_has_what_is_reached_through_any(rtx: Any) -> None:
    assert rtx.__version__
    assert {"ERROR", "INTERNAL_ERROR"} <= set(rtx.ILogger.Severity.__members__)
    assert "WORKSPACE" in rtx.MemoryPoolType.__members__
    for method in ("phase_start", "step_complete", "phase_finish"):
        assert hasattr(rtx.IProgressMonitor, method)


def test_an_engine_is_built_and_not_executed(onnx_record: OnnxRecord, store: Store, rtx: Any) -> None:
    record = build_engine(onnx_record, CONFIG, store)
    assert record.status == "built"
    assert "not executed" in record.reason
    assert record.parents == (onnx_record.digest,)
    assert (record.library, record.library_version) == ("tensorrt_rtx", rtx.__version__)
    assert record.precision == "fp32"
    assert record.profile == (1, 8, 16)
    assert record.build_seconds
    assert record.file
    content = store.path(record.file).read_bytes()
    assert content[:4] == b"vtrt"
    assert int.from_bytes(content[16:24], "little") == len(content)  # as seen in 1.7: the header tells the length


def test_the_same_file_gives_the_same_engine(onnx_record: OnnxRecord, store: Store, rtx: Any) -> None:
    """But for the numbers of the compiler's temporaries: RTX 1.7 counts them from one of several starts."""
    contents = []
    for _ in range(3):
        record = build_engine(onnx_record, CONFIG, store)
        assert record.file
        contents.append(re.sub(rb"__mye\d+", b"__mye", store.path(record.file).read_bytes()))
    assert len({hashlib.sha256(content).hexdigest() for content in contents}) == 1


def test_the_profile_reaches_the_library(onnx_record: OnnxRecord, store: Store, rtx: Any) -> None:
    narrow = build_engine(onnx_record, EngineConfig(min_batch=2, opt_batch=2, max_batch=2), store)
    assert narrow.profile == (2, 2, 2)
    assert narrow.file != build_engine(onnx_record, CONFIG, store).file


def test_garbage_is_refused_in_the_librarys_words(onnx_record: OnnxRecord, store: Store, rtx: Any) -> None:
    garbage = onnx_record.model_copy(update={"file": store.put(b"no protobuf at all", ".onnx")})
    with pytest.raises(StageError, match=r"does not understand the ONNX file: .*[Pp]arse") as caught:
        build_engine(garbage, CONFIG, store)
    assert "cudaError 35" not in str(caught.value)
    assert "catchCudaError" not in str(caught.value)


def test_a_build_that_fails_says_why(onnx_record: OnnxRecord, store: Store, rtx: Any) -> None:
    """A profile for another image size: the library refuses it when it builds."""
    wrong = onnx_record.model_copy(update={"input_shape": (3, 8, 8)})
    with pytest.raises(StageError, match=r"tensorrt_rtx .*(profile|dimension)"):
        build_engine(wrong, CONFIG, store)


def test_an_engine_with_another_magic_is_refused(
    onnx_record: OnnxRecord, store: Store, rtx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for magic, message in ((b"abcd", "begins with b'abcd'"), (b"", "gives no engine")):
        monkeypatch.setattr(stage, "_interruptible", lambda *_, magic=magic: magic)
        with pytest.raises(StageError, match=message):
            build_engine(onnx_record, CONFIG, store)


def test_switched_off(onnx_record: OnnxRecord, store: Store) -> None:
    record = build_engine(onnx_record, EngineConfig(enabled=False), store)
    assert (record.status, record.reason) == ("skipped", "switched off by engine.enabled")
    assert record.file is None


def test_without_a_library(onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    record = build_engine(onnx_record, CONFIG, store)
    assert record.status == "skipped"
    for words in ("tensorrt (", "tensorrt_rtx (", "fair-pruner[gpu]", "fair-pruner[rtx]"):
        assert words in record.reason


def test_a_package_of_stubs_is_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    with pytest.raises(NoTensorRTError, match=r"tensorrt \(it has no Builder\)"):
        load_tensorrt(gpu=False)


@pytest.mark.parametrize(("gpu", "first"), [(True, "tensorrt"), (False, "tensorrt_rtx")])
def test_the_gpu_decides_which_library_comes_first(gpu: bool, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__name__=name, Builder=object))
    assert load_tensorrt(gpu).__name__ == first


def test_full_tensorrt_without_a_gpu_is_skipped(onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(stage, "load_tensorrt", lambda _: SimpleNamespace(__name__="tensorrt", __version__="10.9"))
    record = build_engine(onnx_record, CONFIG, store)
    assert record.status == "skipped"
    assert "tensorrt 10.9 needs the GPU" in record.reason


def test_with_a_gpu_it_is_still_not_executed(
    onnx_record: OnnxRecord, store: Store, rtx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(stage, "load_tensorrt", lambda _: rtx)
    record = build_engine(onnx_record, CONFIG, store)
    assert (record.status, record.reason) == ("built", "not executed: running engines is not part of this stage")


def test_the_collector_keeps_errors_and_drops_the_noise_of_a_missing_gpu(rtx: Any) -> None:
    logger, errors = message_collector(rtx)
    severity = rtx.ILogger.Severity
    logger.log(severity.ERROR, "first\n  line")
    logger.log(severity.ERROR, "first\n  line")
    logger.log(severity.WARNING, "a warning")
    logger.log(severity.INTERNAL_ERROR, "[checkMacros.cpp::catchCudaError::250] ... cudaError 35")
    logger.log(severity.INTERNAL_ERROR, "second")
    assert errors() == ["first line", "second"]


def test_ctrl_c_ends_the_build(onnx_record: OnnxRecord, store: Store, rtx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT comes in the middle of a real build; the library stops early, and KeyboardInterrupt arrives here."""
    steps: list[int] = []
    make = stage.progress_monitor

    def slow(library: Any, cancelled: threading.Event, advance: Any) -> Any:
        def counting(done: int, total: int) -> None:
            if not steps:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                cancelled.wait(10)  # the main thread has heard of it
            steps.append(done)
            advance(done, total)

        return make(library, cancelled, counting)

    monkeypatch.setattr(stage, "progress_monitor", slow)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            build_engine(onnx_record, CONFIG, store)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - start < 9  # `cancelled` was set, not waited for in vain
    assert steps[-1] < 6
    assert not list(store.root.glob("*.engine"))


def test_progress_is_counted_on_the_outermost_phase(
    onnx_record: OnnxRecord, store: Store, rtx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    make = stage.progress_monitor
    monkeypatch.setattr(
        stage,
        "progress_monitor",
        lambda library, cancelled, _: make(library, cancelled, lambda *at: seen.append(at)),
    )
    build_engine(onnx_record, CONFIG, store)
    done, totals = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert set(totals) == {done[-1]}
