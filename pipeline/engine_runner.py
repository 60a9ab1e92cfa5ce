"""An engine of the store in a process of its own, for any number of images."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from pipeline.errors import InputError
from pipeline.exported import EngineRecord
from pipeline.runner_process import ProcessRunner, running
from pipeline.runners import Images, Logits
from pipeline.store import Store
from pipeline.watched_process import Limits


class WithinProfile:
    """Any number of images on an engine that takes batches from `smallest` to `largest`: split, and the last one filled up."""

    def __init__(self, runner: ProcessRunner, smallest: int, largest: int) -> None:
        self._runner, self._smallest, self._largest = runner, smallest, largest
        self.runtime = runner.runtime

    def __call__(self, images: Images) -> Logits:
        """Logits (n, K) of images (n, C, H, W)."""
        parts = (images[at : at + self._largest] for at in range(0, len(images), self._largest))
        return np.concatenate([self._filled(part) for part in parts])

    def _filled(self, images: Images) -> Logits:
        missing = max(0, self._smallest - len(images))
        return self._runner(np.concatenate([images, images[:1].repeat(missing, axis=0)]))[: len(images)]


@contextmanager
def running_engine(engine: EngineRecord, store: Store, limits: Limits) -> Iterator[WithinProfile]:
    """The engine in TensorRT, as long as the block; the limits are for opening it and for each of its batches.

    Raises InputError for an engine that was not built, and what `running` raises.
    """
    if engine.file is None or engine.profile is None:
        raise InputError(f"there is no engine ({engine.reason}); build one with engine.enabled: true")
    smallest, _, largest = engine.profile
    with running(store.path(engine.file), "tensorrt", "", "", limits, "the engine") as runner:
        yield WithinProfile(runner, smallest, largest)
