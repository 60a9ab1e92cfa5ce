"""Stage: model, ONNX file or engine -> accuracy on one split."""

import io
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.config import DataConfig, EvaluateConfig
from pipeline.data import batches, load_data
from pipeline.engine_runner import WithinProfile, running_engine
from pipeline.errors import InputError, StageError
from pipeline.exported import EngineRecord, OnnxRecord
from pipeline.latency import Runtime
from pipeline.measurements import EvalReport
from pipeline.models import device, load_model
from pipeline.progress import log, progress
from pipeline.records import FileRef, ModelRecord, Record, timed
from pipeline.runner_process import ProcessRunner, running
from pipeline.store import Store
from pipeline.torch_runner import TorchRunner

OWN_RUNTIMES: dict[type[Record], tuple[str, Runtime]] = {
    ModelRecord: ("a torch model", "torch"),
    OnnxRecord: ("an ONNX file", "onnxruntime"),
    EngineRecord: ("an engine", "tensorrt"),
}
Subject = ModelRecord | OnnxRecord | EngineRecord
TOP5_FROM_CLASSES = 10


@timed
def evaluate(
    subject: Subject,
    split: Literal["validation", "test"],
    data: DataConfig,
    seed: int,
    config: EvaluateConfig,
    store: Store,
    runtime: Runtime | None = None,
) -> EvalReport:
    """Top-1, top-5 (from ten classes up) and the recall of each class, as shares in [0, 1]; higher is better.

    `runtime` None: torch for a model, ONNX Runtime on the CPU for an ONNX file, TensorRT for an engine. The predicted class of
    every image goes into the store, for a paired test. A class without images in the split has recall 0.0, which a record can
    hold, and is named in a warning. Raises InputError if the split is empty, the subject was made for another number of classes
    or is nothing that the runtime runs, StageError if a logit is not finite.
    """
    loaded = load_data(data, seed)
    images_of = loaded.train if split == "validation" else loaded.test
    indices = loaded.validation_indices if split == "validation" else tuple(range(len(loaded.test)))
    if not indices:
        raise InputError(f"the {split} split of {data.name} has no images; check data.root")
    classes = loaded.num_classes
    found: list[Tensor] = []  # (2, b): predicted class and label of each image
    among_five = 0
    steps = math.ceil(len(indices) / config.batch_size)
    with _opened(subject, runtime, config, store) as runner:
        for images, labels in progress(batches(images_of, indices, config.batch_size), f"evaluate · {split}", steps):
            logits = torch.tensor(runner(images.numpy()))  # (b, K)
            if logits.shape[1] != classes:
                raise InputError(
                    f"the model has {logits.shape[1]} classes, {data.name} has {classes}; use the data it was made for"
                )
            if not logits.isfinite().all():
                raise StageError(f"the model gives logits that are not finite on {split} images; {_remedy(subject)}")
            found.append(torch.stack((logits.argmax(1), labels)))
            if classes >= TOP5_FROM_CLASSES:
                among_five += int((logits.topk(5).indices == labels[:, None]).sum())
    predicted, wanted = predictions = torch.cat(found, dim=1)
    total, correct = (labels.bincount(minlength=classes) for labels in (wanted, wanted[predicted == wanted]))
    absent = [name for name, count in zip(loaded.class_names, total.tolist(), strict=True) if not count]
    if absent:
        log.warning("the %s split has no images of %s: their recall is written as 0", split, ", ".join(absent))
    return EvalReport(
        parents=(subject.digest,),
        subject=subject.digest,
        runtime=runner.runtime,
        split=split,
        samples=len(indices),
        top1=int(correct.sum()) / len(indices),
        top5=among_five / len(indices) if classes >= TOP5_FROM_CLASSES else None,
        recall=tuple((correct / total.clamp(min=1)).tolist()),
        predictions=_save(predictions, store),
    )


def _opened(
    subject: Subject, runtime: Runtime | None, config: EvaluateConfig, store: Store
) -> AbstractContextManager[TorchRunner | ProcessRunner | WithinProfile]:
    what, own = OWN_RUNTIMES[type(subject)]
    if runtime not in (None, own) and (not isinstance(subject, OnnxRecord) or runtime in ("torch", "tensorrt")):
        raise InputError(f"{runtime} does not run {what}; torch runs models, tensorrt engines, every other runtime ONNX files")
    if isinstance(subject, ModelRecord):
        return nullcontext(TorchRunner(load_model(subject, store), device()))
    limits = config.limits("evaluate")
    if isinstance(subject, EngineRecord):
        return running_engine(subject, store, limits)
    return running(store.path(subject.file), runtime or own, subject.input_name, subject.output_name, limits)


def _remedy(subject: Subject) -> str:
    if isinstance(subject, ModelRecord) or subject.precision in ("", "fp32"):
        return "train it anew with a smaller lr"
    return f"leave {subject.precision} out of quantize.precisions"


def _save(predictions: Tensor, store: Store) -> FileRef:
    content = io.BytesIO()
    np.save(content, predictions.numpy().astype(np.int32))
    return store.put(content.getvalue(), ".npy")
