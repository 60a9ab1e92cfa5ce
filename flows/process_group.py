"""Process groups: what a child starts ends with it, because the child leads a group of its own."""

import os
import signal
import time
from contextlib import suppress

import psutil

KILL_SECONDS = 5.0  # a killed process is gone at once, unless a disk holds it up
POLL_SECONDS = 0.05


def end_group(group: int, grace: float) -> None:
    """Ask all processes of a group to end, and kill those that still run after `grace` seconds. It may be gone already."""
    for asked, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, KILL_SECONDS)):
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses where only a zombie is left
            os.killpg(group, asked)
        if _ended(group, seconds):
            return


def _ended(group: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def is_alive(group: int) -> bool:
    """Whether any process of the group still runs; one that only waits to be collected does not."""
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
