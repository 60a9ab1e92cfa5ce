"""The trained ResNet-20 in tests/data and the images that it was trained on, for the benchmarks beside this file."""

import json
from pathlib import Path

from safetensors import safe_open
from torch import nn

from pipeline.config import DataConfig
from pipeline.data import Data, load_data
from pipeline.models import build_model, load_checkpoint
from pipeline.records import Architecture

WEIGHTS = Path(__file__).parents[1] / "data" / "fashion_mnist_resnet20.safetensors"


def load_trained() -> tuple[nn.Module, Data]:
    """The network in eval mode, and Fashion-MNIST (Debian's dataset-fashion-mnist) split as in its training."""
    with safe_open(WEIGHTS, "pt") as file:
        metadata = file.metadata()
    model = build_model(Architecture.model_validate_json(metadata["architecture"])).eval()
    load_checkpoint(model, WEIGHTS)
    config = json.loads(metadata["config"])
    return model, load_data(DataConfig.model_validate(config["data"]), config["seed"])
