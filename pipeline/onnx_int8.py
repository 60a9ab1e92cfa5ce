"""Whether an ONNX file is quantised to int8, and whether TensorRT can use it so."""

from pathlib import Path
from typing import Any

QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear"})
IN_INTEGERS = frozenset({"ConvInteger", "MatMulInteger", "QGemm", "QLinearConv", "QLinearMatMul"})


def int8_precision(nodes: list[Any], tensors: list[Any], folder: Path) -> tuple[str, str]:
    """The int8 precision of a file by its nodes and stored tensors, and what TensorRT has against it.

    ("int8-trt", "") if all is symmetric and signed, ("int8-cpu", reason) if a node is not, ("", "") if nothing is quantised to
    8 bits. Unsigned values with zero points of 0 TensorRT does not even refuse: it computes with signed ones instead.
    `folder` is where tensors outside the file lie.
    """
    constants = {node.output[0]: entry.t for node in nodes if node.op_type == "Constant" for entry in node.attribute}
    stored = {tensor.name: tensor for tensor in tensors} | constants
    found = ""
    for node in nodes:
        if node.op_type in IN_INTEGERS:
            return "int8-cpu", f"node {node.name} ({node.op_type}) computes in integers"
        if node.op_type in QUANTISED:
            value, zero = (stored.get(name) for name in [*node.input, "", "", ""][:3:2])
            reason = _objection(node, value, zero, folder)
            if reason:
                return "int8-cpu", f"node {node.name} ({node.op_type}) {reason}"
            found = found if reason is None else "int8-trt"
    return found, ""


def _objection(node: Any, value: Any, zero: Any, folder: Path) -> str | None:
    """What TensorRT has against a node by the stored value and zero point, where they are stored; None if it is not 8-bit."""
    import onnx

    kinds = onnx.TensorProto
    if value is not None and value.data_type == kinds.INT32:
        return f"keeps {value.name}, a bias, in int32"
    kind = next((tensor.data_type for tensor in (zero, value) if tensor is not None), None)
    if node.op_type == "QuantizeLinear" and len(node.input) < 3:  # the attribute, else ONNX's default
        kind = next((entry.i for entry in node.attribute if entry.name == "output_dtype"), kinds.UINT8)
    if kind not in (kinds.INT8, kinds.UINT8):
        return None
    if kind == kinds.UINT8:
        return "is unsigned"
    return "is not symmetric" if zero is not None and onnx.numpy_helper.to_array(zero, str(folder)).any() else ""
