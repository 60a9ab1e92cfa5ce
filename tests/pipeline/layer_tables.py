"""A runtime that is made up, whose latencies are known at all channel counts, and what would be measured on it."""

from collections.abc import Iterable

from pipeline.latency import LayerCostRecord, Machine
from pipeline.layer_kinds import Layer, LayerKind, layers_of
from pipeline.layer_models import input_shape
from pipeline.layer_points import Point, Subject, Widths, points, tabulate
from pipeline.layer_table import LayerTable
from pipeline.models import example_input, load_model
from pipeline.records import ModelRecord
from pipeline.store import Store

OVERHEAD_MS, DENSE_MS = 0.01, 2.0
STEP, SLOWER = 4, 1.6
MACHINE = Machine(cpu="made up", cores=1, system="", versions={}, load_average=0.0, busy_cores=0.0)


def layer_ms(kind: LayerKind, widths: Widths, block: int) -> float:
    """Inputs are filled up to blocks from every multiple of 4, outputs from any count. Other inputs are slow, but for the few
    channels of an image.
    """
    inputs, outputs = widths
    channels = input_shape(kind, *widths)[0] if kind.operator == "conv" else inputs
    if channels % STEP and channels >= block - 1:
        return SLOWER * _work(inputs, outputs)
    return _work(*(-(-count // block) * block for count in widths))


def _work(inputs: int, outputs: int) -> float:
    return 0.002 + 1e-4 * inputs + 2e-4 * outputs + 3e-5 * inputs * outputs


def file_ms(point: Point, block: int) -> float:
    """What a layer in a file of its own takes: on the fast path layouts change around it."""
    kind, widths = point
    channels = input_shape(kind, *widths)[0]
    nodes, layout = 0.002, 0.003 + 1e-4 * channels
    if kind.operator == "conv" and set(kind.kernel) == {1} and kind.stride == kind.size:
        return nodes if channels < block else layout
    around = layout - nodes / 2 if kind.operator == "conv" and channels >= block and channels % STEP == 0 else 0.0
    return layer_ms(kind, widths, block) + around


def table_of(layers: Iterable[Layer], block: int = 8, count: int = 5) -> LayerTable:
    """The table that the stage would make of these layers on that runtime."""
    costs = []
    for layer in layers:
        subject = Subject.of(layer.kind, layer.kind.widths(layer.weight), block, count)
        costs.append(tabulate(subject, {point: file_ms(point, block) for point in points(subject)}))
    return LayerTable(overhead_ms=OVERHEAD_MS, costs=tuple(costs), layers=tuple(layers), cost_of=tuple(range(len(costs))))


def measured(model: ModelRecord, store: Store) -> LayerCostRecord:
    """Layer costs of a dense model, as if they had been measured on that runtime."""
    layers = layers_of(load_model(model, store), example_input(model.architecture, batch=2))
    content = table_of(layers).model_dump_json().encode()
    return LayerCostRecord(
        table=store.put(content, ".json"),
        batch_size=1,
        threads=1,
        dense_ms=DENSE_MS,
        layers=len(layers),
        points=1,
        machine=MACHINE,
    )
