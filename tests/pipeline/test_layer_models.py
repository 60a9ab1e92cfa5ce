"""Files of single layers, against torch."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from pipeline.layer_kinds import layers_of
from pipeline.layer_models import INPUT, OUTPUT, STEP, WEIGHT, identity_model, input_shape, layer_model
from pipeline.onnxruntime_runner import OnnxRunner

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "convolution": (nn.Conv2d(5, 9, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (5, 9, 8)),
    "depthwise": (nn.Conv2d(6, 6, 3, padding="same", groups=6), (6, 7, 7)),
    "grouped": (nn.Conv2d(6, 9, 3, groups=3), (6, 7, 7)),
    "even kernel": (nn.Conv2d(3, 4, 4, padding="same"), (3, 6, 6)),
    "one-dimensional": (nn.Conv1d(3, 4, 3, padding=1), (3, 11)),
    "linear": (nn.Linear(7, 4), (7,)),
    "linear on positions": (nn.Linear(7, 4), (5, 7)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", LAYERS)
def test_a_file_computes_what_the_layer_does(name: str, tmp_path: Path) -> None:
    layer, shape = LAYERS[name]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(WEIGHT)
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    (found,) = layers_of(nn.Sequential(layer), images)
    widths = found.kind.widths(found.weight)
    path = tmp_path / "layer.onnx"
    path.write_bytes(layer_model(found.kind, *widths))
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert path.stat().st_size < 1000
    assert input_shape(found.kind, *widths) == shape
    with torch.no_grad():
        expected: Tensor = layer(images).relu()
    if found.kind.operator == "conv":  # one position is handed out
        expected = expected[(slice(None), slice(None), *(slice(0, 1) for _ in found.kind.size))]
    np.testing.assert_allclose(OnnxRunner(path, INPUT, OUTPUT, 1)(images.numpy()), expected.numpy(), atol=1e-6, rtol=1e-5)


FUSED = {"convolution": "QLinearConv", "depthwise": "QLinearConv", "grouped": "QLinearConv", "even kernel": "QLinearConv"}
FUSED |= {"one-dimensional": "QLinearConv", "linear": "QGemm", "linear on positions": "MatMulIntegerToFloat"}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", LAYERS)
def test_in_int8_it_computes_nearly_the_same_with_the_kernels_of_int8(name: str, tmp_path: Path) -> None:
    layer, shape = LAYERS[name]
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    (found,) = layers_of(nn.Sequential(layer), images)
    widths = found.kind.widths(found.weight)
    plain, int8, optimised = (tmp_path / name for name in ("plain.onnx", "int8.onnx", "optimised.onnx"))
    plain.write_bytes(layer_model(found.kind, *widths))
    int8.write_bytes(layer_model(found.kind, *widths, "int8-cpu"))
    onnx.checker.check_model(onnx.load(int8), full_check=True)
    expected, quantised = (OnnxRunner(path, INPUT, OUTPUT, 1)(images.numpy()) for path in (plain, int8))
    np.testing.assert_allclose(quantised, expected, atol=STEP)
    assert not np.array_equal(quantised, expected)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(optimised), 3
    onnxruntime.InferenceSession(int8, options, providers=["CPUExecutionProvider"])
    assert FUSED[name] in [node.op_type for node in onnx.load(optimised).graph.node]


def test_the_file_that_computes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "identity.onnx"
    path.write_bytes(identity_model())
    number = np.full((3, 1), 2.5, dtype=np.float32)
    np.testing.assert_array_equal(OnnxRunner(path, INPUT, OUTPUT, 1)(number), number)
