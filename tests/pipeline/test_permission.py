"""Code by its import path runs only where the environment, or the option that sets it, allows it."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipeline.custom_data import load_custom
from pipeline.custom_model import source_of
from pipeline.data import fingerprint
from pipeline.errors import InputError
from pipeline.permission import ALLOW_CODE
from pipeline.pruning_sections import ScoreConfig
from pipeline.removal import removal_signal
from pipeline.sections import DataConfig

CODE = "import pathlib\npathlib.Path('it_ran').touch()\ndef make(*arguments): ...\n"


@pytest.mark.parametrize("value", [None, "", "0", "true", "yes"])
@pytest.mark.parametrize(
    "use",
    [
        lambda path: load_custom(DataConfig(name="custom", factory=path)),
        lambda path: fingerprint.__wrapped__(DataConfig(name="custom", factory=path)),
        source_of,
        lambda path: removal_signal(ScoreConfig(removal=path)),
    ],
    ids=["data", "fingerprint", "model", "removal"],
)
def test_nothing_is_imported_unless_it_is_allowed(
    use: object, value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fp_hostile.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ALLOW_CODE)
    if value is not None:
        monkeypatch.setenv(ALLOW_CODE, value)
    with pytest.raises(InputError, match="asks to run the code fp_hostile:make, which nobody has allowed here"):
        use("fp_hostile:make")  # type: ignore[operator]
    assert "fp_hostile" not in sys.modules
    assert not (tmp_path / "it_ran").exists()


def test_every_command_that_may_meet_code_has_the_option() -> None:
    for command in ("run", "plan", "explain", "ablate", "rebuild", "bundle", "up"):
        assert "--allow-code" in CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout, command
