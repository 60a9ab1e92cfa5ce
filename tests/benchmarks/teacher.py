"""What a trained network's own answers are good for without labels: classes, and a measure of how far another one follows it."""

from typing import NamedTuple

import torch
from torch import Tensor

SURE = 0.5  # probability of the teacher's first class from which on an image is one that it is sure of


class Agreement(NamedTuple):
    """How far a network follows its teacher, over n images. It says nothing about who is right.

    `top1`: share of images with the same first class; `sure`: the same, of those images that the teacher is sure of; `top5`:
    share where the teacher's first class is among the network's first five; `kl`: mean KL(teacher || network), nats.
    """

    top1: float
    sure: float
    top5: float
    kl: float


def agreement(teacher: Tensor, found: Tensor) -> Agreement:
    """Of logits (n, K) with the teacher's. Raises ValueError if the teacher is sure of no image."""
    wanted, known = teacher.double().log_softmax(1), found.double().log_softmax(1)
    certainty, first = wanted.max(dim=1)
    same = known.argmax(1) == first
    sure = certainty.exp() >= SURE
    if not sure.any():
        raise ValueError(f"no first class of the teacher has a probability of {SURE} or more; take other images")
    return Agreement(
        top1=_share(same),
        sure=_share(same[sure]),
        top5=_share((known.topk(5).indices == first[:, None]).any(dim=1)),
        kl=float((wanted.exp() * (wanted - known)).sum(dim=1).mean()),
    )


def frequent(labels: Tensor, count: int) -> Tensor:
    """Indices of the first `count` images of every class in `labels` (n,) that has so many, in the order of the images."""
    of_class = [torch.nonzero(labels == label).flatten() for label in labels.unique()]
    kept = [members[:count] for members in of_class if len(members) >= count]
    return torch.cat(kept).sort().values if kept else labels.new_empty(0, dtype=torch.int64)


def _share(true: Tensor) -> float:
    return float(true.double().mean())
