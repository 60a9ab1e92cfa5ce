"""A person's own network: a function or class that makes it, called and its failures told in one sentence."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from fair_pruner.errors import first_line
from pipeline.errors import InputError
from pipeline.imports import load_object, source_digest
from pipeline.records import Architecture

SETTING = "model.name"


def build(architecture: Architecture) -> nn.Module:
    """What the function or class `architecture.name` (package.module:name) makes of `kwargs`.

    It is given the data's number of classes too if it has a parameter `num_classes` that `kwargs` leaves open. Raises
    InputError if there is no such function, its source file is not the one the architecture was recorded with, it raises,
    or it makes no module.
    """
    factory = load_object(architecture.name, SETTING)
    if not callable(factory) or isinstance(factory, nn.Module):
        raise InputError(f"{SETTING}: {architecture.name} is a {type(factory).__name__}; expected a function or class")
    if source_of(architecture.name) != architecture.source_digest:
        raise InputError(
            f"{SETTING}: the source file of {architecture.name} is not the one this model was made with; restore it, or run again"
        )
    try:
        model = factory(**_arguments(factory, architecture))
    except Exception as error:
        raise InputError(
            f"{SETTING}: {architecture.name} raises {type(error).__name__}: {first_line(error)}; check it and model.kwargs"
        ) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"{SETTING}: {architecture.name} returns a {type(model).__name__}; expected a torch.nn.Module")
    return model


def source_of(path: str) -> str:
    """Digest of the file that the function or class stands in. Raises InputError if there is none."""
    return source_digest(path, SETTING)


def _arguments(factory: Any, architecture: Architecture) -> Mapping[str, Any]:
    try:
        accepted = "num_classes" in inspect.signature(factory).parameters
    except ValueError:  # no signature to be had
        accepted = False
    return {"num_classes": architecture.num_classes, **architecture.kwargs} if accepted else architecture.kwargs
