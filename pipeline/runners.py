"""Runners: what executes a classifier on a batch, whichever runtime it lives in."""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.errors import InputError, StageError
from pipeline.models import device, load_model
from pipeline.records import ModelRecord, OnnxRecord
from pipeline.store import Store

PROVIDER = "CPUExecutionProvider"
ONLY_ERRORS = 3  # severity of ONNX Runtime's log


class Runner(Protocol):
    """Executes a classifier: normalised float32 images (n, C, H, W) -> logits (n, K), float32."""

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (n, K) of images (n, C, H, W); images may lie on any device."""
        ...


class TorchRunner:
    """A torch model in eval and inference mode on `device`, where the logits stay. The model is moved there."""

    def __init__(self, model: nn.Module, device: torch.device | str) -> None:
        self.model, self.device = model.to(device).eval(), device

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits (n, K) of images (n, C, H, W)."""
        logits: Tensor = self.model(images.to(self.device))
        return logits


class OnnxRunner:
    """An ONNX file in ONNX Runtime on the CPU; `threads` 0 means as many as there are cores.

    `session` is ONNX Runtime's own object, for whoever must call it without tensors in between (the benchmark).
    Raises InputError without ONNX Runtime, StageError if the file does not load or another provider would run it.
    """

    def __init__(self, path: Path, input_name: str, output_name: str, threads: int = 0) -> None:
        self.session = _open_session(path, threads)
        self.input_name, self.output_name = input_name, output_name

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (n, K) of images (n, C, H, W), on the CPU."""
        (logits,) = self.session.run([self.output_name], {self.input_name: images.detach().cpu().numpy()})
        return torch.from_numpy(logits)


def open_runner(record: ModelRecord | OnnxRecord, store: Store) -> Runner:
    """The runner of a record: torch on the GPU if there is one, or ONNX Runtime on the CPU."""
    if isinstance(record, ModelRecord):
        return TorchRunner(load_model(record, store), device())
    return OnnxRunner(store.path(record.file), record.input_name, record.output_name)


def _open_session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"ONNX Runtime cannot be imported ({error}); install fair-pruner[cpu] or fair-pruner[gpu], not both"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ONLY_ERRORS
    # idle threads of one session would otherwise spin on the cores that the next one is measured on
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
    except Exception as error:  # ONNX Runtime's errors have no base of their own
        raise StageError(f"ONNX Runtime does not load {path.name}: {' '.join(str(error).split())}; export it anew") from error
    if session.get_providers()[0] != PROVIDER:
        raise StageError(
            f"ONNX Runtime runs {path.name} on {session.get_providers()[0]}, not on {PROVIDER}; check its installation"
        )
    return session
