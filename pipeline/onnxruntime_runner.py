"""ONNX Runtime as a runner, on the CPU or on a GPU, and never elsewhere than asked."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, StageError
from pipeline.runners import Images, Logits, Timings, time_on_cpu

if TYPE_CHECKING:
    from pipeline.latency import Runtime

CPU = "CPUExecutionProvider"
PROVIDERS: "dict[Runtime, str]" = {
    "onnxruntime": CPU,
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-tensorrt": "TensorrtExecutionProvider",
}
DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
ONLY_ERRORS = 3  # severity of ONNX Runtime's log
# of these ONNX Runtime makes shapes, which it computes on the CPU on purpose, also beside a GPU: a few integers, no images
SHAPE_OPERATORS = frozenset(
    {"Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Gather", "Mul", "ReduceProd", "Shape", "Size"}
    | {"Slice", "Squeeze", "Sub", "Unsqueeze", "Where"}
)


class OnnxRunner:
    """An ONNX file in ONNX Runtime; `threads` 0 means as many as there are cores. On a GPU fp32 may use TF32 units.

    `session` is ONNX Runtime's own object. Images are given in the type that the file takes, fp32 or fp16. Raises
    InputError if ONNX Runtime is missing or lacks the provider, the GPU does not work or the file does not load; StageError if
    another provider would run the file or a part of it.
    """

    def __init__(
        self, path: Path, input_name: str, output_name: str, threads: int = 0, runtime: "Runtime" = "onnxruntime"
    ) -> None:
        self.runtime = runtime
        self.session = _open_session(path, threads, runtime)
        self.input_name, self.output_name = input_name, output_name
        self._dtype = self._input_type(path)

    def __call__(self, images: Images) -> Logits:
        """Logits (n, K) of images (n, C, H, W)."""
        (logits,) = self.session.run([self.output_name], {self.input_name: self._converted(images)})
        return np.asarray(logits, dtype=np.float32)

    def time(self, images: Images, runs: int) -> Timings:
        """Run the batch `runs` times, each to its end. On a GPU images and logits stay there, and wall time is told alone."""
        if self.runtime == "onnxruntime":
            run, outputs, inputs = self.session.run, [self.output_name], {self.input_name: self._converted(images)}
            return time_on_cpu(lambda: run(outputs, inputs), runs)
        binding = self._bound(images)
        wall_ns = np.empty(runs)
        for index in range(runs):
            start = time.perf_counter_ns()
            self.session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            wall_ns[index] = time.perf_counter_ns() - start
        return Timings(wall_ns / 1e6, None)

    def _bound(self, images: Images) -> Any:
        import onnxruntime

        binding = self.session.io_binding()
        binding.bind_ortvalue_input(self.input_name, onnxruntime.OrtValue.ortvalue_from_numpy(self._converted(images), "cuda", 0))
        binding.bind_output(self.output_name, "cuda")
        binding.synchronize_inputs()
        return binding

    def _converted(self, images: Images) -> NDArray[Any]:
        return np.ascontiguousarray(images, dtype=self._dtype)

    def _input_type(self, path: Path) -> Any:
        found = {each.name: each.type for each in self.session.get_inputs()}
        if found.get(self.input_name) not in DTYPES:
            raise InputError(
                f"{path.name} has the inputs {found}; expected {self.input_name} of {' or '.join(DTYPES)}, give such a file"
            )
        return DTYPES[found[self.input_name]]


def _open_session(path: Path, threads: int, runtime: "Runtime") -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"ONNX Runtime cannot be imported ({error}); install fair-pruner[cpu] or fair-pruner[gpu], not both"
        ) from error
    wanted = PROVIDERS[runtime]
    if wanted not in onnxruntime.get_available_providers():
        raise InputError(
            f"{runtime} needs {wanted}, but ONNX Runtime {onnxruntime.__version__} is installed with "
            f"{', '.join(onnxruntime.get_available_providers())}; on a machine with a GPU uninstall onnxruntime and install "
            "fair-pruner[gpu]"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ONLY_ERRORS
    # idle threads of one session would otherwise spin on the cores that the next one is measured on
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # 8-bit products saturate on CPUs without VNNI otherwise, and TensorRT's file would be judged by that
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[wanted], enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors have no base of their own
        what_to_do = "export it anew" if wanted == CPU else "check the GPU and its libraries, or export the file anew"
        raise InputError(
            f"{runtime} {onnxruntime.__version__} does not load {path.name}: {' '.join(str(error).split())}; {what_to_do}"
        ) from error
    _check_provider(session, wanted, path)
    return session


def _check_provider(session: Any, wanted: str, path: Path) -> None:
    """ONNX Runtime goes on on the CPU if a provider does not start, and with single nodes that it cannot run."""
    found = session.get_providers()[0]
    if wanted == CPU:
        if found != CPU:
            raise StageError(f"ONNX Runtime runs {path.name} on {found}, not on {CPU}; check its installation")
        return
    if found != wanted:
        raise InputError(
            f"{wanted} does not start here, ONNX Runtime would run {path.name} on {found}; check that nvidia-smi shows a GPU, "
            "and install the CUDA (and TensorRT) libraries that this ONNX Runtime wants"
        )
    parts = [part for part in session.get_provider_graph_assignment_info() if part.ep_name != wanted]
    elsewhere = sorted({node.op_type for part in parts for node in part.get_nodes()} - SHAPE_OPERATORS)
    if elsewhere:
        raise StageError(
            f"{wanted} does not run {', '.join(elsewhere)} of {path.name}, the CPU would; choose another runtime or precision"
        )
