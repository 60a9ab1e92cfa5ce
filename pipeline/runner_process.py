"""An ONNX file in a runtime, in a process of its own; this file is also what that process runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.answering import Answer, Say, answer
from pipeline.runners import Images, Logits, Runner, open_file
from pipeline.watched_process import Limits, WatchedProcess

if TYPE_CHECKING:
    from pipeline.latency import Runtime


class ProcessRunner:
    """Has another process execute its file on batches of images."""

    def __init__(self, process: WatchedProcess, runtime: "Runtime", name: str) -> None:
        self.runtime = runtime
        self._process, self._doing = process, f"running {name} in {runtime}"

    def __call__(self, images: Images) -> Logits:
        """Logits (n, K) of images (n, C, H, W)."""
        sent = np.ascontiguousarray(images, np.float32).tobytes()
        line, content = self._process.ask(self._doing, {"shape": images.shape}, sent)
        return np.frombuffer(content, np.float32).reshape(line["shape"])


@contextmanager
def running(
    path: Path, runtime: "Runtime", input_name: str, output_name: str, limits: Limits, name: str = "", threads: int = 0
) -> Iterator[ProcessRunner]:
    """What `open_file` opens, in a process that lives as long as the block.

    `name` is what messages call the file, if not its own. Opening it and every batch are held to the limits. Raises what
    `open_file` raises, and StageError if the process takes too much or dies, here or where it is called.
    """
    name = name or path.name
    with WatchedProcess("pipeline.runner_process", limits) as process:
        how = {"runtime": runtime, "input_name": input_name, "output_name": output_name, "threads": threads}
        process.ask(f"loading {name} in {runtime}", {"path": str(path), **how})
        yield ProcessRunner(process, runtime, name)


class _Inside:
    """What the process does: it opens a file, and then runs it as often as it is asked to."""

    def __init__(self) -> None:
        self.runner: Runner | None = None

    def __call__(self, request: dict[str, Any], content: bytes, _: Say) -> Answer:
        if self.runner is None:
            self.runner = open_file(Path(request.pop("path")), **request)
            return {}, b""
        logits = np.ascontiguousarray(self.runner(np.frombuffer(content, np.float32).reshape(request["shape"])), np.float32)
        return {"shape": logits.shape}, logits.tobytes()


if __name__ == "__main__":
    answer(_Inside())
