"""Golden inputs and outputs of a bundle, and how closely another machine must reproduce them."""

import io
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from pipeline.data import Data
from pipeline.errors import StageError
from pipeline.exported import OnnxRecord, Precision
from pipeline.manifest import Tolerance
from pipeline.runner_process import running
from pipeline.runners import Images, Logits
from pipeline.store import Store
from pipeline.watched_process import Limits

SAMPLES = 16
BATCH_SIZES = (1, 3, 16)
FP32_RELATIVE = 1e-4  # other orders of the same sums
TF32_RELATIVE = 1e-2
FP16_RELATIVE = 2e-2  # a ResNet-20 in true fp16 arithmetic differs by 0.4e-2
INT8_STEP = 1 / 127  # of the output's range
FP32_REASON = """\
Processors add the same numbers in other orders: 1e-4 of the largest logit. GPUs may round what they multiply to TF32, 11
significant bits: 1e-2 of the largest logit."""
FP16_REASON = """\
Some processors compute fp16 files in fp32, others round to 11 significant bits after every layer: 2e-2 of the largest logit,
which is forty such roundings in one direction, or twice the file's own largest difference from fp32."""
INT8_REASON = """\
Processors and runtimes fuse other layers, round to int8 at other places, and older CPUs saturate sums of products, so each has
its own noise. Two that follow fp32 as closely as this file does here lie at most twice that noise apart; at least 1/127 of the
largest logit. Single logits may differ by more, so the root of the mean square is what counts."""
AGREEMENT = """\
The top-1 class may differ twice as often as between this file and its reference, and on one image more, which may be nearly
tied."""


class GoldenSet(NamedTuple):
    """`images` (n, C, H, W) as the models take them, and the logits (n, K) of each precision on them."""

    images: Images
    logits: dict[Precision, Logits]

    def to_npz(self) -> bytes:
        """As .npz with the arrays `images` and `logits.<precision>`; equal values give equal bytes."""
        content = io.BytesIO()
        arrays = {"images": self.images, **{f"logits.{name}": values for name, values in self.logits.items()}}
        np.savez(content, allow_pickle=False, **arrays)
        return content.getvalue()


def golden_set(models: Sequence[OnnxRecord], data: Data, limits: Limits, store: Store) -> GoldenSet:
    """Run up to 16 validation images, evenly spread over the split, through every file in ONNX Runtime on one CPU thread.

    Raises StageError if a logit is not finite, and what `running` raises.
    """
    indices = data.validation_indices[:: max(1, len(data.validation_indices) // SAMPLES)][:SAMPLES]
    images: Images = data.train.load(indices)[0].numpy()
    logits: dict[Precision, Logits] = {}
    for model in models:
        path, name = store.path(model.file), f"the {model.precision} file"
        with running(path, "onnxruntime", model.input_name, model.output_name, limits, name, threads=1) as runner:
            found = runner(images)
        if not np.isfinite(found).all():
            raise StageError(f"the {model.precision} file gives logits that are not finite on validation images; leave it out")
        logits[model.precision] = found
    return GoldenSet(images, logits)


def tolerance(model: OnnxRecord, logits: Logits) -> Tolerance:
    """What another machine may make of the golden images, with the reason; `logits` are this machine's."""
    largest, parity = float(abs(logits).max()), model.parity
    measure: Literal["largest", "rms"] = "largest"
    match model.precision:
        case "fp32":
            cpu, gpu, reason = FP32_RELATIVE * largest, TF32_RELATIVE * largest, FP32_REASON
        case "fp16":
            cpu = gpu = max(FP16_RELATIVE * largest, 2 * parity.max_abs_diff)
            reason = FP16_REASON
        case _:
            noise = 0.0 if parity.sqnr_db is None else 10 ** (-parity.sqnr_db / 20)  # relative to the logits
            rms = math.sqrt(np.square(logits, dtype=np.float64).mean())
            cpu = gpu = max(INT8_STEP * largest, 2 * noise * rms)
            measure, reason = "rms", INT8_REASON
    others = min(len(logits), math.ceil(2 * (1 - parity.top1_agreement) * len(logits)) + 1)
    return Tolerance(
        measure=measure,
        max_difference=cpu,
        max_difference_gpu=gpu,
        min_agreement=1 - others / len(logits),
        reason=" ".join(f"{reason} {AGREEMENT}".split()),
    )
