"""What README tells people to type must work."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"^fair-pruner .+$", README, flags=re.MULTILINE)))
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_two_commands_are_there() -> None:
    for command in ("bash deploy/quickstart.sh", "bash deploy/test.sh"):
        assert command in README
        assert (ROOT / command.split()[1]).is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_with_its_options_and_files(command: str) -> None:
    _, name, *words = shlex.split(command, comments=True)
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in shown.stdout
        if word.startswith("deploy/"):
            assert (ROOT / word).is_file()


@pytest.mark.parametrize("code", PYTHON)
def test_every_python_example_runs(code: str) -> None:
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  # our own README
    assert names


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", README):
        assert (ROOT / target).exists(), target
