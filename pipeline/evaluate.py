"""Stage: model or ONNX file -> accuracy on one split."""

import math
from typing import Literal

import torch

from pipeline.config import DataConfig, EvaluateConfig
from pipeline.data import batches, load_data
from pipeline.errors import InputError, StageError
from pipeline.measurements import EvalReport
from pipeline.progress import log, progress
from pipeline.records import ModelRecord, OnnxRecord, timed
from pipeline.runners import open_runner
from pipeline.store import Store

TOP5_FROM_CLASSES = 10


@timed
def evaluate(
    subject: ModelRecord | OnnxRecord,
    split: Literal["validation", "test"],
    data: DataConfig,
    seed: int,
    config: EvaluateConfig,
    store: Store,
) -> EvalReport:
    """Top-1, top-5 (from ten classes up) and the recall of each class, as shares in [0, 1]; higher is better.

    A class without images in the split has recall 0.0, which a record can hold, and is named in a warning. Raises
    InputError if the split is empty or the subject was made for another number of classes, StageError if a logit is not
    finite.
    """
    loaded = load_data(data, seed)
    images_of = loaded.train if split == "validation" else loaded.test
    indices = loaded.validation_indices if split == "validation" else tuple(range(len(loaded.test)))
    if not indices:
        raise InputError(f"the {split} split of {data.name} has no images; check data.root")
    runner, classes = open_runner(subject, store), loaded.num_classes
    total, correct = torch.zeros(classes, dtype=torch.long), torch.zeros(classes, dtype=torch.long)
    among_five = 0
    steps = math.ceil(len(indices) / config.batch_size)
    for images, labels in progress(batches(images_of, indices, config.batch_size), f"evaluate · {split}", steps):
        logits = runner(images).float().cpu()  # (b, K)
        if logits.shape[1] != classes:
            raise InputError(f"the model has {logits.shape[1]} classes, {data.name} has {classes}; use the data it was made for")
        if not logits.isfinite().all():
            raise StageError(f"the model gives logits that are not finite on {split} images; train it anew with a smaller lr")
        total += labels.bincount(minlength=classes)
        correct += labels[logits.argmax(1) == labels].bincount(minlength=classes)
        if classes >= TOP5_FROM_CLASSES:
            among_five += int((logits.topk(5).indices == labels[:, None]).sum())
    absent = [name for name, count in zip(loaded.class_names, total.tolist(), strict=True) if not count]
    if absent:
        log.warning("the %s split has no images of %s: their recall is written as 0", split, ", ".join(absent))
    return EvalReport(
        parents=(subject.digest,),
        subject=subject.digest,
        runtime="torch" if isinstance(subject, ModelRecord) else "onnxruntime",
        split=split,
        samples=len(indices),
        top1=int(correct.sum()) / len(indices),
        top5=among_five / len(indices) if classes >= TOP5_FROM_CLASSES else None,
        recall=tuple((correct / total.clamp(min=1)).tolist()),
    )
