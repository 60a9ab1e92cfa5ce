"""Which versions of which registered models are champion, challenger and previous."""

from pathlib import Path
from typing import NamedTuple

from pipeline.mlflow_runs import open_mlflow
from pipeline.registered_model import CHALLENGER, CHAMPION, FILE, OURS, PREVIOUS, RegisteredModel, existing_uri

MOST = 1000  # MLflow gives no more at once


class Standing(NamedTuple):
    """One registered model: how many versions it has, and which have an alias, as `2: tolerance-0.2 fp32`; empty: none."""

    name: str
    versions: int
    champion: str
    challenger: str
    previous: str


def standings(output: Path) -> tuple[Standing, ...]:
    """All registered models that sweeps have registered files in, by name.

    Raises InputError if nothing was ever logged from `output`, StageError if MLflow refuses.
    """
    with open_mlflow(existing_uri(output), "Nothing was changed") as client:
        found = client.search_registered_models(f"tags.`{OURS}` = 'true'", max_results=MOST, order_by=["name"])
        return tuple(_standing(RegisteredModel(client, each.name)) for each in found)


def _standing(model: RegisteredModel) -> Standing:
    aliases, versions = model.aliases(), model.versions()

    def named(alias: str) -> str:
        if alias not in aliases:
            return ""
        candidate, precision, _ = (versions[aliases[alias]].tags.get(key, "?") for key in FILE)
        return f"{aliases[alias]}: {candidate} {precision}"

    return Standing(model.name, len(versions), *map(named, (CHAMPION, CHALLENGER, PREVIOUS)))
