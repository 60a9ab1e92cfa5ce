"""fp16 by casting in the file itself, as a strongly typed engine wants it."""

import importlib
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np

from pipeline.errors import StageError
from pipeline.progress import log
from pipeline.quiet import quiet_loggers
from pipeline.runners import Images

FP16_MAX = float(np.finfo(np.float16).max)
TALKATIVE = ("modelopt.onnx", "modelopt.onnx.autocast")


def to_half(source: Path, input_name: str, images: Iterator[Images], tell: Callable[[str], None] = log.info) -> Any:
    """The fp32 ONNX file as a ModelProto that computes in fp16; input and output stay fp32. `tell` hears what converts it.

    By AutoCast of nvidia-modelopt if that is installed, which keeps in fp32 what would lose too much, else by
    onnxconverter-common. Raises StageError if no weight became fp16, or if on batches of `images` a tensor that did
    exceeds what fp16 can hold: ONNX Runtime would not show that, on the CPU it computes such files in fp32.
    """
    import onnx

    try:
        autocast = importlib.import_module("modelopt.onnx.autocast")
    except ImportError:
        tell(f"fp16 by onnxconverter-common {version('onnxconverter-common')}")
        proto = _convert(onnx.load(source))
    else:
        tell(f"fp16 by AutoCast of nvidia-modelopt {version('nvidia-modelopt')}")
        with quiet_loggers(TALKATIVE, logging.ERROR):
            proto = autocast.convert_to_mixed_precision(
                onnx_path=str(source), low_precision_type="fp16", keep_io_types=True, providers=["cpu"]
            )
    if not any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer):
        raise StageError("no weight of the model can be kept in fp16; leave fp16 out of quantize.precisions")
    typed = onnx.shape_inference.infer_shapes(proto).graph.value_info
    kept = {value.name for value in typed if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    largest = {name: value for name, value in _largest(source, input_name, images).items() if name not in kept}
    name = max(largest, key=largest.__getitem__)
    if largest[name] > FP16_MAX:
        raise StageError(f"{name} reaches {largest[name]:.3g}, fp16 ends at {FP16_MAX:g}; leave fp16 out of quantize.precisions")
    return proto


def _convert(proto: Any) -> Any:
    import onnx
    from onnxconverter_common.float16 import convert_float_to_float16

    for node in proto.graph.node:
        if node.op_type == "ConstantOfShape" and not node.attribute:  # zeros of fp32, which the converter takes for fp16
            zero = onnx.helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [0.0])
            node.attribute.append(onnx.helper.make_attribute("value", zero))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the float32 number", category=UserWarning)  # one for every tiny weight
        return convert_float_to_float16(proto, max_finite_val=FP16_MAX, keep_io_types=True)


def _largest(source: Path, input_name: str, images: Iterator[Images]) -> dict[str, float]:
    """The largest absolute value of every float tensor that the fp32 file computes."""
    from onnxruntime.quantization import create_calibrator

    feeds = ({input_name: batch} for batch in images)
    with TemporaryDirectory(prefix="fair-pruner-fp16-") as folder:
        copied = Path(shutil.copy(source, folder))  # the calibrator writes beside its input
        calibrator = create_calibrator(copied, augmented_model_path=str(Path(folder) / "ranges.onnx"))
        calibrator.collect_data(SimpleNamespace(get_next=lambda: next(feeds, None)))
        ranges = calibrator.compute_data()
    return {name: max(float(np.abs(end).max()) for end in found.range_value) for name, found in ranges.items()}
