from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from pipeline.config import DataConfig
from pipeline.data import load_data
from pipeline.errors import StageError
from pipeline.exported import OnnxRecord
from pipeline.int8 import WEIGHTED, to_int8
from pipeline.runners import Images, Logits, open_file
from pipeline.store import Store

Made = tuple[Store, dict[str, OnnxRecord]]
# of the fp32 logits' signal, random weights: trained ones do better
LEAST_SQNR_DB = 20


@pytest.fixture(scope="module")
def images() -> Images:
    data = load_data(DataConfig(), 3)
    return data.train.load(data.validation_indices)[0].numpy()


def load(record: OnnxRecord, store: Store) -> onnx.ModelProto:
    return onnx.load(store.path(record.file))


def constants(proto: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def dequantized(proto: onnx.ModelProto) -> set[str]:
    return {name for node in proto.graph.node if node.op_type == "DequantizeLinear" for name in node.output}


def test_int8_for_tensorrt_is_symmetric_and_per_channel_with_biases_and_outputs_in_float(
    made: Made,
) -> None:
    proto = load(made[1]["int8-trt"], made[0])
    values, exact = constants(proto), dequantized(proto)
    linear = [node for node in proto.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert linear
    for node in linear:
        zero = values[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
    layers = [node for node in proto.graph.node if node.op_type in WEIGHTED]
    assert Counter(node.op_type for node in layers) == {"Conv": 2, "Gemm": 1}
    makers, quantised = {node.output[0]: node for node in proto.graph.node}, {node.input[0] for node in linear}
    for node in layers:
        assert set(node.input[:2]) <= exact
        weight = makers[node.input[1]].input
        assert values[weight[0]].dtype == np.int8
        assert values[weight[1]].shape == (values[weight[0]].shape[0],)
        assert values[node.input[2]].dtype == np.float32
        assert node.output[0] not in quantised
    users = {name: node.op_type for node in proto.graph.node for name in node.input if name in exact}
    assert set(users.values()) == {"Conv", "Gemm"}


def test_int8_for_cpus_has_unsigned_activations_and_weights_of_seven_bits(
    made: Made,
) -> None:
    proto = load(made[1]["int8-cpu"], made[0])
    values = constants(proto)
    activations = [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    assert activations
    assert {values[node.input[2]].dtype for node in activations} == {np.dtype(np.uint8)}
    makers = {node.output[0]: node for node in proto.graph.node}
    for node in proto.graph.node:
        if node.op_type in WEIGHTED:
            weight = values[makers[node.input[1]].input[0]]
            assert weight.dtype == np.int8
            assert abs(weight.astype(int)).max() == 64
    assert makers["logits"].op_type == "Gemm"  # in float, not rounded to one of 256 levels


@pytest.mark.parametrize("precision", ["int8-cpu", "int8-trt"])
@pytest.mark.parametrize("network", ["convolutional", "attentive"])
def test_no_sum_saturates_whatever_this_cpu_can(
    network: str, precision: str, made: Made, attentive: Made, images: Images
) -> None:
    """The file for CPUs in any session, the one for TensorRT in ours, give what ONNX Runtime gives without its int8 kernels."""
    store, records = made if network == "convolutional" else attentive
    path = store.path(records[precision].file)

    def session(level: str) -> Logits:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        opened = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return np.asarray(opened.run(["logits"], {"input": images})[0])

    exact = session("ORT_DISABLE_ALL")
    fast = session("ORT_ENABLE_ALL") if precision == "int8-cpu" else open_file(path, "onnxruntime", "input", "logits")(images)
    apart = 10 * np.log10((exact**2).sum() / max(((fast - exact) ** 2).sum(), 1e-12))
    assert apart > 45  # saturated: 25 to 35; now and then a value is rounded to the neighbouring level


@pytest.mark.parametrize("precision", ["int8-cpu", "int8-trt"])
def test_attention_survives(precision: str, attentive: Made) -> None:
    store, records = attentive
    parity, proto = records[precision].parity, load(records[precision], store)
    assert parity.sqnr_db is not None
    assert parity.sqnr_db > LEAST_SQNR_DB
    exact = dequantized(proto)
    users = {node.op_type for node in proto.graph.node if exact.intersection(node.input)}
    assert {"Conv", "MatMul"} <= users
    assert users <= {*WEIGHTED, "Reshape", "Shape"}  # what only moves values: no sum, no norm, no softmax


def test_a_range_that_no_calibration_image_has_reached_is_cut_off(onnx_record: OnnxRecord, store: Store, images: Images) -> None:
    """The images decide: ranges of faint images do not hold bright ones."""
    source = store.path(onnx_record.file)
    expected = open_file(source, "onnxruntime", "input", "logits")(images)

    def sqnr(scale: float) -> float:
        proto = to_int8(source, "int8-cpu", "input", iter([images * np.float32(scale)]))
        path = store.root / f"{scale}.onnx"
        onnx.save(proto, path)
        found = open_file(path, "onnxruntime", "input", "logits")(images)
        return float(10 * np.log10((expected**2).sum() / ((found - expected) ** 2).sum()))

    assert sqnr(1.0) > sqnr(0.25) + 10


@pytest.mark.parametrize("precision", ["int8-cpu", "int8-trt"])
def test_a_model_without_layers_is_refused(precision: Any, tmp_path: Path) -> None:
    text = '<ir_version: 10, opset_import: ["": 20]> graph (float[n, 10] input) => (float[n, 10] logits) {logits = Tanh(input)}'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "tanh.onnx")
    with pytest.raises(StageError, match=rf"no layer that can be quantised; leave {precision} out of quantize\.precisions"):
        to_int8(tmp_path / "tanh.onnx", precision, "input", iter([np.ones((2, 10), np.float32)]))
