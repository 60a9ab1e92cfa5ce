"""Progress of long stages: a bar on a terminal, a line in the log elsewhere, and word to whoever observes."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")
Observer = Callable[[str, float], None]  # gets the description, and the share of the stage's work that is done

log = logging.getLogger("pipeline")
observer: ContextVar[Observer | None] = ContextVar("observer", default=None)
LINE_EVERY_SECONDS = 20.0
DRAWN_EVERY_SECONDS = 0.1


def progress(items: Iterable[T], description: str, total: int, loop: int = 1, loops: int = 1) -> Iterator[T]:
    """Yield `items` and show how many of `total` are done. On a terminal a bar, which vanishes when finished.

    Where there are more items than expected a line says so. The `observer` is told after each item. The share that it gets is
    that of `loops` such loops, this being number `loop`.
    """
    watched = _observed(items, description, total, loop, loops)
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # drawn between the items only: a thread that draws would disturb what is being timed
        with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
            task, last = bar.add_task(description, total=total), 0.0
            for item in watched:
                yield item
                bar.advance(task)
                if time.monotonic() - last > DRAWN_EVERY_SECONDS:
                    last = time.monotonic()
                    bar.refresh()
        return
    last = time.monotonic()
    for done, item in enumerate(watched, 1):
        yield item
        if time.monotonic() - last > LINE_EVERY_SECONDS:
            last = time.monotonic()
            log.info("%s: %d%s of %d", description, done, " instead" * (done > total), total)


@contextmanager
def counting(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere; yields a function (done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _observed(items: Iterable[T], description: str, total: int, loop: int, loops: int) -> Iterator[T]:
    for done, item in enumerate(items, 1):
        yield item
        if tell := observer.get():
            tell(description, (loop - 1 + min(1.0, done / total)) / loops)
