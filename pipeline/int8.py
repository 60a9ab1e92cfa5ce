"""int8 by pairs of QuantizeLinear and DequantizeLinear (QDQ), their ranges taken from real images."""

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Literal

from pipeline.errors import StageError
from pipeline.quiet import quiet_loggers
from pipeline.runners import Images

WEIGHTED = ["Conv", "Gemm", "MatMul"]
TALKATIVE = ("root", "onnxruntime.quantization.shape_inference")


def to_int8(source: Path, style: Literal["int8-cpu", "int8-trt"], input_name: str, images: Iterator[Images]) -> Any:
    """The fp32 ONNX file as a ModelProto with int8 weights, one scale a channel; batches of `images` give the ranges.

    int8-trt: symmetric signed activations, Conv, Gemm and MatMul only, whose biases and outputs stay in float, so that what
    follows them is fused. int8-cpu: unsigned activations, and weights of 7 bits, because the products of 8 bits saturate on
    x86 CPUs without VNNI; every operator that ONNX Runtime quantises, but Conv, Gemm and MatMul only where two computed
    tensors are multiplied with each other, which is attention and loses too much otherwise; outputs of Gemm and MatMul,
    thus the logits, stay in float. Raises StageError if nothing could be quantised.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quant_pre_process, quantize_static
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    trt = style == "int8-trt"
    feeds = ({input_name: batch} for batch in images)
    with TemporaryDirectory(prefix="fair-pruner-int8-") as folder, quiet_loggers(TALKATIVE, logging.ERROR):
        prepared, result = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        few = trt or _has_attention(onnx.load(prepared).graph)
        quantize_static(
            prepared,
            result,
            SimpleNamespace(get_next=lambda: next(feeds, None)),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8 if trt else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=not trt,
            op_types_to_quantize=WEIGHTED if few else sorted({*QDQRegistry, *QLinearOpsRegistry}),
            extra_options={
                "WeightSymmetric": True,
                "ActivationSymmetric": trt,
                "QuantizeBias": not trt,
                "OpTypesToExcludeOutputQuantization": WEIGHTED if trt else ["Gemm", "MatMul"],
            },
        )
        proto = onnx.load(result)
    if not any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        raise StageError(f"the model has no layer that can be quantised; leave {style} out of quantize.precisions")
    return proto


def _has_attention(graph: Any) -> bool:
    constants = {tensor.name for tensor in graph.initializer}
    return any(
        node.op_type == "Attention" or (node.op_type == "MatMul" and constants.isdisjoint(node.input)) for node in graph.node
    )
