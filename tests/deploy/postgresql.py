"""Debian's PostgreSQL in a folder of its own, with the roles and databases that deploy/docker/databases.sh makes."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .composed import DEPLOY

FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@dataclass(frozen=True)
class PostgreSQL:
    """A server on loopback and in a socket folder, where its superuser needs no password."""

    folder: Path
    port: int

    @property
    def superuser(self) -> dict[str, str]:
        """The environment in which psql, pg_dump and pg_restore are the superuser."""
        return {"PATH": f"{FOUND[-1]}:{os.environ['PATH']}", "PGHOST": str(self.folder), "PGPORT": str(self.port)}

    def ask(self, database: str, query: str) -> list[str]:
        """The lines of the answer."""
        command = ("psql", "--username", "postgres", "--dbname", database, "--tuples-only", "--no-align", "--command", query)
        done = subprocess.run(command, env=self.superuser, capture_output=True, text=True, check=True)
        return done.stdout.split("\n")[:-1]


@contextmanager
def postgresql(passwords: dict[str, str]) -> Iterator[PostgreSQL]:
    """A server with the two databases, both empty; `passwords` are what databases.sh reads. All of it is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="postgresql-") as made, socket.create_server(("127.0.0.1", 0)) as taken:
        folder, port = Path(made), taken.getsockname()[1]
        data = folder / "data"
        as_its_user: tuple[str, ...] = ()
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            shutil.chown(folder, "postgres")
            as_its_user = ("runuser", "--user", "postgres", "--")

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                (*as_its_user, str(FOUND[-1] / program), *arguments), check=True, cwd=folder, stdout=subprocess.DEVNULL
            )

        run("initdb", "--pgdata", str(data), "--username", "postgres", "--auth-local", "trust", "--auth-host", "scram-sha-256")
        taken.close()
        listening = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
        control = ("--pgdata", str(data), "--wait", "--silent")
        run("pg_ctl", "start", *control, "--log", str(folder / "log"), "--options", listening)
        try:
            server = PostgreSQL(folder, port)
            subprocess.run(("/bin/sh", str(DEPLOY / "docker" / "databases.sh")), env=server.superuser | passwords, check=True)
            yield server
        finally:
            run("pg_ctl", "stop", *control, "--mode", "immediate")
