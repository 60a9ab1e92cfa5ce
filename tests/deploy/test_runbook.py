"""What the runbook tells people to type: it parses, and what it names is there. Slow tests run it."""

import os
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import boto3
import pytest
import yaml

from ..buckets import bucket
from .composed import DEPLOY, composed, secrets
from .runbook import ROOT, TEXT, block, blocks, typed

HEADINGS = re.findall(r"^## (.+)$", TEXT, flags=re.MULTILINE)
WORDS = re.findall(r"\S+", "\n".join(block for heading in HEADINGS for block in blocks(heading)))


def test_it_covers_what_can_happen_to_a_deployment() -> None:
    assert HEADINGS == ["Deploy", "Back up", "Restore", "Upgrade", "Roll back", "Rotate a secret"]
    for secret in secrets():
        named = "object store's two" if secret.startswith("OBJECT_STORE") else secret
        assert named in TEXT.partition("## Rotate a secret")[2]


@pytest.mark.parametrize("block", [block for heading in HEADINGS for block in blocks(heading)])
def test_every_block_is_bash(block: str) -> None:
    done = subprocess.run(("/bin/bash", "-n", "-c", block), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_file_that_is_named_is_there() -> None:
    made = {"deploy/.env"}
    for word in {*re.findall(r"\bdeploy/[\w./-]*[\w-]", TEXT)} - made:
        names = [word.replace("$image", each) for each in ("cpu", "gpu", "server")] if word.endswith("docker") else [word]
        assert all((ROOT / name).exists() for name in names), word


def test_every_service_that_is_named_is_one() -> None:
    verbs = "stop|run --rm(?: --no-deps -T)?|exec -T|up --detach --wait"
    named = re.findall(rf"docker compose --file deploy/compose.yaml (?:{verbs})((?: [a-z][a-z-]*\b)*)", TEXT)
    assert {*" ".join(named).split()} - {"db", "upgrade", "postgresql", "tar"} == {*composed()["services"]}


def test_kubernetes_knows_what_is_named() -> None:
    kustomization = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    assert f"--namespace {kustomization['namespace']}" in TEXT
    image = kustomization["images"][0]
    for file in ("kustomization.yaml", "upgrade.yaml", "base-job-template.json"):
        assert image["newName"] in (DEPLOY / "kubernetes" / file).read_text()
        assert f"`{file}`" in TEXT
    pods = (DEPLOY / "kubernetes" / "postgres.yaml").read_text()
    mounted = {*re.findall(r"subPath: ([\w.-]+)", pods + (DEPLOY / "kubernetes" / "mlflow.yaml").read_text())}
    assert {Path(word).name for word in re.findall(r"--from-file (\S+)", TEXT)} == mounted


def test_the_secrets_are_random_and_for_oneself(tmp_path: Path) -> None:
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    for _ in range(2):
        typed(blocks("Deploy")[0], tmp_path, {"PATH": os.environ["PATH"]})
        made = (tmp_path / "deploy" / ".env").read_text()
        values = [line.partition("=")[2] for line in made.splitlines() if not line.startswith("#")]
        assert [line.partition("=")[0] for line in made.splitlines() if not line.startswith("#")] == secrets()
        assert len({*values}) == len(values)
        assert min(map(len, values)) >= 48
    assert (tmp_path / "deploy" / ".env").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(not shutil.which("rclone"), reason="apt-get install rclone")
def test_objects_are_copied_and_come_back(tmp_path: Path) -> None:
    key = "mlflow/0/run/model.onnx"
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / ".env").write_text("OBJECT_STORE_KEY_ID=anybody\nOBJECT_STORE_SECRET=anything\n")
    with bucket(tmp_path / "cache"), closing(boto3.client("s3")) as client:
        client.create_bucket(Bucket="fair-pruner")
        client.put_object(Bucket="fair-pruner", Key=key, Body=b"content")
        copying = block("Back up", "rclone").replace("http://127.0.0.1:8333", os.environ["AWS_ENDPOINT_URL"])
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        typed(copying, tmp_path, environment)
        client.delete_object(Bucket="fair-pruner", Key=key)
        *exports, _ = copying.splitlines()
        typed("\n".join((*exports, block("Restore", "rclone"))), tmp_path, environment)
        assert client.get_object(Bucket="fair-pruner", Key=key)["Body"].read() == b"content"


def backup(output: Path, archive: Path) -> subprocess.CompletedProcess[str]:
    command = ("/bin/bash", str(DEPLOY / "backup.sh"), str(output), str(archive))
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_database_is_copied_whole_while_somebody_writes_to_it(tmp_path: Path) -> None:
    output, restored = tmp_path / "runs", tmp_path / "restored"
    (output / "server").mkdir(parents=True)
    (output / "store").mkdir()
    (output / "store" / "file").write_bytes(b"content")
    for folder in (output, output / "server"):
        with closing(sqlite3.connect(folder / "some.db")) as database:
            database.execute("pragma journal_mode = wal")
            database.execute("create table entries (number)")
            database.execute("insert into entries values (1)")
            database.commit()
    with closing(sqlite3.connect(output / "some.db")) as writing:
        writing.execute("insert into entries values (2)")  # and not committed
        done = backup(output, tmp_path / "runs.tar")
    assert (done.returncode, done.stderr) == (0, "")
    restored.mkdir()
    subprocess.run(("/bin/tar", "--extract", "--file", str(tmp_path / "runs.tar"), "--directory", str(restored)), check=True)
    files = {path.relative_to(restored).as_posix() for path in restored.rglob("*") if path.is_file()}
    assert files == {"some.db", "server/some.db", "store/file"}
    for folder in (restored, restored / "server"):
        with closing(sqlite3.connect(folder / "some.db")) as database:
            assert database.execute("select * from entries").fetchall() == [(1,)]


def test_a_backup_that_fails_leaves_the_last_one_alone(tmp_path: Path) -> None:
    archive = tmp_path / "runs.tar"
    archive.write_text("the last one")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "broken.db").write_text("no database")
    assert backup(tmp_path / "runs", archive).returncode != 0
    assert backup(tmp_path / "nowhere", archive).returncode == 2
    assert archive.read_text() == "the last one"
    assert {*tmp_path.iterdir()} == {archive, tmp_path / "runs"}
