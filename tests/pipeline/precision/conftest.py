"""The tiny VGG and a small vision transformer in every precision; do not write to their stores."""

import shutil

import pytest
import torch

from pipeline.calibrate import calibrate
from pipeline.config import CalibrateConfig, DataConfig, ExportConfig, QuantizeConfig
from pipeline.export import export
from pipeline.exported import OnnxRecord
from pipeline.models import build_model, cost_fields, save_weights
from pipeline.quantize import quantize
from pipeline.records import Architecture, CalibrationSet, ModelRecord
from pipeline.store import Store

DATA, SEED = DataConfig(), 3


@pytest.fixture(scope="session")
def calibration() -> CalibrationSet:
    return calibrate(DATA, CalibrateConfig(per_class=10), SEED)


@pytest.fixture(scope="session")
def made(
    exported: tuple[Store, OnnxRecord], calibration: CalibrationSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, dict[str, OnnxRecord]]:
    """The tiny VGG."""
    store = Store(tmp_path_factory.mktemp("made"))
    shutil.copytree(exported[0].root, store.root, dirs_exist_ok=True)
    return store, in_all_precisions(exported[1], calibration, store)


@pytest.fixture(scope="session")
def attentive(tmp_path_factory: pytest.TempPathFactory, calibration: CalibrationSet) -> tuple[Store, dict[str, OnnxRecord]]:
    """A vision transformer of one block."""
    store = Store(tmp_path_factory.mktemp("attentive"))
    kwargs = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
    architecture = Architecture(source="timm", name="vit_tiny_patch16_224", kwargs=kwargs, num_classes=10, input_shape=(1, 8, 8))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = build_model(architecture).eval()
        torch.nn.init.normal_(model.head.weight, std=0.3)  # else the logits are all but equal
    record = ModelRecord(
        stage="dense",
        architecture=architecture,
        plan=None,
        weights=save_weights(model, store),
        **cost_fields(model, architecture),
    )
    return store, in_all_precisions(export(record, DATA, SEED, ExportConfig(), store), calibration, store)


def in_all_precisions(fp32: OnnxRecord, calibration: CalibrationSet, store: Store) -> dict[str, OnnxRecord]:
    return {"fp32": fp32} | {
        precision: quantize(fp32, precision, calibration, DATA, SEED, QuantizeConfig(), ExportConfig(), store)
        for precision in ("fp16", "int8-cpu", "int8-trt")
    }
