"""Code that a configuration names by its import path runs only where a person has allowed it, outside of every configuration."""

import os

from pipeline.errors import InputError

ALLOW_CODE = "FAIR_PRUNER_ALLOW_CODE"  # in the environment, which no file and no form can set


def require_permission(path: str, what: str) -> None:
    """Raises InputError unless this process may run the code at `path`; `what` is the setting that holds it."""
    if os.environ.get(ALLOW_CODE) != "1":
        raise InputError(
            f"{what} asks to run the code {path}, which nobody has allowed here; give --allow-code on the command line, "
            f"or set {ALLOW_CODE}=1 in the environment of the worker"
        )
