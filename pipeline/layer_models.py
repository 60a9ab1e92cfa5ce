"""ONNX files of one layer each, of any number of channels: what its latency is measured on."""

from collections.abc import Sequence
from typing import Any, Literal

from pipeline.layer_kinds import LayerKind

LayerPrecision = Literal["fp32", "int8-cpu"]

INPUT, OUTPUT = "input", "output"
OPSET, IR_VERSION = 20, 10
WEIGHT = 0.01  # no runtime looks at what is multiplied
STEP = 0.05  # of what is quantised; inputs reach to 6.4 on both sides, what follows the ReLU to 12.75


def layer_model(kind: LayerKind, inputs: int, outputs: int, precision: LayerPrecision = "fp32") -> bytes:
    """The file of a layer with bias and ReLU, input (batch, *input_shape(kind, inputs, outputs)), batch free.

    `inputs` and `outputs` are as in LayerKind.widths. All weights are equal and made when the file is loaded, so that it is
    small. Of a convolution's output one position is handed out, since to copy it all is no part of a layer's latency. A
    linear layer at one position is a Gemm, at several a MatMul and an Add, as torch exports them. int8-cpu quantises what
    `pipeline.int8` does in that style; the input arrives as float and is quantised in the file.
    """
    file = _File(precision)
    weight = _weight_shape(kind, inputs, outputs)
    if kind.operator == "conv":
        file.parameters(weight, axis=0)
        how: dict[str, Any] = {"strides": kind.stride, "pads": kind.padding, "dilations": kind.dilation}
        file.add("Conv", [file.requantised(INPUT, zero=128), "weight", "bias"], "sum", group=outputs if kind.group else 1, **how)
        file.add("Relu", ["sum"], "positive")
        file.add("MaxPool", [file.requantised("positive")], "one", kernel_shape=[1] * len(kind.size), strides=kind.size)
        file.add("Identity", [file.requantised("one")], OUTPUT)
    elif kind.size == (1,):
        file.parameters(weight, axis=0)
        file.add("Gemm", [file.requantised(INPUT, zero=128), "weight", "bias"], "sum", transB=1)
        file.add("Relu", ["sum"], "positive")
        file.add("Identity", [file.requantised("positive")], OUTPUT)
    else:
        file.parameters(weight[::-1], axis=1)
        file.add("MatMul", [file.requantised(INPUT, zero=128), "weight"], "product")
        file.add("Add", ["product", "bias"], "sum")
        file.add("Relu", ["sum"], OUTPUT)
    return file.content(input_shape(kind, inputs, outputs))


def identity_model() -> bytes:
    """A file that hands one number on: what a run costs beside all computing. Input (batch, 1)."""
    file = _File("fp32")
    file.add("Identity", [INPUT], OUTPUT)
    return file.content((1,))


def input_shape(kind: LayerKind, inputs: int, outputs: int) -> tuple[int, ...]:
    """What one image is for such a layer."""
    if kind.operator == "conv":
        return (inputs if kind.group is None else outputs * kind.group[0], *kind.size)
    return (inputs,) if kind.size == (1,) else (*kind.size, inputs)


def _weight_shape(kind: LayerKind, inputs: int, outputs: int) -> tuple[int, ...]:
    if kind.group:
        return (outputs * kind.group[1], kind.group[0], *kind.kernel)
    return (outputs, inputs, *kind.kernel)


class _File:
    """Nodes and initialisers, as they come."""

    def __init__(self, precision: LayerPrecision) -> None:
        self._int8 = precision == "int8-cpu"
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    def parameters(self, shape: tuple[int, ...], axis: int) -> None:
        """The tensors "weight", with its output channels at `axis`, and "bias"."""
        channels = (shape[axis],)
        if not self._int8:
            self._filled("weight", shape, WEIGHT)
            self._filled("bias", channels, WEIGHT)
            return
        for name, of_shape, stored, scale in (("weight", shape, "INT8", WEIGHT), ("bias", channels, "INT32", STEP * WEIGHT)):
            self._filled(f"{name} stored", of_shape, round(WEIGHT / scale), stored)
            self._filled(f"{name} scales", channels, scale)
            self._filled(f"{name} zeros", channels, 0, stored)  # without them a Gemm is not fused
            parts = [f"{name} {part}" for part in ("stored", "scales", "zeros")]
            self.add("DequantizeLinear", parts, name, axis=axis if name == "weight" else 0)

    def requantised(self, name: str, zero: int = 0) -> str:
        """In int8 the name of the same tensor after a pair of QuantizeLinear and DequantizeLinear, in fp32 its own."""
        from onnx import TensorProto, helper

        if not self._int8:
            return name
        how = [f"{name} scale", f"{name} zero"]
        self._initializers += [
            helper.make_tensor(how[0], TensorProto.FLOAT, [], [STEP]),
            helper.make_tensor(how[1], TensorProto.UINT8, [], [zero]),
        ]
        self.add("QuantizeLinear", [name, *how], f"{name} stored")
        self.add("DequantizeLinear", [f"{name} stored", *how], f"{name} again")
        return f"{name} again"

    def content(self, image: tuple[int, ...]) -> bytes:
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            "layer",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", *image])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", *(None for _ in image)])],
            self._initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        return bytes(model.SerializeToString())

    def _filled(self, name: str, shape: tuple[int, ...], value: float, stored: str = "FLOAT") -> None:
        from onnx import TensorProto, helper

        self._initializers.append(helper.make_tensor(f"{name} shape", TensorProto.INT64, [len(shape)], shape))
        content = helper.make_tensor("value", getattr(TensorProto, stored), [1], [value])
        self.add("ConstantOfShape", [f"{name} shape"], name, value=content)
