"""The compose file as its tests read it, with a value for every secret."""

import re
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE = DEPLOY / "compose.yaml"
VARIABLE = re.compile(r"\$\{(\w+):\?\}")


def secrets() -> list[str]:
    """The names in .env.example."""
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    return [line.partition("=")[0] for line in lines if not line.startswith("#")]


def composed() -> dict[str, Any]:
    """The file with `NAME-secret` for each ${NAME:?}."""
    text = VARIABLE.sub(lambda found: f"{found[1].lower()}-secret", FILE.read_text())
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed
