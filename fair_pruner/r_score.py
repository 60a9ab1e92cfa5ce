"""R-Score: first-order estimate of how much the loss changes when a unit is removed. High = keep."""

from typing import Literal

import torch
from torch import Tensor

from fair_pruner.errors import UnsupportedModelError
from fair_pruner.structure import Point

Adding = Literal["signed", "absolute", "squared"]  # how gate gradients add up over samples


def gate_gradient(output: Tensor, gradient: Tensor, point: Point, samples: int, units: int) -> Tensor:
    """Gradient of the loss by a gate of one on each unit, per sample: the sum of a * dL/da over a sample's positions.

    `output` a and `gradient` dL/da have samples in dimension 0 and channels in that of `point`. Returns (samples, units).
    Where dimension 0 is not made of samples the sum over all of them stands in the first row.
    """
    product = output * gradient
    others = [dim for dim in range(1, product.dim()) if dim != point.dim % product.dim()]
    channels = product.sum(dim=others) if others else product  # (b, channels)
    rows = samples if len(channels) % samples == 0 else 1
    channels = channels.reshape(rows, -1, channels.shape[1]).sum(dim=1)
    unit_of = torch.tensor(point.unit_of, device=output.device)
    mine = unit_of >= 0
    total = output.new_zeros(samples, units)
    total[:rows].index_add_(1, unit_of[mine], channels[:, mine])
    return total


class RScore:
    """Adds up gate gradients, batch by batch, to a number per unit (units,), >= 0, high = keep.

    "signed": R_j = |dL/dg_j| for the mean loss L over the calibration set. Because unit j's output is g_j * a_j with
    g_j = 1, dL/dg_j is the sum of a * dL/da over samples, producers and positions: the first-order change of the loss when
    the unit's output is taken away. "absolute": the mean over samples of each one's |sum of a * dL/da|, in which samples
    that gain do not make up for those that lose. Source: arXiv:2508.02291; that the gate stands behind the norm is ours.

    "squared" is no R-Score but the removal signal "hessian": the mean over samples of each one's squared sum, the diagonal of
    the empirical Fisher matrix at the gates, which stands for that of the Hessian. Half of it is the saliency of Optimal Brain
    Damage (LeCun et al. 1989) for taking g_j from 1 to 0. torch-pruning does so weight by weight: the sum of (w * dL/dw)^2.
    """

    def __init__(self, units: int, adding: Adding) -> None:
        self.total = torch.zeros(units, dtype=torch.float64)
        self.adding = adding

    def add(self, gradients: Tensor) -> None:
        """Take in the gate gradients (samples, units) of one batch, of the summed loss."""
        if self.adding != "signed" and len(gradients) > 1 and not gradients[1:].any() and gradients[0].any():
            raise UnsupportedModelError(
                "absolute R-Scores and the signal hessian need layers whose first dimension is the batch; use signed ones and "
                "another signal"
            )
        gradients = gradients.double()
        by_sample = {"signed": gradients, "absolute": gradients.abs(), "squared": gradients.square()}[self.adding]
        self.total += by_sample.sum(dim=0).cpu()

    def value(self, samples: int) -> Tensor:
        """The numbers (units,) for the mean loss over so many samples."""
        return self.total.abs() / samples
