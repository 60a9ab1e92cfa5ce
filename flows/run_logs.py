"""The log lines of our own packages, in the Prefect run that they belong to."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("pipeline", "fair_pruner")


@contextmanager
def run_logs() -> Iterator[None]:
    """For the length of the block, lines of LOGGERS from INFO up go to the run as Prefect's own do.

    Prefect itself does that for the loggers in PREFECT_LOGGING_EXTRA_LOGGERS, if the variable is set when it is imported: in a
    worker that somebody has started by hand it is not.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        for handler in logging.getLogger("prefect.extra").handlers:
            logger.addHandler(handler)  # once, however often it is added
    try:
        yield
    finally:
        for logger, level, handlers in before:
            logger.setLevel(level)
            for handler in set(logger.handlers).difference(handlers):
                logger.removeHandler(handler)
