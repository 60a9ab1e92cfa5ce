"""Keep other libraries' loggers down for a while."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def quiet_loggers(names: Sequence[str], level: int) -> Iterator[None]:
    """Inside the block these loggers pass nothing below `level`; afterwards they are as they were."""
    before = [(logger, logger.level) for logger in map(logging.getLogger, names)]
    try:
        for logger, found in before:
            logger.setLevel(max(level, found))
        yield
    finally:
        for logger, found in before:
            logger.setLevel(found)
