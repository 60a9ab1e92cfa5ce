"""Runs whose output is a bucket. A machine is a cache folder of its own: what it knows of the others it knows from there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.plan import plan_all
from flows.record_files import whole
from flows.sweep import sweep
from pipeline.config import RunConfig
from pipeline.measurements import RunReport
from pipeline.output import folder_of
from pipeline.remote import Remote
from pipeline.store import Store

from ..buckets import BUCKET, SECRET, bucket
from .conftest import tiny

COMMAND = [sys.executable, "-m", "flows", "run"]
SMALL = {"allocate": {"tolerances": [0.5]}, "engine": {"enabled": False}}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bucket(tmp_path_factory.mktemp("first machine")) as url:
        yield f"{url}/team"


@pytest.fixture(scope="module")
def finished(prefect_server: None, url: str) -> RunReport:
    """A run of the first machine."""
    return sweep(tiny(url, **SMALL))


@pytest.fixture
def another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIR_PRUNER_CACHE", str(tmp_path / "another machine"))


def invoke(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_all_that_a_run_leaves_is_in_the_bucket_and_no_secret(finished: RunReport, url: str) -> None:
    remote, here = Remote(url), folder_of(url)
    for folder in ("store", "cache", "tiny"):
        files = [path.relative_to(here / folder).as_posix() for path in (here / folder).rglob("*") if path.is_file()]
        assert remote.names(folder) == sorted(name for name in files if not name.endswith(".fair-pruner"))
    assert remote.names("unfinished") == []
    there = [each.get()["Body"].read() for each in boto3.resource("s3").Bucket(BUCKET).objects.all()]
    all_here = [path.read_bytes() for path in here.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in content for content in (*there, *all_here))


def test_another_machine_takes_all_from_there(
    finished: RunReport, url: str, another_machine: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert invoke("doctor", f"{url}/tiny")[0] == 0
    assert "tolerance-0.5" in invoke("compare", f"{url}/tiny")[1]
    assert "tolerance-0.5 in fp32" in invoke("gate", f"{url}/tiny", "--candidate", "tolerance-0.5")[1]
    code, said = invoke("bundle", f"{url}/tiny", "--tolerance", 0.5, "--output", tmp_path / "bundle")
    assert (code, (tmp_path / "bundle" / "verify.py").is_file()) == (0, True), said

    again = sweep(tiny(url, **SMALL))
    assert [c.onnx_test.digest for c in again.candidates] == [c.onnx_test.digest for c in finished.candidates]
    tasks, cached = [line for line in caplog.messages if "from the cache" in line][-1].split()[0:3:2]
    assert int(tasks) - int(cached) == 2  # the measurement and the report
    assert invoke("doctor", f"{url}/tiny")[0] == 0


def test_a_run_that_is_not_there_is_one_sentence(url: str, another_machine: None) -> None:
    said = f"fair-pruner: {url}/other has no report.json, so it is no finished run; give a run's, for example {url}/digits\n"
    for command in ("gate", "compare", "bundle"):
        assert invoke(command, f"{url}/other") == (2, said)


def test_commands_that_need_a_folder_say_so() -> None:
    for command in ("runs", "up"):
        said = "fair-pruner: s3://a is a URL, and what this command needs lies in a folder of this machine; give that\n"
        assert invoke(command, "--output", "s3://a") == (2, said)


def test_a_bucket_that_is_not_there_is_told_before_anything_is_trained(url: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("name: a\noutput: s3://nobodys/prefix\n")
    code, said = invoke("run", config)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("fair-pruner: s3://nobodys/prefix cannot be used: The specified bucket does not exist")


def test_what_is_altered_there_is_made_anew(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = f"{url}/{tmp_path.name}"
    dense, (plan,) = plan_all(tiny(shared, **SMALL))
    wanted = (dense.digest, plan.digest)
    assert planned(tiny(tmp_path / "runs", **SMALL)) == wanted
    record = next(name for name in Remote(shared).names("cache") if name.startswith("allocate-"))
    for name in (f"store/{dense.weights.path}", f"cache/{record}"):
        flip(Remote(shared), name, tmp_path)
    monkeypatch.setenv("FAIR_PRUNER_CACHE", str(tmp_path / "another machine"))
    assert planned(tiny(shared, **SMALL)) == wanted
    monkeypatch.setenv("FAIR_PRUNER_CACHE", str(tmp_path / "third machine"))
    assert Remote(shared).fetch(f"cache/{record}", tmp_path / "record")
    assert whole(tmp_path / "record")
    assert Store(folder_of(shared) / "store").intact(dense)


def planned(config: RunConfig) -> tuple[str, str]:
    dense, (plan,) = plan_all(config)
    return dense.digest, plan.digest


def flip(remote: Remote, name: str, scratch: Path) -> None:
    """Alter an object in one byte."""
    file = scratch / "altered"
    assert remote.fetch(name, file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    remote.send(file, name)


def worker(folder: Path, config: RunConfig) -> "subprocess.Popen[str]":
    """A machine that runs a config."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    own = {"FAIR_PRUNER_CACHE": str(folder / "cache"), "PREFECT_HOME": str(folder / "prefect")}
    command = [*COMMAND, str(folder / "config.yaml")]
    return subprocess.Popen(command, env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def digests(folder: Path) -> dict[str, tuple[str, ...]]:
    report = RunReport.model_validate_json((folder / "tiny" / "report.json").read_bytes())
    return {
        c.name: (c.model.digest, c.onnx.digest, c.onnx_test.digest, c.plan.digest if c.plan else "") for c in report.candidates
    }


@pytest.mark.slow
def test_a_worker_goes_on_in_the_epoch_in_which_another_was_killed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"finetune": {"epochs": 60, "batch_size": 64, "checkpoint_seconds": 0.2}, "engine": {"enabled": False}}
    recipe |= {"track": {"enabled": True}}
    shared = f"{url}/{tmp_path.name}"
    with worker(tmp_path / "undisturbed", tiny(tmp_path / "runs", **recipe)) as process:
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    with worker(tmp_path / "one", tiny(shared, **recipe)) as process:
        assert process.stdout
        for line in process.stdout:
            if "recalibrate · tolerance 0.6" in line:  # the second branch is under way: fine-tuning comes next
                break
        while not Remote(shared).names("unfinished"):
            time.sleep(0.1)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    assert Remote(shared).names("tiny") == []
    with worker(tmp_path / "other", tiny(shared, **recipe)) as process:
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert "finetune · tolerance 0.3' - Finished in state Cached" in output
    assert "goes on behind step" in output
    assert "finetune · tolerance 0.6' - Finished in state Completed" in output
    monkeypatch.setenv("FAIR_PRUNER_CACHE", str(tmp_path / "other" / "cache"))
    assert digests(folder_of(shared)) == digests(tmp_path / "runs")
    assert Remote(shared).names("unfinished") == []
    assert (folder_of(shared) / "mlflow.db").is_file()
