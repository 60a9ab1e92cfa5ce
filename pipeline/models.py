"""Networks by name, and a network from its record: architecture, plan replayed, weights loaded."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fair_pruner import PruningPlan, measure, remove
from fair_pruner.errors import first_line
from pipeline import builtin_models, custom_model
from pipeline.config import ModelConfig
from pipeline.data import Data
from pipeline.errors import InputError
from pipeline.records import Architecture, FileRef, ModelRecord
from pipeline.state_dict import read_state_dict
from pipeline.store import Store


def architecture_of(config: ModelConfig, data: Data) -> Architecture:
    """The architecture that the configuration and the data ask for. Raises InputError if they contradict each other."""
    if config.num_classes not in (None, data.num_classes):
        raise InputError(
            f"model.num_classes is {config.num_classes} but the data has {data.num_classes} classes; remove it or use other data"
        )
    return Architecture(
        source=config.source,
        name=config.name,
        kwargs=config.kwargs,
        num_classes=data.num_classes,
        input_shape=data.input_shape,
        source_digest=custom_model.source_of(config.name) if config.source == "custom" else "",
    )


def build_model(architecture: Architecture) -> nn.Module:
    """A network with fresh weights, drawn from torch's global generator. Raises InputError if there is no such network."""
    names, make = SOURCES[architecture.source]
    try:
        return make(architecture)
    except KeyError as error:
        near = difflib.get_close_matches(architecture.name, names(), n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise InputError(f"model {architecture.name} is unknown to {architecture.source}{hint}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"model {architecture.name} cannot be built: {first_line(error)}; check model.kwargs") from error


def load_model(record: ModelRecord, store: Store) -> nn.Module:
    """The network of a record, in eval mode on the CPU: built, cut by its plan, weights loaded into exactly those shapes."""
    with torch.random.fork_rng(devices=[]):
        model = build_model(record.architecture)
    if record.plan:
        plan = PruningPlan.from_json(store.path(record.plan).read_text())
        model = remove(model, plan, example_input=example_input(record.architecture))
    model.load_state_dict(load_file(store.path(record.weights)))
    return model.eval()


def save_weights(model: nn.Module, store: Store) -> FileRef:
    """The state dict as safetensors."""
    return store.put(save({name: value.contiguous().cpu() for name, value in model.state_dict().items()}), ".safetensors")


def cost_fields(model: nn.Module, architecture: Architecture) -> dict[str, Any]:
    """`params` and `macs` of a ModelRecord, counted on the network itself."""
    cost = measure(model, example_input(architecture))
    return {"params": cost.params, "macs": cost.macs}


def example_input(architecture: Architecture, batch: int = 1) -> Tensor:
    """Zeros of the network's input shape (batch, C, H, W)."""
    return torch.zeros(batch, *architecture.input_shape)


def device() -> torch.device:
    """The GPU if torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Load trained weights into a network. Raises InputError that names the first layer whose shape differs."""
    found, wanted = read_state_dict(path), model.state_dict()
    for name, value in wanted.items():
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            raise InputError(f"{path} has no weights for {name}{f' (it has {near[0]})' if near else ''}; is it another model?")
        if found[name].shape != value.shape:
            raise InputError(
                f"{path}: {name} has shape {tuple(found[name].shape)}, the model expects {tuple(value.shape)}; "
                "check model.name, model.kwargs and the number of classes"
            )
    surplus = sorted(set(found) - set(wanted))
    if surplus:
        raise InputError(f"{path} has weights that the model has no place for, first {surplus[0]}; is it another model?")
    model.load_state_dict(found)


def _torchvision(architecture: Architecture) -> nn.Module:
    from torchvision import models

    if architecture.name not in models.list_models():
        raise KeyError(architecture.name)
    _three_channels(architecture)
    model = models.get_model(architecture.name, weights=None, num_classes=architecture.num_classes, **architecture.kwargs)
    assert isinstance(model, nn.Module)
    return model


def _timm(architecture: Architecture) -> nn.Module:
    import timm

    if architecture.name.split(".")[0] not in timm.list_models():
        raise KeyError(architecture.name)
    sizes: dict[str, Any] = {"num_classes": architecture.num_classes, "in_chans": architecture.input_shape[0]}
    model = timm.create_model(architecture.name, pretrained=False, **(sizes | architecture.kwargs))
    assert isinstance(model, nn.Module)
    return model


def _three_channels(architecture: Architecture) -> None:
    if architecture.input_shape[0] != 3:
        raise InputError(
            f"{architecture.name} of torchvision takes 3 channels, the images have {architecture.input_shape[0]}; "
            "set data.channels: 3"
        )


def _torchvision_names() -> list[str]:
    from torchvision import models

    return list(models.list_models())


def _timm_names() -> list[str]:
    import timm

    return list(timm.list_models())


SOURCES: dict[str, tuple[Callable[[], list[str]], Callable[[Architecture], nn.Module]]] = {
    "builtin": (builtin_models.names, builtin_models.build),
    "torchvision": (_torchvision_names, _torchvision),
    "timm": (_timm_names, _timm),
    "custom": (list, custom_model.build),
}
