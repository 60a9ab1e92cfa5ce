"""Stage: the latency of each layer of a model by its channel counts, measured on this machine."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.config import LayerCostConfig
from pipeline.errors import InputError
from pipeline.exported import OnnxRecord
from pipeline.latency import LayerCostRecord
from pipeline.layer_kinds import LayerKind, layers_of
from pipeline.layer_models import INPUT, OUTPUT, LayerPrecision, identity_model, input_shape, layer_model
from pipeline.layer_points import LEAST_MS, Point, Subject, points, tabulate
from pipeline.layer_table import LayerTable
from pipeline.layer_timing import TimedFile, medians
from pipeline.machine import describe
from pipeline.models import example_input, load_model
from pipeline.progress import log
from pipeline.records import ModelRecord, timed
from pipeline.store import Store

SMALL_BLOCK, LARGE_BLOCK = 8, 16
COMMON = LayerKind(operator="conv", size=(14, 14), kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1))
COMMON_INPUTS, COMMON_OUTPUTS = (32, 64, 96), 32


@timed
def layer_costs(
    model: ModelRecord,
    onnx: OnnxRecord,
    machine: dict[str, str],  # noqa: ARG001  # costs are those of one machine: a cache tells them apart by it
    config: LayerCostConfig,
    threads: int,
    store: Store,
) -> LayerCostRecord:
    """Measure every distinct layer of the dense `model` in a file of its own, in ONNX Runtime on the CPU.

    The files are in the precision of `onnx`, the dense model's file, fp32 or int8-cpu. Along each side of a layer
    `config.points` channel counts are taken on whole blocks, as many off them, and a few that tell which other counts are fast;
    how many channels make a block is found first. `onnx` is measured whole at the beginning, in the middle and at the end. How
    long it may all take is said at `pipeline.layer_timing.medians`; run it alone on the machine. Raises InputError if the model
    has no such layer, `onnx` is in another precision, or ONNX Runtime is missing.
    """
    dense = TimedFile(store.path(onnx.file), onnx.input_name, onnx.output_name, onnx.input_shape)
    precision = onnx.precision
    if precision not in ("fp32", "int8-cpu"):
        raise InputError(f"layers are measured in fp32 or int8-cpu, not in {precision}; set layer_costs.precision to one of them")
    layers = layers_of(load_model(model, store), example_input(model.architecture, batch=2))
    if not layers:
        raise InputError(
            f"{model.architecture.name} has no convolution and no linear layer that could be measured; set allocate.round_to to "
            "a number, and budgets to macs, params or bytes"
        )
    here = describe(("onnxruntime",))
    distinct = list(dict.fromkeys((layer.kind, layer.kind.widths(layer.weight)) for layer in layers))
    with TemporaryDirectory() as name:
        folder = Path(name)
        block = fast_block(folder, precision, config.batch_size, threads)
        subjects = [Subject.of(kind, widths, block, config.points) for kind, widths in distinct]
        asked = list(dict.fromkeys(point for subject in subjects for point in points(subject)))
        overhead, dense_ms, times = _measured(dense, asked, folder, precision, config.batch_size, threads)
    table = LayerTable(
        overhead_ms=overhead,
        costs=tuple(tabulate(subject, times) for subject in subjects),
        layers=layers,
        cost_of=tuple(distinct.index((layer.kind, layer.kind.widths(layer.weight))) for layer in layers),
    )
    return LayerCostRecord(
        parents=(model.digest, onnx.digest),
        table=store.put(table.model_dump_json().encode(), ".layer-costs.json"),
        precision=precision,
        batch_size=config.batch_size,
        threads=threads,
        dense_ms=dense_ms,
        layers=len(layers),
        points=len(asked),
        machine=here,
    )


def fast_block(folder: Path, precision: LayerPrecision, batch_size: int, threads: int) -> int:
    """How many channels ONNX Runtime computes together on this CPU: 8, or 16 where the CPU has AVX-512, and in int8.

    In a block of 16 a convolution of 16n + 8 input channels costs as much as one of 16n + 16, else it lies half way.
    """
    counts = [inputs + more for more in (0, SMALL_BLOCK, LARGE_BLOCK) for inputs in COMMON_INPUTS]
    files = [_saved(folder, place, (COMMON, (count, COMMON_OUTPUTS)), precision) for place, count in enumerate(counts)]
    least = [min(passes) for passes in medians(files, batch_size, threads, "blocks of channels")]
    size = len(COMMON_INPUTS)
    whole, between, next_whole = (sum(least[start : start + size]) for start in (0, size, 2 * size))
    block = SMALL_BLOCK if between < whole + 0.75 * (next_whole - whole) else LARGE_BLOCK
    log.info("ONNX Runtime computes %d channels together on this CPU", block)
    return block


def _measured(
    dense: TimedFile, asked: Sequence[Point], folder: Path, precision: LayerPrecision, batch_size: int, threads: int
) -> tuple[float, float, dict[Point, float]]:
    """Milliseconds of a run of nothing, of the dense model, and of every point without what a run of nothing takes.

    Of the dense model it is the median of all passes, as benchmarks tell it; a part counts as it is when nothing disturbs it.
    """
    (folder / "identity.onnx").write_bytes(identity_model())
    nothing = TimedFile(folder / "identity.onnx", INPUT, OUTPUT, (1,))
    files = [_saved(folder, place, point, precision) for place, point in enumerate(asked)]
    half = len(files) // 2
    run = [nothing, dense, *files[:half], dense, *files[half:], dense]
    found = medians(run, batch_size, threads, "layer costs")
    whole = [ms for file, passes in zip(run, found, strict=True) if file == dense for ms in passes]
    parts = [min(passes) for file, passes in zip(run, found, strict=True) if file not in (nothing, dense)]
    overhead = min(found[0])
    times = {point: max(LEAST_MS, ms - overhead) for point, ms in zip(asked, parts, strict=True)}
    return overhead, statistics.median(whole), times


def _saved(folder: Path, place: int, point: Point, precision: LayerPrecision) -> TimedFile:
    kind, widths = point
    path = folder / f"{place}, {kind.operator} of {widths[0]} to {widths[1]} channels.onnx"
    path.write_bytes(layer_model(kind, *widths, precision))
    return TimedFile(path, INPUT, OUTPUT, input_shape(kind, *widths))
