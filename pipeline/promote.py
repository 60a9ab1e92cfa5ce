"""Which version of a registered model is champion: by the rule, or brought back by hand."""

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config import GateConfig
from pipeline.errors import InputError
from pipeline.gate import gate_config
from pipeline.measurements import RegistryRecord
from pipeline.progress import log
from pipeline.promotion import Contender, objection
from pipeline.registered_model import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    ROLLED_BACK,
    RegisteredModel,
    existing_uri,
    open_registered_model,
)

PROMOTION = "fair_pruner.promotion"


def promote(name: str, output: Path, version: int | None = None, force: bool = False) -> RegistryRecord:
    """Make the challenger of a registered model, or another `version`, its champion if `promotion.objection` has none.

    The bounds are those of the run that measured it. `force` leaves out the comparison with the present champion. Raises
    InputError if there is no such model or version, or no challenger, and StageError if MLflow refuses.
    """
    with _opened(name, output) as model:
        challenger = model.aliases().get(CHALLENGER)
        chosen = challenger if version is None else version
        if chosen is None:
            there = ", ".join(map(str, model.versions())) or "none"
            raise InputError(f"{name} has no challenger; choose one of its versions with --version: {there}")
        file = model.contender(chosen)
        return decide(model, chosen, file, gate_config(file.report, {}), force)


def rollback(name: str, output: Path) -> RegistryRecord:
    """Make the previous champion champion again. The present one is marked, so that no sweep promotes it by itself.

    Goes back one step: there is no previous one afterwards. Raises InputError if there is none now, or no such model, and
    StageError if MLflow refuses.
    """
    with _opened(name, output) as model:
        aliases = model.aliases()
        champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
        if previous is None:
            raise InputError(f"{name} has no previous champion; choose a version with fair-pruner promote {name} --version")
        if champion is not None:
            model.tag(champion, {ROLLED_BACK: datetime.now(UTC).isoformat(timespec="seconds")})
        model.crown(previous)
        model.client.delete_registered_model_alias(name, PREVIOUS)
        return _written(model, previous, f"has become champion again, in place of version {champion or 'none'}", promoted=True)


def decide(model: RegisteredModel, version: int, file: Contender, bounds: GateConfig, force: bool = False) -> RegistryRecord:
    """Make a version champion if nothing speaks against it, and write on it why or why not.

    The present champion is looked up again before: if another one came in between, the comparison is made anew.
    """
    while True:
        champion = model.aliases().get(CHAMPION)
        if champion == version:
            return registered(model, version, "is the champion already")
        against = _against(model, file, None if force else champion, bounds)
        if model.aliases().get(CHAMPION) == champion:
            break
    if against:
        beside = f" in place of version {champion}" if champion else ""
        return _written(model, version, f"has not become champion{beside}: {against}")
    model.crown(version)
    over = f"and beats version {champion}" if champion else "and there was no champion"
    if force and champion:
        over = f"and nobody compared it with version {champion}"
    return _written(model, version, f"has become champion: it passes the gate {over}", promoted=True)


def _against(model: RegisteredModel, file: Contender, champion: int | None, bounds: GateConfig) -> str:
    if champion is None:
        return objection(file, None, bounds)
    try:
        present = model.contender(champion)
    except InputError as error:
        return f"nobody can compare it with the champion: {error}"
    return objection(file, present, bounds)


def registered(model: RegisteredModel, version: int, what: str, promoted: bool = False) -> RegistryRecord:
    """The record of what became of a version, which is logged, too."""
    aliases = tuple(sorted(alias for alias, number in model.aliases().items() if number == version))
    reason = f"version {version} of {model.name} {what}"
    log.info("%s", reason)
    return RegistryRecord(name=model.name, version=version, aliases=aliases, promoted=promoted, reason=reason)


def _written(model: RegisteredModel, version: int, what: str, promoted: bool = False) -> RegistryRecord:
    """The same, and it stands on the version."""
    model.tag(version, {PROMOTION: what})
    return registered(model, version, what, promoted)


def _opened(name: str, output: Path) -> AbstractContextManager[RegisteredModel]:
    return open_registered_model(name, existing_uri(output), "Look with fair-pruner promote what is champion now")
