"""The signal that proposes units for removal: one of the library's, or a person's own function."""

from torch import Tensor, nn

from fair_pruner.errors import first_line
from fair_pruner.signals import WeightSignal
from fair_pruner.structure import Group
from fair_pruner.types import Removal
from pipeline.config import ScoreConfig
from pipeline.errors import InputError
from pipeline.imports import load_object, source_digest
from pipeline.network_pruner_scores import load_network_pruner
from pipeline.pruning_sections import NETWORK_PRUNER
from pipeline.records import digest_of

SETTING = "score.removal"


def removal_signal(config: ScoreConfig) -> Removal | WeightSignal:
    """The signal's name, or the function. Raises InputError if there is no such function."""
    if config.function is None:
        name: Removal = config.removal  # type: ignore[assignment]  # the section has checked it
        return name
    found = load_object(config.function, SETTING)
    if not callable(found) or isinstance(found, type):
        raise InputError(f"{SETTING}: {config.function} is no function; it must take a group and the model")

    def signal(group: Group, model: nn.Module) -> Tensor:
        try:
            values: Tensor = found(group, model)
        except Exception as error:
            raise InputError(
                f"{SETTING}: {config.function} raises {type(error).__name__} for {group.name}: {first_line(error)}"
            ) from error
        return values

    return signal


def check_removal(config: ScoreConfig) -> None:
    """Raises InputError if there is no such function, or the authors' package is asked for and not installed."""
    if config.removal == NETWORK_PRUNER:
        load_network_pruner()
    else:
        removal_signal(config)


def source_of(config: ScoreConfig) -> str:
    """Digest of the file that the person's own function stands in; nothing for a signal of the library."""
    return source_digest(config.function, SETTING) if config.function else ""


def fingerprint(config: ScoreConfig) -> str:
    """Digest of what decides the scores, by which cached ones are recognised: the settings, and the function's file."""
    return digest_of([config.model_dump(mode="json"), source_of(config)])
