"""TensorRT or TensorRT-RTX, whichever works here: the members that are used, its messages and its progress.

Both libraries are one module under two names (`tensorrt`, `tensorrt_rtx`). TensorRT asks the GPU that will run the
engine, TensorRT-RTX compiles for all RTX GPUs and needs none. The Protocols list all that is used of them; a test holds
them to the real module.
"""

import importlib
import threading
from collections.abc import Callable
from typing import Any, Protocol, cast

RTX_MODULE = "tensorrt_rtx"
FULL_MODULE = "tensorrt"
WITHOUT_GPU = ("cudaError 35", "cudaError 100", "catchCudaError")  # said after any error where there is no GPU driver


class Network(Protocol):
    """INetworkDefinition: the parsed model."""

    num_inputs: int

    def get_input(self, index: int) -> Any:
        """An ITensor with `.name` and `.shape` (-1 where free)."""
        ...


class Profile(Protocol):
    """IOptimizationProfile: the shapes the engine must serve."""

    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None:  # noqa: A002
        """Smallest, usual and largest shape of an input."""
        ...


class BuilderConfig(Protocol):
    """IBuilderConfig."""

    progress_monitor: Any

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        """Bytes that the builder may plan for."""
        ...

    def add_optimization_profile(self, profile: Profile) -> int:
        """Its index, or -1 if the profile is refused."""
        ...


class Builder(Protocol):
    """Makes everything else; needs a GPU in TensorRT, none in TensorRT-RTX."""

    def create_network(self, flags: int) -> Network:
        """An empty network."""
        ...

    def create_builder_config(self) -> BuilderConfig:
        """Settings of one build."""
        ...

    def create_optimization_profile(self) -> Profile:
        """An empty profile."""
        ...

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> Any:
        """The engine as a buffer, or None after an error, which only the log tells."""
        ...


class OnnxParser(Protocol):
    """Reads an ONNX file into a network."""

    num_errors: int

    def parse_from_file(self, path: str) -> bool:
        """Whether all of it was understood."""
        ...

    def get_error(self, index: int) -> Any:
        """An error with `.desc()`."""
        ...


class TensorRT(Protocol):
    """The module."""

    __name__: str
    __version__: str
    ILogger: Any
    IProgressMonitor: Any
    NetworkDefinitionCreationFlag: Any
    MemoryPoolType: Any

    def Builder(self, logger: Any) -> Builder:  # noqa: N802
        """Raises TypeError where the library finds no GPU and needs one."""
        ...

    def OnnxParser(self, network: Network, logger: Any) -> OnnxParser:  # noqa: N802
        """A parser that fills `network`."""
        ...


class NoTensorRTError(Exception):
    """No TensorRT library can be used here; the message says why and what to install."""


def load_tensorrt(gpu: bool) -> TensorRT:
    """TensorRT first where there is a GPU, TensorRT-RTX first where there is none. Raises NoTensorRTError."""
    reasons = []
    for name in (FULL_MODULE, RTX_MODULE) if gpu else (RTX_MODULE, FULL_MODULE):
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: a shared library of the wheel is missing
            reasons.append(f"{name} ({error})")
            continue
        if hasattr(module, "Builder"):  # a package of type stubs alone can be imported too
            return cast(TensorRT, module)
        reasons.append(f"{name} (it has no Builder)")
    raise NoTensorRTError(
        f"no TensorRT library: {', '.join(reasons)}; install fair-pruner[gpu] on the GPU that will run the engine, "
        "or fair-pruner[rtx], which builds without a GPU"
    )


def message_collector(library: TensorRT) -> tuple[Any, Callable[[], list[str]]]:
    """A logger for the library, and a function that gives its errors so far, without the noise of a missing GPU."""
    errors: list[str] = []
    severity = library.ILogger.Severity

    class Collector(library.ILogger):  # type: ignore[misc, name-defined]  # the base is known at run time only
        def log(self, level: Any, message: str) -> None:
            if level in (severity.ERROR, severity.INTERNAL_ERROR) and not any(noise in message for noise in WITHOUT_GPU):
                errors.append(" ".join(message.split()))

    return Collector(), lambda: list(dict.fromkeys(errors))


def progress_monitor(library: TensorRT, cancelled: threading.Event, advance: Callable[[int, int], None]) -> Any:
    """A monitor for the library: `advance(done, total)` counts the outermost phase, setting `cancelled` ends the build.

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
            return not cancelled.is_set()

        def phase_finish(self, name: str) -> None:
            if name in outermost and not cancelled.is_set():  # the last step is not reported as one
                advance(outermost[name], outermost[name])

    return Monitor()
