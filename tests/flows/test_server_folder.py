import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.server_folder import choose_ports, locked, remember
from pipeline.errors import InputError

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as server:
        yield server


def test_ports_are_free_and_differ(tmp_path: Path) -> None:
    ports = choose_ports(tmp_path, HOST, {"--a": 0, "--b": 0})
    assert len(set(ports.values())) == 2
    for port in ports.values():
        socket.create_server((HOST, port)).close()


def test_a_given_port_is_kept_and_one_in_use_is_refused(tmp_path: Path, taken: socket.socket) -> None:
    free = choose_ports(tmp_path, HOST, {"--a": 0})["--a"]
    assert choose_ports(tmp_path, HOST, {"--a": free}) == {"--a": free}
    port = taken.getsockname()[1]
    with pytest.raises(InputError, match=f"--a {port} is in use on {HOST}; give another one, or 0"):
        choose_ports(tmp_path, HOST, {"--a": port})
    with pytest.raises(InputError, match=f"--b {free} is in use"):
        choose_ports(tmp_path, HOST, {"--a": free, "--b": free})


def test_the_ports_of_the_last_time_are_taken_again_if_they_are_free(tmp_path: Path, taken: socket.socket) -> None:
    free = choose_ports(tmp_path, HOST, {"--a": 0})["--a"]
    remember(tmp_path, "http://there", {"--a": free, "--b": taken.getsockname()[1]})
    ports = choose_ports(tmp_path, HOST, {"--a": 0, "--b": 0})
    assert ports["--a"] == free
    assert ports["--b"] not in (0, taken.getsockname()[1])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"ports": {}}'])
def test_a_torn_note_is_no_hindrance(tmp_path: Path, content: str) -> None:
    (tmp_path / "up.json").write_text(content)
    with locked(tmp_path):
        assert choose_ports(tmp_path, HOST, {"--a": 0})["--a"]


def test_a_folder_is_served_once_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "server"
    with locked(folder):
        remember(folder, "http://there", {})
        pid = json.loads((folder / "up.json").read_text())["pid"]
        message = f"runs is served already, by process {pid}, Prefect at http://there; use that"
        with pytest.raises(InputError, match=message), locked(folder):
            pass
    with locked(folder):
        pass
