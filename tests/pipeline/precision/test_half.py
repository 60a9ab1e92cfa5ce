import logging
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from pipeline.errors import StageError
from pipeline.exported import OnnxRecord
from pipeline.half import to_half
from pipeline.runners import Images, open_file
from pipeline.store import Store


def layers(path: Path, *operators: str, weight: float = 1.0) -> Path:
    """Operators one after the other on (batch, 10); a MatMul with the identity times `weight`."""
    names = ["input", *(f"at{index}" for index in range(1, len(operators))), "logits"]
    nodes = [
        onnx.helper.make_node(kind, [names[at], *(["weight"] if kind == "MatMul" else [])], [names[at + 1]], name=names[at + 1])
        for at, kind in enumerate(operators)
    ]
    ends = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 10]) for name in ("input", "logits")]
    weights = [numpy_helper.from_array(np.eye(10, dtype=np.float32) * np.float32(weight), "weight")]
    graph = onnx.helper.make_graph(nodes, "graph", ends[:1], ends[1:], weights if "MatMul" in operators else [])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_it_computes_in_fp16(made: tuple[Store, dict[str, OnnxRecord]]) -> None:
    store, records = made
    fp32, fp16 = (onnx.load(store.path(records[precision].file)) for precision in ("fp32", "fp16"))
    before, after = ({each.name: numpy_helper.to_array(each) for each in proto.graph.initializer} for proto in (fp32, fp16))
    floats = {name: value for name, value in before.items() if value.dtype == np.float32}
    assert floats
    for name, value in floats.items():
        assert after[name].dtype == np.float16
        np.testing.assert_allclose(after[name], value, rtol=2**-11, atol=1e-7)
    inferred = onnx.shape_inference.infer_shapes(fp16, strict_mode=True, data_prop=True)
    kinds = {value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    assert kinds - {TensorProto.INT64} == {TensorProto.FLOAT16}  # integers are shapes


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    path = layers(tmp_path / "none.onnx", "Relu", "Tanh")
    with pytest.raises(StageError, match=r"no weight of the model .*; leave fp16 out of quantize\.precisions"):
        to_half(path, "input", iter([np.ones((2, 10), np.float32)]))


@pytest.mark.parametrize("overflows", [False, True])
def test_a_tensor_that_fp16_cannot_hold_is_named(overflows: bool, tmp_path: Path) -> None:
    """300 * 218.3 = 65490 fits, 300 * 218.5 = 65550 does not; ONNX Runtime computes both in fp32 on the CPU."""
    path = layers(tmp_path / "large.onnx", "MatMul", "Tanh", weight=218.5 if overflows else 218.3)
    images: list[Images] = [np.full((2, 10), 1, np.float32), np.full((1, 10), -300, np.float32)]
    if not overflows:
        assert to_half(path, "input", iter(images))
        return
    with pytest.raises(StageError, match=r"at1 reaches 6\.5[56]e\+04, fp16 ends at 65504; leave fp16 out"):
        to_half(path, "input", iter(images))


def test_zeros_without_a_type_become_fp16_too(tmp_path: Path) -> None:
    """ConstantOfShape gives fp32 zeros where nothing else is said; Swin transformers have it."""
    proto = onnx.load(layers(tmp_path / "zeros.onnx", "MatMul", "Relu"))
    proto.graph.initializer.append(numpy_helper.from_array(np.array([10]), "ten"))
    proto.graph.node.insert(0, onnx.helper.make_node("ConstantOfShape", ["ten"], ["zeros"], name="zeros"))
    proto.graph.node[-1].CopyFrom(onnx.helper.make_node("Add", ["at1", "zeros"], ["logits"], name="logits"))
    onnx.save(proto, tmp_path / "zeros.onnx")
    images = np.linspace(-1, 1, 20, dtype=np.float32).reshape(2, 10)
    half = to_half(tmp_path / "zeros.onnx", "input", iter([images]))
    onnx.checker.check_model(half, full_check=True)
    onnx.save(half, tmp_path / "half.onnx")
    np.testing.assert_allclose(open_file(tmp_path / "half.onnx", "onnxruntime", "input", "logits")(images), images, rtol=1e-3)


def test_autocast_is_preferred_when_it_is_installed(
    onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A stand-in for nvidia-modelopt that takes what AutoCast takes."""
    from onnxconverter_common.float16 import convert_float_to_float16

    def convert_to_mixed_precision(*, onnx_path: str, low_precision_type: str, keep_io_types: bool, providers: list[str]) -> Any:
        assert (low_precision_type, keep_io_types, providers) == ("fp16", True, ["cpu"])
        logging.getLogger("modelopt.onnx.autocast").info("talks")
        with warnings.catch_warnings(action="ignore"):
            return convert_float_to_float16(onnx.load(onnx_path), keep_io_types=True)

    autocast = SimpleNamespace(convert_to_mixed_precision=convert_to_mixed_precision)
    monkeypatch.setitem(sys.modules, "modelopt.onnx.autocast", autocast)
    monkeypatch.setattr("pipeline.half.version", lambda name: f"{name} of the test")
    with caplog.at_level(logging.INFO):
        to_half(store.path(onnx_record.file), "input", iter([np.ones((2, 1, 8, 8), np.float32)]))
    assert caplog.messages == ["fp16 by AutoCast of nvidia-modelopt nvidia-modelopt of the test"]
