"""What README tells people to type must work."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app

ROOT = Path(__file__).parents[1]
README_FILE = ROOT / "README.md"
README = README_FILE.read_text()
RUNBOOK = (ROOT / "deploy" / "RUNBOOK.md").read_text()
COMMANDS = sorted(set(re.findall(r"^fair-pruner .+$", README + RUNBOOK, flags=re.MULTILINE)))
PAGES = sorted((README_FILE, *(ROOT / "deploy").rglob("*.md"), *(ROOT / "tests" / "benchmarks").glob("*.md")))
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file), f"{target}#{anchor}"


def _anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links to them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
