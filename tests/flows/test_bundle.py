import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from pipeline.measurements import RunReport

from ..pipeline.bundling.conftest import PRUNED, finished_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """A run that recommends its pruned candidate; do not write to its folder."""
    return finished_run(tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture
def run(finished: RunReport, tmp_path: Path) -> Path:
    """A copy of the run's folder, the store beside it."""
    return Path(shutil.copytree(Path(finished.folder).parent, tmp_path / "runs")) / "digits"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bundle", *map(str, arguments)])


def changed(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Another report.json."""
    content = json.loads((run / "report.json").read_bytes())
    change(content)
    (run / "report.json").write_text(json.dumps(content))


def test_the_recommended_candidate_is_bundled_where_the_run_lies_and_verifies_itself(run: Path) -> None:
    result = invoke(run)
    assert (result.exit_code, result.stderr) == (0, "")
    target = run / f"bundle-{PRUNED}"
    files, verify = result.stdout.splitlines()
    assert files.endswith(f" MB: {target}")
    assert verify == f"on the device: python3 bundle-{PRUNED}/verify.py"
    done = subprocess.run([sys.executable, str(target / "verify.py")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "replace it with --force" in invoke(run).stderr
    assert invoke(run, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "candidate"),
    [(("--tolerance", "0.2"), PRUNED), (("--tolerance", ".20"), PRUNED), (("--candidate", "dense"), "dense")],
)
def test_a_candidate_is_chosen_by_tolerance_or_by_name(arguments: tuple[str, ...], candidate: str, run: Path) -> None:
    result = invoke(run, *arguments, "--output", run.parent / "elsewhere" / "bundle")
    assert result.exit_code == 0
    manifest = json.loads((run.parent / "elsewhere" / "bundle" / "manifest.json").read_bytes())
    assert manifest["candidate"] == candidate
    assert not list(run.glob("bundle-*"))


Change = Callable[[Path], object]
NOTHING: Change = lambda run: None  # noqa: E731
BAD_INPUT: dict[str, tuple[Change, tuple[object, ...], str]] = {
    "unknown tolerance": (
        NOTHING,
        ("--tolerance", "0.3"),
        f"run digits has no candidate of tolerance 0.3; choose with --candidate one of dense, {PRUNED}",
    ),
    "unknown candidate": (NOTHING, ("--candidate", "macs-0.5"), "digits has no candidate macs-0.5"),
    "two ways to choose": (
        NOTHING,
        ("--candidate", "dense", "--tolerance", "0.2"),
        "--tolerance 0.2 and --candidate dense are both",
    ),
    "nothing recommended": (
        lambda run: changed(run, lambda report: report["recommendation"].update(candidate="")),
        (),
        f"run digits recommends no candidate; choose with --candidate one of dense, {PRUNED}",
    ),
    "no report": (lambda run: (run / "report.json").unlink(), (), "has no report.json"),
    "torn report": (lambda run: (run / "report.json").write_bytes((run / "report.json").read_bytes()[:-100]), (), "report.json"),
    "report of another version": (
        lambda run: changed(run, lambda report: report.update(surprise=1)),
        (),
        "report.json cannot be read: surprise",
    ),
    "settings of another version": (
        lambda run: changed(run, lambda report: report["config"].update(surprise=1)),
        (),
        "unknown key surprise",
    ),
    "no store": (lambda run: shutil.rmtree(run.parent / "store"), (), "is missing from the store"),
    "folder in the way": (
        lambda run: (run / f"bundle-{PRUNED}" / "thesis").mkdir(parents=True),
        ("--force",),
        "is in the way and is no bundle",
    ),
    "data that is gone": (
        lambda run: changed(run, lambda report: report["config"]["data"].update(name="imagefolder", root=str(run / "gone"))),
        (),
        "gone",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_with_2_in_one_sentence_and_writes_nothing(case: str, run: Path) -> None:
    change, arguments, message = BAD_INPUT[case]
    change(run)
    before = sorted(run.parent.rglob("*"))
    result = invoke(run, *arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("fair-pruner: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert result.stdout == ""
    assert sorted(run.parent.rglob("*")) == before


def test_a_tolerance_that_is_no_number_is_refused(run: Path) -> None:
    assert invoke(run, "--tolerance", "much").exit_code == 2


def test_a_folder_without_write_permission_or_that_is_a_file_is_refused(run: Path) -> None:
    blocked = run.parent / "file"
    blocked.write_text("no folder")
    result = invoke(run, "--output", blocked / "bundle")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot write in" in result.stderr
