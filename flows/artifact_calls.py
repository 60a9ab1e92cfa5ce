"""What all Prefect artifacts have in common: the form of their keys, and that no run fails for them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from flows.outage import briefly
from pipeline.progress import log


def artifact_key(*names: str) -> str:
    """Names in the characters of a key, which are lower-case letters, digits and dashes: "tolerance 0.1" is tolerance-0-1."""
    return re.sub("[^a-z0-9]+", "-", " ".join(names).lower()).strip("-")


@contextmanager
def only_warned(what: str) -> Iterator[None]:
    """Whatever goes wrong in the block is a warning line: hours of work must not fail or wait for what merely shows them."""
    try:
        with briefly():
            yield
    except Exception as error:  # noqa: BLE001
        reason = str(error).partition("\n")[0] or type(error).__name__
        log.warning("Prefect does not show %s: %s", what, reason)
