import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline import compile_engine as module
from pipeline.builder_memory import PeakMemory
from pipeline.compile_engine import EngineError, OnnxSource, RefusedModelError, compile_engine
from pipeline.config import EngineConfig
from pipeline.errors import InputError

from ..onnx_files import IMAGE, classifier, quantised

CONFIG = EngineConfig()


def test_an_engine_comes_with_what_was_said_and_what_it_took(source: OnnxSource, rtx: Any) -> None:
    built = compile_engine(rtx, source, CONFIG, None)
    assert built.engine.startswith(b"vtrt")
    assert f"[I] Input filename: {source.path}\n" in built.log
    assert all(line[:4] in ("[I] ", "[W] ") for line in built.log.splitlines())
    assert built.seconds > 0
    assert built.peak_memory_bytes > len(built.engine)


def test_the_profile_reaches_the_library(source: OnnxSource, rtx: Any) -> None:
    narrow = EngineConfig(min_batch=2, opt_batch=2, max_batch=2)
    assert len(compile_engine(rtx, source, narrow, None).engine) != len(compile_engine(rtx, source, CONFIG, None).engine)


@pytest.mark.parametrize(
    ("targets", "compiled"), [((), {b"sm80"}), (("SM86",), {b"sm86"}), (("SM89", "SM120"), {b"sm89", b"sm120"})]
)
def test_the_targets_reach_the_library(targets: tuple[str, ...], compiled: set[bytes], source: OnnxSource, rtx: Any) -> None:
    """RTX 1.7 names them in the engine; without any it holds code that later cards run too."""
    engine = compile_engine(rtx, source, EngineConfig(targets=targets), None).engine
    assert set(re.findall(rb"sm\d+", engine)) == compiled


def test_a_target_that_cannot_be_built_for_is_said_by_the_library(source: OnnxSource, rtx: Any) -> None:
    with pytest.raises(EngineError, match=r"gives no engine: .*Turing \(SM75\): FP32 GEMM is not supported"):
        compile_engine(rtx, source, EngineConfig(targets=("SM75",)), None)


def test_a_target_that_the_library_does_not_know_is_refused(
    source: OnnxSource, rtx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: value for name, value in rtx.ComputeCapability.__members__.items() if name != "SM121"}
    monkeypatch.setattr(rtx, "ComputeCapability", SimpleNamespace(__members__=known))
    with pytest.raises(InputError, match=r"cannot build for SM121; its targets are SM75, SM80, SM86, SM89, SM120$"):
        compile_engine(rtx, source, EngineConfig(targets=("SM80", "SM121")), None)


def test_every_node_that_is_not_understood_is_named(tmp_path: Path, rtx: Any) -> None:
    import onnx

    path = classifier(tmp_path / "m.onnx", activation=("MyRelu", "my.ops"))
    model = onnx.load(path)
    (pool,) = (node for node in model.graph.node if node.name == "pool")
    pool.op_type, pool.domain = "MyPool", "my.ops"
    onnx.save(model, path)
    with pytest.raises(
        RefusedModelError, match=r"understand the ONNX file: node activation \(MyRelu\): .*; node pool \(MyPool\): "
    ) as c:
        compile_engine(rtx, OnnxSource(path, "input", IMAGE), CONFIG, None)
    assert "MyRelu" in c.value.log


def test_an_old_library_names_the_first_node_alone(tmp_path: Path, rtx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = classifier(tmp_path / "m.onnx", activation=("MyRelu", "my.ops"))
    monkeypatch.setattr(module, "_node_errors", lambda *_: [])  # as before TensorRT 10.1
    with pytest.raises(RefusedModelError, match=r"node activation \(MyRelu\): "):
        compile_engine(rtx, OnnxSource(path, "input", IMAGE), CONFIG, None)


@pytest.mark.parametrize(
    ("trait", "message"),
    [
        ({"unsigned": True, "zero_point": 3}, "Non-zero zero point is not supported"),
        ({"zero_point": 3}, "Non-zero zero point is not supported"),
        ({"int32_bias": True}, r"node bias \(DequantizeLinear\): .* input has type Int32 but must have type"),
    ],
)
def test_int8_that_is_not_for_tensorrt_is_refused_by_the_library(
    trait: dict[str, Any], message: str, tmp_path: Path, rtx: Any
) -> None:
    path = quantised(tmp_path / "m.onnx", **trait)
    with pytest.raises(RefusedModelError, match=message) as caught:
        compile_engine(rtx, OnnxSource(path, "input", IMAGE), CONFIG, None)
    assert "cudaError" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unsigned_int8_would_be_built_as_signed(tmp_path: Path, rtx: Any) -> None:
    """Which is why it is refused before: the engine would not compute what the file says."""
    path = quantised(tmp_path / "m.onnx", unsigned=True)
    built = compile_engine(rtx, OnnxSource(path, "input", IMAGE), CONFIG, None)
    assert "UINT8 zero_point only on DLA" in built.log
    assert "Defaulting to INT8 instead" in built.log


def test_int8_for_tensorrt_and_fp16_are_built(tmp_path: Path, rtx: Any) -> None:
    for path in (quantised(tmp_path / "int8.onnx"), classifier(tmp_path / "fp16.onnx", dtype=np.float16)):
        assert compile_engine(rtx, OnnxSource(path, "input", IMAGE), CONFIG, None).engine


def test_a_profile_that_does_not_fit_the_file_is_refused_in_the_librarys_words(tmp_path: Path, rtx: Any) -> None:
    fixed = OnnxSource(classifier(tmp_path / "m.onnx", batch=4), "input", IMAGE)
    with pytest.raises(EngineError, match="static dimensions that don't match kMIN dimensions"):
        compile_engine(rtx, fixed, CONFIG, None)
    own = EngineConfig(min_batch=4, opt_batch=4, max_batch=4)
    assert compile_engine(rtx, fixed, own, None).engine


def test_progress_is_counted_on_the_outermost_phase(source: OnnxSource, rtx: Any) -> None:
    seen: list[tuple[int, int]] = []
    compile_engine(rtx, source, CONFIG, None, lambda *at: seen.append(at))
    done, totals = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert set(totals) == {done[-1]}


def test_the_peak_of_memory_is_seen_though_it_is_gone_at_the_end() -> None:
    with PeakMemory() as idle:
        time.sleep(0.1)
    with PeakMemory() as memory:
        block = np.ones(256 * 2**20, np.uint8)  # far more than a suite may free meanwhile
        time.sleep(0.1)
        del block
    assert memory.peak_bytes > idle.peak_bytes + 50 * 2**20
