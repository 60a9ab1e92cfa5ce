"""A store, and a tiny seeded VGG on `digits` in it: untrained, its BatchNorm statistics measured on real images."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.compile_engine import OnnxSource
from pipeline.config import DataConfig, ExportConfig
from pipeline.data import load_data
from pipeline.export import export
from pipeline.exported import OnnxRecord
from pipeline.models import build_model, cost_fields, save_weights
from pipeline.records import Architecture, ModelRecord
from pipeline.store import Store

from ..onnx_files import IMAGE, classifier

SEED = 3


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


@pytest.fixture
def dense_record(store: Store) -> ModelRecord:
    """The tiny VGG in `store`."""
    return make_dense(store)


@pytest.fixture
def onnx_record(store: Store, exported: tuple[Store, OnnxRecord]) -> OnnxRecord:
    """The tiny VGG as an ONNX file in `store`."""
    source, record = exported
    shutil.copytree(source.root, store.root, dirs_exist_ok=True)
    return record


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, OnnxRecord]:
    """One export for the whole session, since it takes seconds; do not write to its store."""
    store = Store(tmp_path_factory.mktemp("exported"))
    return store, export(make_dense(store), DataConfig(), SEED, ExportConfig(), store)


def make_dense(store: Store) -> ModelRecord:
    architecture = Architecture(
        source="builtin", name="vgg", kwargs={"widths": (8, "M", 16)}, num_classes=10, input_shape=(1, 8, 8)
    )
    data = load_data(DataConfig(), SEED)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        model = build_model(architecture).train()
        model(data.train.load(data.fit_indices[:256])[0])
    return ModelRecord(
        stage="dense",
        architecture=architecture,
        plan=None,
        weights=save_weights(model.eval(), store),
        **cost_fields(model, architecture),
    )


@pytest.fixture
def rtx() -> Any:
    """The real library, which builds without a GPU."""
    return pytest.importorskip("tensorrt_rtx")


@pytest.fixture
def source(tmp_path: Path) -> OnnxSource:
    return OnnxSource(classifier(tmp_path / "m.onnx"), "input", IMAGE)
