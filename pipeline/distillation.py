"""A pruned model learns from the dense one: from its logits, and from what its kept units give."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fair_pruner import PruningPlan
from pipeline.training_sections import DistillationConfig

EPSILON = 1e-6


@dataclass
class Teacher:
    """The dense model, and the units that the pruned model kept of it: by layer, in the dense numbering."""

    network: nn.Module
    config: DistillationConfig
    kept: Mapping[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def of(network: nn.Module, plan: PruningPlan | None, config: DistillationConfig) -> "Teacher":
        """Frozen, in eval mode. Features are compared at the layer that each cut group of channels is named for."""
        network.requires_grad_(False).eval()
        kept = {}
        for group in plan.groups if plan and config.features else ():
            if group.pruned:
                left = set(range(group.units)) - set(group.pruned)
                kept[group.name] = torch.tensor(sorted(left))
        return Teacher(network, config, kept)

    def loss(self, student: nn.Module, images: Tensor, loss_of_labels: "LabelLoss") -> Tensor:
        """(1 - weight) times the labels' loss, plus weight times what the teacher says, plus features times their distance.

        The teacher's part is T² KL(teacher / T || student / T), the mean over the images. A distance of features is the mean
        squared difference over the teacher's mean square, the mean over the layers.
        """
        config = self.config
        with _outputs(student, self.kept) as own, _outputs(self.network, self.kept) as given:
            logits = student(images).float()
            with torch.no_grad():
                wanted = self.network(images).float()
        soft, hard = F.log_softmax(logits / config.temperature, 1), F.log_softmax(wanted / config.temperature, 1)
        taught = F.kl_div(soft, hard, reduction="batchmean", log_target=True) * config.temperature**2
        loss = (1 - config.weight) * loss_of_labels(logits) + config.weight * taught
        pairs = [(own[name], given[name], kept) for name, kept in self.kept.items() if name in own and name in given]
        distances = [distance for pair in pairs if (distance := _distance(*pair)) is not None]
        return loss + config.features * torch.stack(distances).mean() if distances else loss


class LabelLoss:
    """Cross-entropy against labels (n,), or shares of classes (n, K)."""

    def __init__(self, labels: Tensor, smoothing: float) -> None:
        self.labels, self.smoothing = labels, smoothing

    def __call__(self, logits: Tensor) -> Tensor:
        """The mean over the images of logits (n, K)."""
        return F.cross_entropy(logits, self.labels, label_smoothing=self.smoothing)


def _distance(own: Tensor, given: Tensor, kept: Tensor) -> Tensor | None:
    """Between (..., kept) and the teacher's (..., units); None where units are no channels of the output."""
    if own.shape[-1] != len(kept) or given.shape[-1] <= int(kept[-1]):
        return None
    target = given.detach().index_select(-1, kept.to(given.device)).float()
    return (own.float() - target).square().mean() / (target.square().mean() + EPSILON)


@contextmanager
def _outputs(network: nn.Module, names: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """What the named layers of a network give meanwhile, where that is one tensor; its channels are put last."""
    found: dict[str, Tensor] = {}
    hooks = []
    bare = network.module if isinstance(network, DistributedDataParallel) else network
    for name, module in bare.named_modules():
        if name in names:

            def keep(layer: nn.Module, _: object, output: object, name: str = name) -> None:
                if isinstance(output, Tensor):
                    found[name] = output.movedim(1, -1) if isinstance(layer, nn.modules.conv._ConvNd) else output

            hooks.append(module.register_forward_hook(keep))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
