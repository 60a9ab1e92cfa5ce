import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.errors import InputError, StageError
from pipeline.remote import WAITS, Remote

from ..buckets import bucket


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bucket(tmp_path_factory.mktemp("caches")) as url:
        yield url


@pytest.fixture(params=["s3", "file", "memory"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    """A place of each kind, under a name of its own."""
    roots = {"s3": lambda: request.getfixturevalue("s3"), "file": tmp_path.as_uri, "memory": lambda: "memory://"}
    found = Remote(f"{roots[request.param]()}/{tmp_path.name}")
    found.check()
    return found


def test_files_go_there_and_come_back(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    assert (remote.size("store/a"), remote.names("store")) == (None, [])
    remote.send(tmp_path / "a", "store/a")
    remote.send(tmp_path / "a", "store/below/b")
    assert (remote.size("store/a"), remote.names("store")) == (5, ["a", "below/b"])
    assert remote.fetch("store/a", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == b"first"
    (tmp_path / "a").write_bytes(b"second")
    remote.send(tmp_path / "a", "store/a")
    assert remote.fetch("store/a", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == b"second"
    remote.remove("store/a")
    remote.remove("store/a")
    assert remote.names("store") == ["below/b"]


def test_what_is_not_there_or_not_whole_leaves_nothing(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    folder = tmp_path / "here"
    folder.mkdir()
    assert not remote.fetch("a", folder / "a")
    remote.send(tmp_path / "a", "a")
    assert not remote.fetch("a", folder / "a", whole=lambda copy: copy.read_bytes() == b"other")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gopher2://bucket/prefix", "the scheme of gopher2://bucket/prefix is unknown; give a folder, or a URL such as"),
        ("s3://nobodys/prefix", "s3://nobodys/prefix cannot be used: The specified bucket does not exist; check its name"),
        ("file:///proc/nowhere", "file:///proc/nowhere cannot be used: "),
    ],
)
def test_a_place_that_cannot_be_used_is_one_sentence(s3: str, url: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Remote(url).check()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_away_is_waited_for_and_then_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    waited = list[float]()
    monkeypatch.setattr("pipeline.remote.time", SimpleNamespace(sleep=waited.append))
    (tmp_path / "a").write_bytes(b"content")
    with bucket(tmp_path) as url:
        remote = Remote(url)
        remote.check()
    with pytest.raises(StageError, match=f"^{url} did not take a: Could not connect to the endpoint URL"):
        remote.send(tmp_path / "a", "a")
    assert waited == [*WAITS]


def test_a_server_that_comes_back_gets_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"content")
    in_the_way = tmp_path / "folder"
    in_the_way.write_bytes(b"")
    monkeypatch.setattr("pipeline.remote.time", SimpleNamespace(sleep=lambda _: in_the_way.unlink()))
    Remote(tmp_path.as_uri()).send(tmp_path / "a", "folder/b")
    assert (tmp_path / "folder" / "b").read_bytes() == b"content"


def test_s3_without_its_package_says_what_to_install() -> None:
    code = "import sys; sys.modules['s3fs'] = None; from pipeline.remote import Remote\nRemote('s3://b').check()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = "pipeline.errors.InputError: s3://b cannot be reached with what is installed: pip install fair-pruner[s3]"
    assert ended.stderr.splitlines()[-1] == said


def test_a_folder_needs_no_fsspec(tmp_path: Path) -> None:
    code = "import sys, pathlib; sys.modules['fsspec'] = None; from pipeline.store import Store\n"
    code += "Store(pathlib.Path(sys.argv[1])).put(b'a', '.x')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert len(list(tmp_path.iterdir())) == 1
