"""Secrets that this process was given in its environment, and logins in URLs, are left out of whatever is said or written."""

import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

T = TypeVar("T")
HIDDEN = "***"
NAMES = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH_STRING|AUTHORIZATION|KEY|KEY_ID)$", re.IGNORECASE)
LOGIN = re.compile(r"(?<=://)[^/\s@'\"]*:([^/\s@'\"]+)@")
SHORTEST = 5  # of a secret: "1" stands everywhere


def redacted(text: str) -> str:
    """The text with HIDDEN in place of every secret in it."""
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    return LOGIN.sub(f"{HIDDEN}@", text)


def without_secrets(values: T) -> T:
    """The same mappings and lists, with every text in them redacted."""
    found: Any = values
    if isinstance(values, str):
        found = redacted(values)
    elif isinstance(values, dict):
        found = {key: without_secrets(value) for key, value in values.items()}
    elif isinstance(values, list | tuple):
        found = type(values)(without_secrets(value) for value in values)
    return found  # type: ignore[no-any-return]


def hide_secrets() -> None:
    """From now on they are in no log line of this process, whoever writes it, and in no traceback of its end."""
    earlier = logging.getLogRecordFactory()
    if not isinstance(earlier, _Records):
        logging.setLogRecordFactory(_Records(earlier))
    sys.excepthook = _traceback


class _Records:
    """Makes log records as `earlier` does, and leaves those as they are that hold no secret."""

    def __init__(self, earlier: Callable[..., logging.LogRecord]) -> None:
        self.earlier = earlier

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.earlier(*args, **kwargs)
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001  # a handler will say what is wrong with the line
            return record
        if (shown := redacted(said)) != said:
            record.msg, record.args = shown, ()
        if record.exc_info and record.exc_info[0]:
            told = "".join(traceback.format_exception(*record.exc_info)).removesuffix("\n")
            if (shown := redacted(told)) != told:
                record.exc_text = shown  # what formatters take if it is there
        return record


def _traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def _secrets() -> list[str]:
    """The longest first, since one may be a part of another."""
    found = set()
    for name, value in os.environ.items():
        given = {value} if NAMES.search(name) else set()
        given |= {value.partition(":")[2]} if name.endswith("AUTH_STRING") else set()  # user:password
        given |= set(LOGIN.findall(value))
        found |= given | {quote(secret, safe="") for secret in given}
    return sorted((secret for secret in found if len(secret) >= SHORTEST), key=len, reverse=True)
