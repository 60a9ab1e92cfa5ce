"""The latency of each layer, measured here, and what is read from that."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from fair_pruner import CostModel, GroupPlan, PruningPlan
from pipeline import layer_costs as stage
from pipeline import layer_timing
from pipeline.config import LayerCostConfig
from pipeline.errors import InputError
from pipeline.exported import OnnxRecord
from pipeline.latency_model import LatencyModel
from pipeline.layer_costs import fast_block, layer_costs
from pipeline.layer_table import LayerTable
from pipeline.layer_timing import TimedFile
from pipeline.models import example_input, load_model
from pipeline.records import ModelRecord
from pipeline.store import Store


def test_every_layer_of_a_model_is_measured(
    dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_timing, "POINT_SECONDS", 0.001)
    config = LayerCostConfig(points=2, batch_size=4)
    record = layer_costs(dense_record, onnx_record, {}, config, 1, store)
    table = LayerTable.model_validate_json(store.path(record.table).read_text())
    assert [layer.name for layer in table.layers] == ["features.0", "features.4", "classifier"]
    assert (record.layers, record.batch_size, record.threads) == (3, 4, 1)
    assert record.parents == (dense_record.digest, onnx_record.digest)
    assert "onnxruntime" in record.machine.versions or "onnxruntime-gpu" in record.machine.versions
    assert record.dense_ms > table.overhead_ms > 0
    assert all(ms > 0 for costs in table.costs for grid in (costs.fast_ms, costs.slow_ms) for line in grid for ms in line)
    assert all(side.block == table.costs[0].inputs.block for costs in table.costs for side in (costs.inputs, costs.outputs))

    network, inputs = load_model(dense_record, store), example_input(dense_record.architecture, batch=2)
    model = LatencyModel.of(record, store, CostModel(network, inputs))
    assert model.predict(PruningPlan((), 0.1, "tod", 1, 1)) == record.dense_ms
    cut = GroupPlan("features.4", 16, tuple(range(8)), 0.0, 0.0, 0.0, 0.0, 8)
    assert model.predict(PruningPlan((cut,), 0.1, "tod", 1, 1)) >= table.overhead_ms


def test_layers_are_measured_in_the_precision_of_the_file(
    dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantised: list[bool] = []

    def answer(files: Sequence[TimedFile], *_: object) -> list[list[float]]:
        layers = [file.path for file in files if "channels" in file.path.name]
        quantised.append(all(b"QuantizeLinear" in path.read_bytes() for path in layers))
        return [[1.0] for _ in files]

    monkeypatch.setattr(stage, "medians", answer)
    for precision in ("fp32", "int8-cpu"):
        onnx = onnx_record.model_copy(update={"precision": precision})
        assert layer_costs(dense_record, onnx, {}, LayerCostConfig(), 1, store).precision == precision
    assert quantised == [False, False, True, True]  # to find the block, and the layers
    with pytest.raises(InputError, match="layers are measured in fp32 or int8-cpu, not in fp16; set"):
        layer_costs(dense_record, onnx_record.model_copy(update={"precision": "fp16"}), {}, LayerCostConfig(), 1, store)


def test_layers_that_are_alike_are_measured_once(
    dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[Path]] = []

    def answer(files: Sequence[TimedFile], *_: object) -> list[list[float]]:
        ran.append([file.path for file in files])
        return [[2.0, 1.0, 3.0] for _ in files]

    network = load_model(dense_record, store)
    twice = stage.layers_of(network, example_input(dense_record.architecture)) * 2
    monkeypatch.setattr(stage, "medians", answer)
    monkeypatch.setattr(stage, "layers_of", lambda *_: twice)
    record = layer_costs(dense_record, onnx_record, {}, LayerCostConfig(), 1, store)
    table = LayerTable.model_validate_json(store.path(record.table).read_text())
    assert (table.cost_of, len(table.costs), record.layers) == ((0, 1, 2, 0, 1, 2), 3, 6)
    dense = store.path(onnx_record.file)
    files = ran[-1]
    assert [place for place, path in enumerate(files) if path == dense] == [1, 2 + record.points // 2, len(files) - 1]
    assert len(set(files)) == record.points + 2
    assert (record.dense_ms, table.overhead_ms) == (2.0, 1.0)  # the median of all passes, and the least


@pytest.mark.parametrize("block", [8, 16])
def test_the_block_is_found_by_what_half_of_it_costs(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(files: Sequence[TimedFile], *_: object) -> list[list[float]]:
        """Inputs cost by whole blocks; the machine is noisy, each pass otherwise."""
        whole = (-(-file.input_shape[0] // block) * block for file in files)
        return [
            [0.02 + 0.001 * count + noise * (place % 3) for noise in (0.001, 0.0005, 0.1)] for place, count in enumerate(whole)
        ]

    monkeypatch.setattr(stage, "medians", answer)
    assert fast_block(tmp_path, "fp32", 1, 1) == block


def test_what_cannot_be_measured_is_refused(
    dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "layers_of", lambda *_: ())
    with pytest.raises(InputError, match="vgg has no convolution and no linear layer that could be measured; set"):
        layer_costs(dense_record, onnx_record, {}, LayerCostConfig(), 1, store)
    store.path(onnx_record.file).unlink()
    with pytest.raises(InputError, match="missing from the store"):
        layer_costs(dense_record, onnx_record, {}, LayerCostConfig(), 1, store)
