"""Stage: fp32 ONNX file -> the same network in lower precision, compared with the fp32 file."""

import math
from collections.abc import Iterator
from contextlib import ExitStack

from pipeline.config import DataConfig, ExportConfig, QuantizeConfig
from pipeline.convert_process import LEAVE_OUT, convert
from pipeline.data import Data, batches, load_data
from pipeline.errors import InputError, StageError
from pipeline.exported import OnnxRecord, Precision
from pipeline.onnx_content import onnx_content
from pipeline.parity import compare
from pipeline.progress import progress
from pipeline.records import CalibrationSet, timed
from pipeline.runner_process import running
from pipeline.runners import Images
from pipeline.store import Store

BATCH_SIZE = 16


@timed
def quantize(
    onnx: OnnxRecord,
    precision: Precision,
    calibration: CalibrationSet,
    data: DataConfig,
    seed: int,
    config: QuantizeConfig,
    export: ExportConfig,
    store: Store,
) -> OnnxRecord:
    """Write the network of an fp32 file in another precision; inputs, outputs and preprocessing stay as they are.

    Equal inputs give equal bytes. int8 takes its ranges from up to `config.samples` images, evenly spread over the
    calibration set; fp16 is only checked on them. Parity is that with the fp32 file, both in ONNX Runtime on the CPU, and has
    no limit here: what a file loses is for its accuracy to tell. Raises InputError if `onnx` is not fp32, StageError if the
    file cannot be converted or then gives logits that are not finite.
    """
    if onnx.precision != "fp32" or precision == "fp32":
        raise InputError(f"a file in {onnx.precision} cannot be made {precision}; start with the fp32 file")
    loaded, source = load_data(data, seed), store.path(onnx.file)
    images, limits = _images(loaded, calibration, config.samples, precision), config.limits("quantize")
    proto = convert(source, precision, onnx.input_name, images, limits)
    with store.writing(".onnx") as (path, file), ExitStack() as opened:
        path.write_bytes(onnx_content(proto, onnx.preprocessing))
        reference = opened.enter_context(running(source, "onnxruntime", onnx.input_name, onnx.output_name, limits))
        try:
            follower = opened.enter_context(running(path, "onnxruntime", onnx.input_name, onnx.output_name, limits))
        except InputError as error:
            raise StageError(f"ONNX Runtime does not load the model in {precision}: {error}; or {LEAVE_OUT}") from error
        parity = compare(reference, follower, loaded, export, f"quantize {precision}")
        if not math.isfinite(parity.max_abs_diff):
            raise StageError(f"the model in {precision} gives logits that are not finite; {LEAVE_OUT}")
    made_from = (onnx.digest,) if precision == "fp16" else (onnx.digest, calibration.digest)
    return onnx.model_copy(update={"parents": made_from, "file": file(), "precision": precision, "parity": parity})


def _images(data: Data, calibration: CalibrationSet, samples: int, precision: str) -> Iterator[Images]:
    """Every n-th image of the set, which lists one class after the other."""
    indices = calibration.indices
    count = min(samples, len(indices))
    chosen = [indices[at * len(indices) // count] for at in range(count)]
    steps = -(-count // BATCH_SIZE)
    for images, _ in progress(batches(data.train, chosen, BATCH_SIZE), f"quantize {precision} · ranges", steps):
        yield images.numpy()
