"""The self-check of every cut: units that nothing reads are removed from a copy, and its output must not move."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fair_pruner.copies import sharing, unset
from fair_pruner.cut import Pruned, cut, silence
from fair_pruner.errors import first_line
from fair_pruner.structure import Group

SHARE = 3  # a trial cut takes one unit in so many, at least one
SAMPLES, ELEMENTS = 16, 2**14  # of the random input: more of small samples, in which much may be dead
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}  # of the largest output; double precision where the model allows it
STATISTICS = ("running_mean", "running_var")


def failing(model: nn.Module, example_input: Tensor, groups: Sequence[Group]) -> dict[str, str]:
    """Groups that a trial cut shows to be wrong, and what goes wrong: a third of the units goes, drawn from a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    chosen: dict[str, list[int]] = {}
    for group in groups:
        if group.units > 1:
            order = torch.randperm(group.units, generator=generator)
            chosen[group.name] = order[: max(1, group.units // SHARE)].tolist()
    subject = _Subject(model, example_input)
    guilty: dict[str, str] = {}
    suspects = [list(chosen)]
    while suspects:
        names = suspects.pop()
        reason = subject.fault(groups, {name: chosen[name] for name in names}) if names else ""
        if reason and len(names) == 1:
            guilty[names[0]] = reason
        elif reason:
            suspects += [names[: len(names) // 2], names[len(names) // 2 :]]
    innocent = {name: units for name, units in chosen.items() if name not in guilty}
    if guilty and innocent and (reason := subject.fault(groups, innocent)):
        guilty |= dict.fromkeys(innocent, f"together with others {reason}")
    return guilty


def fault(model: nn.Module, example_input: Tensor, groups: Sequence[Group], pruned: Pruned) -> str:
    """What goes wrong if units are removed, or nothing; `model` is only read.

    In a copy with random weights the units are silenced: no weight reads them. A second copy has them removed. Whatever
    the input, both must give the same output; a wrong cut shifts channels against each other, and does not. The input is
    random too, unless it is made of integers. LayerNorms only scale and shift meanwhile, since a norm over channels
    depends on each of them by design.
    """
    return _Subject(model, example_input).fault(groups, pruned)


class _Subject:
    """A copy of a model with random weights, in double precision if it runs so, and an input for it."""

    def __init__(self, model: nn.Module, example_input: Tensor) -> None:
        shape, whole = example_input.shape, not example_input.is_floating_point()
        many = max(shape[0], min(SAMPLES, ELEMENTS // max(1, shape[1:].numel())))
        for dtype, samples in ((torch.float64, many), (torch.float64, shape[0]), (torch.float32, shape[0])):
            self.model = unset(model, dtype)
            devices = {tensor.device for tensor in (example_input, *self.model.parameters(), *self.model.buffers())}
            generators = {device: torch.Generator(device).manual_seed(0) for device in devices}
            generator = generators[example_input.device]
            self.example = example_input if whole else torch.empty(samples, *shape[1:], dtype=dtype, device=example_input.device)
            self.example = self.example if whole else self.example.normal_(generator=generator)
            _randomise(self.model, generators)
            try:
                finite = bool(_output(self.model, self.example).isfinite().all())
                self.problem = "" if finite else "a copy with random weights gives numbers that are not finite"
            except Exception as error:  # noqa: BLE001  # some models insist on their own precision, or on a batch size
                self.problem = f"a copy with random weights does not run: {first_line(error)}"
            if not self.problem:
                return

    def fault(self, groups: Sequence[Group], pruned: Pruned) -> str:
        if self.problem:
            return self.problem
        silent, smaller = sharing(self.model), sharing(self.model)
        silence(silent, groups, pruned)
        try:
            expected = _output(silent, self.example)
            cut(smaller, groups, pruned)
            found = _output(smaller, self.example)
        except Exception as error:  # noqa: BLE001  # a cut model may fail in any way
            return f"the model does not run: {first_line(error)}"
        if found.shape != expected.shape:
            return f"the output changes from {tuple(expected.shape)} to {tuple(found.shape)}"
        largest = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
        difference = float((found - expected).abs().max() / largest)
        if difference <= TOLERANCE[expected.dtype]:  # False for NaN
            return ""
        return f"units that nothing reads change the output by {difference:.2g} of it"


def _output(model: nn.Module, example: Tensor) -> Tensor:
    hooks = [layer.register_forward_hook(_affine) for layer in model.modules() if isinstance(layer, nn.LayerNorm)]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            output: Tensor = model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return output


def _affine(norm: nn.LayerNorm, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """In place of a LayerNorm: scale and shift only, over the dimension that the norm works on."""
    (x,) = inputs
    if not norm.elementwise_affine or len(norm.normalized_shape) > 1:
        return output
    last = [1] * x.dim()
    last[1 if "2d" in type(norm).__name__ and x.dim() == 4 else -1] = len(norm.weight)  # LayerNorm2d has channels second
    scaled = x * norm.weight.view(last)
    return scaled if norm.bias is None else scaled + norm.bias.view(last)


def _randomise(model: nn.Module, generators: dict[torch.device, torch.Generator]) -> None:
    """Seeded weights and statistics under which every channel matters and signals keep their size."""
    statistics = [(name, buffer) for name, buffer in model.named_buffers() if name.rpartition(".")[2] in STATISTICS]
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *statistics):
            if not tensor.is_floating_point():
                continue
            tensor.uniform_(-1, 1, generator=generators[tensor.device])
            if tensor.dim() > 1 and name.rpartition(".")[2] != "bias":
                tensor.mul_((3 / max(1, tensor[0].numel())) ** 0.5)
            elif "bias" in name or "mean" in name:
                tensor.div_(5)
            else:
                tensor.div_(2).add_(1)  # scales and variances
