"""ONNX files of a tiny classifier, written by hand: good ones, and such as a person may bring along."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

CLASSES, IMAGE = 10, (1, 8, 8)
Activation = tuple[str, str]  # operator and its domain


def classifier(
    path: Path,
    *,
    opset: int = 20,
    batch: int | str = "batch",
    image: Sequence[int | str] = IMAGE,
    dtype: type = np.float32,
    input_dtype: type = np.float32,
    activation: Activation = ("Relu", ""),
    inputs: int = 1,
) -> Path:
    """Conv - activation - global average - Gemm with weights of `dtype`; further inputs are not used."""
    random = np.random.default_rng(0)
    stored = {"w": random.standard_normal((4, 1, 3, 3)), "f": random.standard_normal((4, CLASSES)), "b": np.zeros(CLASSES)}
    operator, domain = activation
    nodes = [
        helper.make_node("Cast", ["input"], ["x"], "cast", to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype))),
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node(operator, ["c"], ["a"], "activation", domain=domain),
        helper.make_node("GlobalAveragePool", ["a"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["h"], "flatten"),
        helper.make_node("Gemm", ["h", "f", "b"], ["l"], "classifier"),
        helper.make_node("Cast", ["l"], ["logits"], "cast-back", to=TensorProto.FLOAT),
    ]
    given = helper.np_dtype_to_tensor_dtype(np.dtype(input_dtype))
    names = ["input", "mask", "scale"][:inputs]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(name, given, [batch, *image]) for name in names],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(value.astype(dtype), name) for name, value in stored.items()],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def quantised(path: Path, *, unsigned: bool = False, zero_point: int | None = 0, int32_bias: bool = False) -> Path:
    """The same with QuantizeLinear and DequantizeLinear before Conv, and on the bias if `int32_bias`. None: no zero point."""
    classifier(path)
    model = onnx.load(path)
    kind = np.uint8 if unsigned else np.int8
    _store(model, scale=np.float32(0.1))
    if zero_point is not None:
        _store(model, zero=kind(zero_point))
    scales = ["scale"] if zero_point is None else ["scale", "zero"]
    pair = [
        helper.make_node("QuantizeLinear", ["x", *scales], ["q"], "quantise"),
        helper.make_node("DequantizeLinear", ["q", *scales], ["d"], "dequantise"),
    ]
    _replace_input(model, "conv", "x", "d")
    _insert_before(model, "conv", pair)
    if int32_bias:
        _store(model, qb=np.zeros(CLASSES, np.int32), zb=np.int32(0))
        _replace_input(model, "classifier", "b", "db")
        _insert_before(model, "classifier", [helper.make_node("DequantizeLinear", ["qb", "scale", "zb"], ["db"], "bias")])
    onnx.save(model, path)
    return path


def _store(model: Any, **values: Any) -> None:
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())


def _node(model: Any, name: str) -> tuple[int, NodeProto]:
    return next((index, node) for index, node in enumerate(model.graph.node) if node.name == name)


def _replace_input(model: Any, name: str, old: str, new: str) -> None:
    _, node = _node(model, name)
    node.input[list(node.input).index(old)] = new


def _insert_before(model: Any, name: str, nodes: list[NodeProto]) -> None:
    index, _ = _node(model, name)
    for node in reversed(nodes):
        model.graph.node.insert(index, node)
