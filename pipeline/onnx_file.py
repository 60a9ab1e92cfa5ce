"""Somebody's own ONNX file: what it takes and gives, in which precision, and whether it can be used at all."""

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import InputError
from pipeline.input_size import ONNX_MIB, read_limited
from pipeline.onnx_int8 import int8_precision
from pipeline.onnx_weights import check_weights

OLDEST_OPSET = 7  # below it neither ONNX Runtime nor TensorRT knows operators such as Relu and Gemm
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})  # operators that come with ONNX and ONNX Runtime
FLOATS = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16", "DOUBLE": "fp64"}
IMAGE_DIMS = ("batch", "channels", "height", "width")


class Tensor(NamedTuple):
    """An input or output. A dimension that is free is None; `dtype` is named as numpy does."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class OnnxFile(NamedTuple):
    """A classifier of images: input (batch, channels, height, width) in float32.

    `precision` is that of most of the weights, or int8-trt or int8-cpu where there are quantised ones; `not_for_tensorrt`
    says what makes it int8-cpu.
    """

    path: Path
    opset: int
    input: Tensor
    outputs: tuple[Tensor, ...]
    precision: str
    not_for_tensorrt: str

    @property
    def batch(self) -> int | None:
        """The one batch size that it takes; None: any."""
        return self.input.shape[0]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, channels, height, width = (size or 0 for size in self.input.shape)
        return channels, height, width


def read_onnx(path: Path) -> OnnxFile:
    """Read an ONNX file without its weights, and without running it.

    Raises InputError if the file is missing or no ONNX model, its weights are not all there in its folder, or it has an
    opset below 7, an operator from elsewhere, or other than one input of float32 images whose size is fixed but for the
    batch. Newer opsets are not refused: old runtimes read them as far as they know the operators.
    """
    model = _load(path)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise InputError(f"{path} has opset {opset}, expected {OLDEST_OPSET} or later; export the model with a newer one")
    nodes, tensors = _all(model, "NodeProto"), _all(model, "TensorProto")
    _check_operators(path, nodes, {function.domain for function in model.functions})
    check_weights(path, tensors, _all(model, "SparseTensorProto"))
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [_described(value) for value in model.graph.input if value.name not in stored]
    outputs = tuple(_described(value) for value in model.graph.output)
    _check_input(path, inputs)
    precision, reason = int8_precision(nodes, tensors, path.parent)
    return OnnxFile(path, opset, inputs[0], outputs, precision or _float_precision(tensors), reason)


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not path.is_file():
        raise InputError(f"{path} does not exist; give the path of an ONNX file")
    try:
        model = onnx.load_from_string(read_limited(path, ONNX_MIB))
    except DecodeError as error:
        raise InputError(f"{path} is not an ONNX file: it is no protobuf; give a file that an ONNX exporter wrote") from error
    if not model.graph.node:
        raise InputError(f"{path} is not an ONNX model: it has no operators; give a file that an ONNX exporter wrote")
    return model


def _check_operators(path: Path, nodes: list[Any], own: set[str]) -> None:
    for node in nodes:
        if not node.output:
            raise InputError(f"{path}: node {node.name} ({node.op_type}) gives nothing; export the model anew")
        if node.domain not in DOMAINS | own:
            raise InputError(
                f"{path}: node {node.name or node.output[0]} is the custom operator {node.op_type} of the domain {node.domain}, "
                "which no runtime here knows; export the model with ONNX's own operators"
            )


def _check_input(path: Path, inputs: list[Tensor]) -> None:
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs) or "none"
        raise InputError(f"{path} has {len(inputs)} inputs ({names}), expected one of images; export the model with images alone")
    (name, shape, dtype) = inputs[0]
    if dtype != "float32" or len(shape) != len(IMAGE_DIMS):
        raise InputError(
            f"{path}: input {name} is {dtype} with shape {_text(shape)}, expected float32 images ({', '.join(IMAGE_DIMS)}); "
            "export the model with such an input (fp16 files: keep the input in float32)"
        )
    if None in shape[1:]:
        raise InputError(
            f"{path}: input {name} has the free dimensions {_text(shape)} and only the batch may be free; "
            "export it with a fixed height and width"
        )


def _described(value: Any) -> Tensor:
    import onnx

    kind = value.type.tensor_type
    sizes = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)  # some exporters write -1 for free
    known = kind.elem_type in onnx.TensorProto.DataType.values() and kind.elem_type != onnx.TensorProto.UNDEFINED
    return Tensor(value.name, sizes, str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)) if known else "no tensor")


def _text(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def _float_precision(tensors: list[Any]) -> str:
    import onnx

    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[FLOATS.get(onnx.TensorProto.DataType.Name(tensor.data_type), "")] += prod(tensor.dims)
    del sizes[""]
    return max(sizes, key=sizes.__getitem__, default="fp32")


def _all(message: Any, kind: str) -> list[Any]:
    """All messages of a protobuf type: nodes also of subgraphs and functions, tensors also of Constant nodes."""
    found = [message] if message.DESCRIPTOR.name == kind else []
    if message.DESCRIPTOR.name == "TensorProto":  # listing its fields would copy the weights
        return found
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in (value,) if hasattr(value, "ListFields") else value:
                found += _all(inner, kind)
    return found
