"""BatchNorm statistics, measured anew."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def measure_norms(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Replace the running statistics of every BatchNorm by their plain average over the batches, in place."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None: the plain average over all batches
        norm.train()
    with torch.no_grad():
        for images, _ in batches:
            network(images)
