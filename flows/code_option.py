"""The option `--allow-code` of every command that may meet a person's own code."""

import os
from typing import Annotated

import typer

from pipeline.permission import ALLOW_CODE


def _allow(given: bool) -> None:
    """Allow it to this process and to those that it starts."""
    if given:
        os.environ[ALLOW_CODE] = "1"


AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        callback=_allow,
        help="Run code that the settings name by its import path, such as model.name with source custom.",
    ),
]
