"""TensorRT or TensorRT-RTX, whichever builds here: its messages and its progress.

TensorRT asks the GPU that will run the engine, TensorRT-RTX compiles for all RTX GPUs and needs none.
"""

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any, cast
from weakref import WeakSet

from pipeline.errors import InputError
from pipeline.tensorrt_members import TensorRT

RTX_MODULE = "tensorrt_rtx"
FULL_MODULE = "tensorrt"
WITHOUT_GPU = ("cudaError 35", "cudaError 100", "catchCudaError")  # said after any error where there is no GPU driver


class NoTensorRTError(InputError):
    """No TensorRT library can build here; the message says why and what to install."""


def load_tensorrt(gpu: bool) -> TensorRT:
    """TensorRT where there is a GPU, else TensorRT-RTX. Raises NoTensorRTError."""
    reasons = []
    for name in (FULL_MODULE, RTX_MODULE) if gpu else (RTX_MODULE, FULL_MODULE):
        try:
            module = cast(TensorRT, importlib.import_module(name))
        except (ImportError, OSError) as error:  # OSError: a shared library of the wheel is missing
            reasons.append(f"{name} ({error})")
            continue
        if not hasattr(module, "Builder"):  # a package of type stubs alone can be imported too
            reasons.append(f"{name} (it has no Builder)")
        elif name == FULL_MODULE and not gpu:
            reasons.append(f"{name} ({module.__version__} needs the GPU that will run the engine, and there is none)")
        else:
            return module
    raise NoTensorRTError(
        f"no TensorRT library can build here: {', '.join(reasons)}; install fair-pruner[gpu] on the GPU that will run the "
        "engine, or fair-pruner[rtx], which builds without a GPU"
    )


def installed_version(name: str) -> str:
    """The version of an installed library (`tensorrt` or `tensorrt_rtx`), empty if it does not import."""
    try:
        return str(getattr(importlib.import_module(name), "__version__", ""))
    except (ImportError, OSError):
        return ""


class Messages:
    """What a library says from now on, from INFO up, and its errors. Hand `logger` to it.

    What a missing GPU makes it say is left out. A library knows one logger at a time, that of the first builder or runtime
    that lives, so there is one for all, and it tells every Messages that is still held.
    """

    def __init__(self, library: TensorRT) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.logger, listeners = _logger(library.ILogger)
        listeners.add(self)

    def keep(self, letter: str, message: str) -> None:
        """Take one message of the severity I, W or E."""
        text = without_noise(message)
        if text:
            self.lines.append(f"[{letter}] {text}")
        if text and letter == "E" and text not in self.errors:
            self.errors.append(text)

    def text(self) -> str:
        """All messages, one a line."""
        return "".join(f"{line}\n" for line in self.lines)


@cache
def _logger(base: Any) -> tuple[Any, WeakSet[Messages]]:
    """The logger of a library, which is known by its ILogger, and whom it tells."""
    severity, listeners = base.Severity, WeakSet[Messages]()
    letters = {severity.INFO: "I", severity.WARNING: "W", severity.ERROR: "E", severity.INTERNAL_ERROR: "E"}

    class Logger(base):  # type: ignore[misc]  # the base is known at run time only
        def log(self, level: Any, message: str) -> None:
            if level in letters:
                for each in [*listeners]:
                    each.keep(letters[level], message)

    return Logger(), listeners


def without_noise(message: str) -> str:
    """A message as one line without its full stop, and without the lines that only tell of a missing GPU."""
    lines = (line for line in message.splitlines() if not any(noise in line for noise in WITHOUT_GPU))
    return " ".join(" ".join(lines).split()).removesuffix(".")


def progress_monitor(library: TensorRT, advance: Callable[[int, int], None]) -> Any:
    """A monitor for the library: `advance(done, total)` counts the outermost phase.

    The library calls it from threads of its own, so `advance` must be safe there. Keep the monitor until the build is
    over.
    """
    outermost: dict[str, int] = {}

    class Monitor(library.IProgressMonitor):  # type: ignore[misc, name-defined]  # the base is known at run time only
        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            if parent is None:
                outermost[name] = steps
                advance(0, steps)

        def step_complete(self, name: str, step: int) -> bool:
            if name in outermost:
                advance(step + 1, outermost[name])
            return True

        def phase_finish(self, name: str) -> None:
            if name in outermost:  # the last step is not reported as one
                advance(outermost[name], outermost[name])

    return Monitor()
