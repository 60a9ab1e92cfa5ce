"""A torch model as a runner."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.runners import Images, Logits, Timings, time_on_cpu

if TYPE_CHECKING:
    from pipeline.latency import Runtime


def open_model(path: Path, threads: int) -> "TorchRunner":
    """The network of a ModelRecord that lies in its store, on the GPU if there is one."""
    from pipeline.models import device, load_model
    from pipeline.records import ModelRecord
    from pipeline.store import Store

    if threads:
        torch.set_num_threads(threads)
    record = ModelRecord.model_validate_json(path.read_bytes())
    return TorchRunner(load_model(record, Store(path.parent)), device())


class TorchRunner:
    """A torch model in eval and inference mode on `device`. The model is moved there."""

    runtime: "Runtime" = "torch"

    def __init__(self, model: nn.Module, device: torch.device | str) -> None:
        self.model, self.device = model.to(device).eval(), torch.device(device)

    @torch.inference_mode()
    def __call__(self, images: Images) -> Logits:
        """Logits (n, K) of images (n, C, H, W)."""
        logits: Tensor = self.model(self._on_device(images))
        return logits.float().cpu().numpy()

    @torch.inference_mode()
    def time(self, images: Images, runs: int) -> Timings:
        """Run the batch `runs` times, each to its end. On a GPU the images lie there already, and wall time is told alone."""
        inputs = self._on_device(images)
        if self.device.type != "cuda":
            return time_on_cpu(partial(self.model, inputs), runs)
        wall_ns = np.empty(runs)
        torch.cuda.synchronize(self.device)
        for index in range(runs):
            start = time.perf_counter_ns()
            self.model(inputs)
            torch.cuda.synchronize(self.device)
            wall_ns[index] = time.perf_counter_ns() - start
        return Timings(wall_ns / 1e6, None)

    def _on_device(self, images: Images) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
