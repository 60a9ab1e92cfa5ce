"""Progress of long stages: a bar on a terminal, a line in the log elsewhere."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
log = logging.getLogger("pipeline")
LINE_EVERY_SECONDS = 20.0
DRAWN_EVERY_SECONDS = 0.1


def progress(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield `items` and show how many of `total` are done. On a terminal a bar, which vanishes when finished."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # drawn between the items only: a thread that draws would disturb what is being timed
        with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
            task, last = bar.add_task(description, total=total), 0.0
            for item in items:
                yield item
                bar.advance(task)
                if time.monotonic() - last > DRAWN_EVERY_SECONDS:
                    last = time.monotonic()
                    bar.refresh()
        return
    last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last > LINE_EVERY_SECONDS:
            last = time.monotonic()
            log.info("%s: %d of %d", description, done, total)
