"""How much memory this process takes while something is built in it."""

import threading
from types import TracebackType
from typing import Self

SAMPLED_EVERY_SECONDS = 0.02


class PeakMemory:
    """Context manager; `peak_bytes` is the largest resident memory of this process seen in the block, sampled by a thread."""

    peak_bytes: int = 0

    def __enter__(self) -> Self:
        import psutil

        self._process = psutil.Process()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLED_EVERY_SECONDS):
            self._sample()

    def _sample(self) -> None:
        self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)
