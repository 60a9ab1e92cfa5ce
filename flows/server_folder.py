"""The folder of the servers: who serves it, and at which ports."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.whole_files import make_folder, write_together

Ports = dict[str, int]  # by option, such as "--prefect-port"
STATE, LOCK = "up.json", ".up.lock"


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Make the folder and hold it; yields the file descriptor of the lock. Raises InputError if another process holds it."""
    make_folder(folder)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = _state(folder)
            raise InputError(
                f"{folder.parent} is served already, by process {state.get('pid', '?')}, Prefect at {state.get('prefect', '?')}; "
                "use that, end it with Ctrl-C there, or choose another --output"
            ) from None
        yield lock.fileno()


def choose_ports(folder: Path, host: str, given: Ports) -> Ports:
    """A port for each option: the one given, or for 0 that of the last time if it is free, or else any that is.

    Raises InputError if a given one is taken, or `host` is not this machine's.
    """
    earlier = _state(folder).get("ports", {})
    chosen: Ports = {}
    with ExitStack() as stack:  # all stay taken until the last one is chosen
        for option, port in given.items():
            bound = stack.enter_context(socket.socket())
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port:
                if not _bind(bound, host, port):
                    raise InputError(f"{option} {port} is in use on {host}; give another one, or 0 for any that is free")
            elif not _bind(bound, host, earlier.get(option, 0)) and not _bind(bound, host, 0):
                raise InputError(f"--host {host} is no IPv4 address of this machine; give one, or 0.0.0.0 for all of them")
            chosen[option] = bound.getsockname()[1]
    return chosen


def remember(folder: Path, prefect: str, ports: Ports) -> None:
    """Note who serves the folder and where, for the next `choose_ports` and for whoever finds the folder locked."""
    write_together({folder / STATE: json.dumps({"pid": os.getpid(), "prefect": prefect, "ports": ports}).encode()})


def _bind(bound: socket.socket, host: str, port: int) -> bool:
    try:
        bound.bind((host, port))
        bound.listen()  # Linux lets two be bound to a port until one of them listens
    except OSError:
        return False
    return True


def _state(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / STATE).read_text()))
    except (OSError, ValueError):
        return {}
