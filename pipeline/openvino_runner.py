"""OpenVINO on the CPU as a runner."""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.runners import Images, Logits, Timings, time_on_cpu

if TYPE_CHECKING:
    from pipeline.latency import Runtime

DEVICE, TELEMETRY = "CPU", "openvino_telemetry"


class OpenVinoRunner:
    """An ONNX file in OpenVINO on the CPU, set for latency: one stream of `threads` threads, 0 means as many as it likes.

    Wherever a file is not quantised it is computed in fp32, or in fp16 if it says so and the CPU can: left alone, OpenVINO would
    quietly take bf16 on CPUs that have units for it, and another model than the one compared with torch would be measured.
    Raises InputError if OpenVINO is missing or does not load the file.
    """

    runtime: "Runtime" = "openvino"

    def __init__(self, path: Path, input_name: str, output_name: str, threads: int = 0) -> None:
        openvino = load_openvino()
        try:
            core = openvino.Core()
            model = core.read_model(path)
            settings = _settings(threads) | _precision(model, core, openvino)
            self.compiled = core.compile_model(model, DEVICE, settings)
            self._dtype = self.compiled.input(input_name).get_element_type().to_dtype()
            self._output = self.compiled.output(output_name)
        except RuntimeError as error:
            raise InputError(
                f"OpenVINO {openvino.__version__} does not load {path.name}: {' '.join(str(error).split())}; export it anew"
            ) from error
        self.input_name, self._openvino, self._request = input_name, openvino, self.compiled.create_infer_request()

    def __call__(self, images: Images) -> Logits:
        """Logits (n, K) of images (n, C, H, W)."""
        results = self._request.infer({self.input_name: self._converted(images)})
        return np.array(results[self._output], dtype=np.float32)

    def time(self, images: Images, runs: int) -> Timings:
        """Run the batch `runs` times, each run to its end; the images lie where OpenVINO reads them, nothing is copied."""
        self._request.set_tensor(self.input_name, self._openvino.Tensor(self._converted(images)))
        return time_on_cpu(lambda: self._request.infer(share_outputs=True), runs)

    def _converted(self, images: Images) -> NDArray[Any]:
        return np.ascontiguousarray(images, dtype=self._dtype)


def load_openvino() -> Any:
    """The module, without its telemetry: that tells Google Analytics of every import, so of every round of a benchmark.

    Raises InputError if it is missing.
    """
    hidden = TELEMETRY not in sys.modules
    if hidden:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # as if not installed: OpenVINO has a stand-in for that case
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise InputError(f"OpenVINO cannot be imported ({error}); install fair-pruner[openvino]") from error
    finally:
        if hidden:
            del sys.modules[TELEMETRY]


def _settings(threads: int) -> dict[str, Any]:
    threads_setting = {"INFERENCE_NUM_THREADS": threads} if threads else {}
    # which cores the process may use, is decided outside
    return {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False, **threads_setting}


def _precision(model: Any, core: Any, openvino: Any) -> dict[str, Any]:
    """fp16 if the file itself computes in it and the CPU has units for it (without them OpenVINO would take bf16), else fp32."""
    kinds = {output.get_element_type() for node in model.get_ops() for output in node.outputs()}
    half = openvino.Type.f16 in kinds and "FP16" in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    return {"INFERENCE_PRECISION_HINT": "f16" if half else "f32"}
