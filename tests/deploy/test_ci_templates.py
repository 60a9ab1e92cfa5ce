"""The CI templates: valid for their systems, made of scripts that a person runs too, and those scripts do what they say."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml
from typer.core import TyperGroup
from typer.main import get_command

from flows.cli import app

from ..pipeline.reporting.finished import finished

ROOT = Path(__file__).parents[2]
CI = ROOT / "deploy" / "ci"
SCHEMAS = {"github-actions.yml": "vendor.github-workflows", "gitlab-ci.yml": "vendor.gitlab-ci"}
COMMANDS = {"sweep.sh": "run", "gate.sh": "gate"}  # what a script passes its arguments on to


def template(name: str) -> dict[str, Any]:
    """The one job of a template."""
    content = yaml.safe_load((CI / name).read_text())
    job: dict[str, Any] = content["jobs"]["gate"] if "jobs" in content else content["gate"]
    return job


def lines(name: str) -> list[str]:
    """What the job runs, in order."""
    job = template(name)
    return job["script"] if "script" in job else [step["run"] for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_template_is_valid_for_its_system(name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[name], str(CI / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_both_systems_run_the_same_lines() -> None:
    assert lines("github-actions.yml") == lines("gitlab-ci.yml")
    scripts = [Path(shlex.split(line)[1]).name for line in lines("gitlab-ci.yml")]
    assert scripts == ["install.sh", "sweep.sh", "gate.sh"]
    assert {*scripts} == {file.name for file in CI.glob("*.sh")}


@pytest.mark.parametrize("line", lines("github-actions.yml"))
def test_every_line_is_a_script_with_arguments_that_its_command_takes(line: str) -> None:
    shell, script, *arguments = shlex.split(line)
    assert shell == "bash"
    assert (ROOT / script).is_file()
    for word in arguments:
        if word.startswith("deploy/"):
            assert (ROOT / word).is_file()
    if name := COMMANDS.get(Path(script).name):
        group = get_command(app)
        assert isinstance(group, TyperGroup)
        group.commands[name].make_context(name, arguments)  # raises where it would print how it is used
    else:
        assert arguments == []


def test_the_run_that_is_judged_and_kept_is_the_one_that_was_made() -> None:
    sweep, gate = (shlex.split(line) for line in lines("gitlab-ci.yml")[1:])
    run = f"runs/{yaml.safe_load((ROOT / sweep[2]).read_text())['name']}"
    assert gate[2] == run
    upload = template("github-actions.yml")["steps"][-1]["with"]["path"].split()
    artifacts = template("gitlab-ci.yml")["artifacts"]
    assert artifacts["paths"] == ["gate.xml", "gate.md", *upload[1:]]
    assert artifacts["reports"]["junit"] == upload[0] == "gate.xml"
    assert all(path.startswith(f"{run}/") for path in upload[1:])


def test_latency_is_measured_on_a_runner_of_its_own() -> None:
    github, gitlab = template("github-actions.yml"), template("gitlab-ci.yml")
    assert "self-hosted" in github["runs-on"]
    assert "latency" in github["runs-on"]
    assert gitlab["tags"] == ["latency"]
    assert gitlab["resource_group"] == "latency"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The CI scripts in a checkout whose environment is this one, so that nothing has to be installed."""
    shutil.copytree(CI, tmp_path / "deploy" / "ci")
    (tmp_path / "deploy" / "install.sh").write_text(f"#!/usr/bin/env bash\necho {shlex.quote(sys.prefix)}\n")
    return tmp_path


def script(checkout: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    outer = {name: value for name, value in os.environ.items() if name != "GITHUB_STEP_SUMMARY"}
    command = ["bash", *words]
    return subprocess.run(command, cwd=checkout, env=outer | environment, capture_output=True, text=True, check=False)


def test_the_gate_script_leaves_its_reports_and_the_exit_code(checkout: Path) -> None:
    finished(checkout / "runs" / "digits", "dense", "quick")
    passed = script(checkout, "deploy/ci/gate.sh", "runs/digits", "--max-accuracy-drop", "0.02")
    assert (passed.returncode, passed.stderr) == (0, "")
    assert "digits passes the gate with tolerance-0.2 in fp32." in passed.stdout
    page = checkout / "page.md"
    options = ("--max-accuracy-drop", "0.02", "--min-speedup", "1.3")
    refused = script(checkout, "deploy/ci/gate.sh", "runs/digits", *options, GITHUB_STEP_SUMMARY=str(page))
    assert refused.returncode == 1
    assert page.read_text().startswith("## digits: does not pass the gate\n")
    assert (checkout / "gate.md").read_text().startswith("## digits: passes the gate\n")
    assert JUnitXml.fromfile(str(checkout / "gate.xml")).failures == 1


def test_the_sweep_script_passes_settings_and_options_on(checkout: Path) -> None:
    config = str(ROOT / "deploy" / "configs" / "digits.yaml")
    settings = {"FAIR_PRUNER_SETTINGS": "train.epochs=1 finetune.epochs=-1"}
    refused = script(checkout, "deploy/ci/sweep.sh", config, **settings)
    assert (refused.returncode, "finetune.epochs = -1 is refused" in refused.stderr) == (2, True)
    refused = script(checkout, "deploy/ci/sweep.sh", config, "--tolerances", "2")
    assert (refused.returncode, "allocate.tolerances.0 = 2 is refused" in refused.stderr) == (2, True)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_script_without_arguments_says_how_it_is_used(checkout: Path, name: str) -> None:
    done = script(checkout, f"deploy/ci/{name}")
    assert done.returncode != 0
    assert f"usage: bash deploy/ci/{name}" in done.stderr


# of the digits' configuration: seconds instead of a minute, a candidate that loses accuracy, and intervals of which the gate
# says "too noisy to tell" wherever the bound lies inside and they are wider than a thousandth
SHORT = (
    "train.epochs=3 finetune.epochs=0 allocate.tolerances=[0.6] score.projections=8 quantize.precisions=[] track.enabled=false "
    "benchmark.batch_sizes=[1] benchmark.rounds=10 benchmark.min_seconds=0.2 benchmark.widest_interval=0.001"
)


def fresh_clone(target: Path) -> Path:
    """What git would check out, and what is not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def environment_that_sees_this_one(folder: Path) -> Path:
    """A new environment in which pip finds everything installed that is installed here, but for the checkout itself."""
    venv.create(folder, with_pip=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "outer.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    return folder


@pytest.mark.slow
def test_the_steps_as_they_stand_on_a_fresh_clone(tmp_path: Path) -> None:
    clone = fresh_clone(tmp_path / "clone")
    settings = {
        **{name: value for name, value in template("github-actions.yml")["env"].items() if name != "FAIR_PRUNER_EXTRAS"},
        "FAIR_PRUNER_VENV": str(environment_that_sees_this_one(tmp_path / "venv")),
        "FAIR_PRUNER_SETTINGS": SHORT,
        "GITHUB_STEP_SUMMARY": str(tmp_path / "page.md"),
    }

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return script(clone, "-ec", line, **settings)

    def outcomes() -> dict[str, str]:
        suite = next(iter(JUnitXml.fromfile(str(clone / "gate.xml"))))
        return {case.name: case.result[0].type if case.result else "passed" for case in suite}

    install, sweep, gate = lines("github-actions.yml")
    for line in (install, sweep):
        done = run(line)
        assert done.returncode == 0, done.stdout + done.stderr
    judged = run(gate)
    assert judged.returncode == int({*outcomes().values()} != {"passed"}), judged.stdout + judged.stderr
    assert list(outcomes()) == ["speed-up", "accuracy", "parity"]
    assert (tmp_path / "page.md").read_text().startswith("## digits: ")

    report = json.loads((clone / "runs/digits/report.json").read_text())
    speedup = next(each["speedup"] for each in report["latency"]["series"] if each["verdict"] != "reference")
    expected = {
        "--max-accuracy-drop 1 --min-speedup 1": ("passed", "passed"),
        "--max-accuracy-drop 0 --min-speedup 1": ("passed", "refused"),
        "--max-accuracy-drop 1 --min-speedup 100": ("refused", "passed"),
        f"--max-accuracy-drop 1 --min-speedup {speedup}": ("too noisy to tell", "passed"),
    }
    for bounds, wanted in expected.items():
        done = run(f"bash deploy/ci/gate.sh runs/digits {bounds}")
        assert tuple(outcomes().values()) == wanted, done.stdout + done.stderr
        assert done.returncode == int(wanted != ("passed", "passed"))
    for pattern in template("github-actions.yml")["steps"][-1]["with"]["path"].split():
        assert list(clone.glob(pattern)), pattern
