"""RUNBOOK.md as its tests read it."""

import re
import subprocess
from pathlib import Path

from .composed import DEPLOY

ROOT = DEPLOY.parent
TEXT = (DEPLOY / "RUNBOOK.md").read_text()


def blocks(heading: str) -> list[str]:
    """What a person is told to type under a heading, block by block."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)


def block(heading: str, word: str) -> str:
    """The one of them that holds a word."""
    (found,) = (each for each in blocks(heading) if word in each)
    return found


def typed(lines: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a block in a folder, which sees the checkout's `deploy` as its own."""
    if not (folder / "deploy").exists():
        (folder / "deploy").symlink_to(DEPLOY)
    command = ("/bin/bash", "-euo", "pipefail", "-c", lines)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{lines}\n{done.stdout}\n{done.stderr}"
