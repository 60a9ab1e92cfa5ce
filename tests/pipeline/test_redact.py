"""What the environment keeps to itself is in no line, no error and no traceback."""

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from flows.cli import app
from pipeline.errors import InputError
from pipeline.redact import hide_secrets, redacted, without_secrets

SECRETS = {
    "SOME_API_TOKEN": "tok-123456",
    "SOME_SECRET": "s3cret/with+signs",
    "POSTGRES_PASSWORD": "pass-word",
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdz",
    "PREFECT_SERVER_API_AUTH_STRING": "admin:letmein-now",
    "MLFLOW_TRACKING_URI": "http://somebody:in-the-uri@mlflow:5000",
}
HIDDEN = [*SECRETS.values(), "s3cret%2Fwith%2Bsigns", "letmein-now", "in-the-uri"]


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("SHORT_TOKEN", "1")
    monkeypatch.setenv("EMPTY_TOKEN", "")


@pytest.mark.parametrize("secret", HIDDEN)
def test_a_secret_is_hidden_wherever_it_stands(secret: str) -> None:
    for text in (secret, f"a {secret} b", f"x={secret}&y={secret}"):
        assert secret not in redacted(text)
        assert secret not in str(InputError(f"{text}; do something"))
        assert without_secrets({"a": [text, 1], "b": {"c": text}}) == {"a": [redacted(text), 1], "b": {"c": redacted(text)}}


def test_logins_in_urls_are_hidden_whose_ever_they_are() -> None:
    assert redacted("postgresql+asyncpg://me:unknown@db/x and s3://k:v@b/") == "postgresql+asyncpg://***@db/x and s3://***@b/"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text().filter(lambda text: "://" not in text))
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_what_is_no_secret_stays_in_urls_and_names() -> None:
    text = "eu-central-1, 1, http://127.0.0.1:4200/api?a=b@c, file:///tmp/x:y, me@example.com"
    assert redacted(text) == text


def test_log_lines_and_their_tracebacks_hold_none() -> None:
    hide_secrets()
    hide_secrets()
    written = io.StringIO()
    logger = logging.getLogger("of.somebody.else")
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.warning("%s goes to %r", SECRETS["SOME_API_TOKEN"], {"x": SECRETS["AWS_SESSION_TOKEN"]})
    try:
        raise KeyError(SECRETS["POSTGRES_PASSWORD"])
    except KeyError:
        logger.exception("with %d %%", 5)
    logger.removeHandler(handler)
    assert "*** goes to {'x': '***'}" in written.getvalue()
    assert "with 5 %" in written.getvalue()
    assert "KeyError: '***'" in written.getvalue()
    assert not [secret for secret in HIDDEN if secret in written.getvalue()]


def test_a_traceback_that_ends_a_process_holds_none() -> None:
    code = "import os; from pipeline.redact import hide_secrets; hide_secrets(); raise OSError(os.environ['POSTGRES_PASSWORD'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "OSError: ***" in ended.stderr
    assert "pass-word" not in ended.stderr


def test_a_sentence_of_the_command_line_holds_none_and_steers_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "pass-word.yaml"
    path.write_text('"\\e[31mx": 1\n')
    result = CliRunner().invoke(app, ["plan", str(path)])
    sentence = f"fair-pruner: {tmp_path}/***.yaml: unknown key ?[31mx; check its spelling and the section it stands in\n"
    assert (result.exit_code, result.stderr) == (2, sentence)
