"""How closely a file follows its reference on real images."""

import math
from collections.abc import Callable

import numpy as np

from pipeline.config import ExportConfig
from pipeline.data import Data, batches
from pipeline.exported import Parity
from pipeline.progress import progress
from pipeline.runners import Images, Logits

Classifier = Callable[[Images], Logits]
TINIEST = float(np.finfo(np.float32).tiny)


def compare(reference: Classifier, follower: Classifier, data: Data, config: ExportConfig, description: str) -> Parity:
    """Run both on up to `config.samples` validation images and compare their logits.

    The reference runs at the largest batch, the follower at batches of 1, 3 and `config.max_batch` (as far as there are so
    many images), so that a file that depends on its batch shows too. Differences are the largest over all of them, the
    agreement is the smallest, `sqnr_db` counts all. Logits that are not finite make `max_abs_diff` not finite.
    """
    indices = data.validation_indices[: config.samples]
    sizes = tuple(sorted({min(size, len(indices)) for size in (1, 3, config.max_batch)}))
    difference = largest = np.float32(0)
    signal = noise = 0.0
    agreeing = dict.fromkeys(sizes, 0)
    steps = -(-len(indices) // sizes[-1])
    for tensor, _ in progress(batches(data.train, indices, sizes[-1]), f"{description} · parity", steps):
        images = tensor.numpy()
        expected = reference(images)  # (b, K)
        largest = np.maximum(largest, abs(expected).max())
        for size in sizes:
            found = np.concatenate([follower(images[at : at + size]) for at in range(0, len(images), size)])
            with np.errstate(invalid="ignore"):  # inf - inf is a NaN, which np.maximum keeps
                apart = abs(found - expected)
            difference = np.maximum(difference, apart.max())
            signal += float(np.square(expected, dtype=np.float64).sum())
            noise += float(np.square(apart, dtype=np.float64).sum())
            agreeing[size] += int((found.argmax(1) == expected.argmax(1)).sum())
    return Parity(
        batch_sizes=sizes,
        samples=len(indices),
        max_abs_diff=float(difference),
        max_relative_diff=float(difference) / max(float(largest), TINIEST),
        top1_agreement=min(agreeing.values()) / len(indices),
        sqnr_db=10 * (math.log10(max(signal, TINIEST)) - math.log10(noise)) if noise else None,
    )
