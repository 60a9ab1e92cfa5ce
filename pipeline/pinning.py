"""Which cores a measurement is held to."""

import os
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")


def choose_cores(threads: int) -> tuple[int, ...]:
    """As many logical CPUs as threads, ascending, one of each physical core; empty where that cannot be had.

    The last ones are taken, since interrupts tend to go to the first. Empty on systems that hold no process to cores, and
    where this process may use fewer physical cores than there are threads.
    """
    if not hasattr(os, "sched_getaffinity"):
        return ()
    allowed = sorted(os.sched_getaffinity(0))
    physical = {_siblings(core): core for core in reversed(allowed)}  # the first logical CPU of each
    return tuple(sorted(physical.values())[-threads:]) if len(physical) >= threads else ()


def _siblings(core: int) -> str:
    """What names the physical core of a logical CPU: the list of all that share it."""
    file = TOPOLOGY / f"cpu{core}" / "topology" / "thread_siblings_list"
    return file.read_text().strip() if file.is_file() else str(core)
