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


def typed(block: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a block in a folder, which sees the checkout's `deploy` as its own."""
    if not (folder / "deploy").exists():
        (folder / "deploy").symlink_to(DEPLOY)
    command = ("/bin/bash", "-euo", "pipefail", "-c", block)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
