"""ONNX files of one layer each, of any number of channels: what its latency is measured on."""

from typing import Any

from pipeline.layer_kinds import LayerKind

INPUT, OUTPUT = "input", "output"
OPSET, IR_VERSION = 20, 10
WEIGHT = 0.01  # no runtime looks at what is multiplied


def layer_model(kind: LayerKind, inputs: int, outputs: int) -> bytes:
    """The file of a layer with bias and ReLU, input (batch, *input_shape(kind, inputs, outputs)), batch free.

    `inputs` and `outputs` are as in LayerKind.widths. All weights are equal and made when the file is loaded, so that it is
    small. Of a convolution's output one position is handed out, since to copy it all is no part of a layer's latency. A
    linear layer at one position is a Gemm, at several a MatMul and an Add, as torch exports them.
    """
    from onnx import helper

    weight = _weight_shape(kind, inputs, outputs)
    bias, last = (weight[0],), []
    if kind.operator == "conv":
        how: dict[str, Any] = {"strides": kind.stride, "pads": kind.padding, "dilations": kind.dilation}
        body = [helper.make_node("Conv", [INPUT, "weight", "bias"], ["sum"], group=outputs if kind.group else 1, **how)]
        last = [helper.make_node("MaxPool", ["all"], [OUTPUT], kernel_shape=[1] * len(kind.size), strides=kind.size)]
    elif kind.size == (1,):
        body = [helper.make_node("Gemm", [INPUT, "weight", "bias"], ["sum"], transB=1)]
    else:
        weight = weight[::-1]
        body = [helper.make_node("MatMul", [INPUT, "weight"], ["product"]), helper.make_node("Add", ["product", "bias"], ["sum"])]
    relu = helper.make_node("Relu", ["sum"], ["all" if last else OUTPUT])
    nodes = [_filled("weight"), _filled("bias"), *body, relu, *last]
    return _file(nodes, input_shape(kind, inputs, outputs), {"weight": weight, "bias": bias})


def identity_model() -> bytes:
    """A file that hands one number on: what a run costs beside all computing. Input (batch, 1)."""
    from onnx import helper

    return _file([helper.make_node("Identity", [INPUT], [OUTPUT])], (1,), {})


def input_shape(kind: LayerKind, inputs: int, outputs: int) -> tuple[int, ...]:
    """What one image is for such a layer."""
    if kind.operator == "conv":
        return (inputs if kind.group is None else outputs * kind.group[0], *kind.size)
    return (inputs,) if kind.size == (1,) else (*kind.size, inputs)


def _weight_shape(kind: LayerKind, inputs: int, outputs: int) -> tuple[int, ...]:
    if kind.group:
        return (outputs * kind.group[1], kind.group[0], *kind.kernel)
    return (outputs, inputs, *kind.kernel)


def _filled(name: str) -> Any:
    from onnx import helper

    value = helper.make_tensor("value", helper.TensorProto.FLOAT, [1], [WEIGHT])
    return helper.make_node("ConstantOfShape", [f"{name} shape"], [name], value=value)


def _file(nodes: list[Any], image: tuple[int, ...], shapes: dict[str, tuple[int, ...]]) -> bytes:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", *image])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", *(None for _ in image)])],
        [helper.make_tensor(f"{name} shape", TensorProto.INT64, [len(shape)], shape) for name, shape in shapes.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())
