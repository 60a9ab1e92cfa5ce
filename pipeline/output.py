"""Where a run leaves what it makes: a folder, or a URL that machines share, with a working folder of its own on each."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from pipeline.errors import InputError
from pipeline.remote import Remote
from pipeline.whole_files import make_folder

DEFAULT = "runs"
PLAIN_URL = re.compile(r"[a-z][a-z0-9]*://[A-Za-z0-9._=-]*(/[A-Za-z0-9._=-]+)*")
LONGEST = 200  # it becomes the name of a folder


def place(text: str | Path) -> Path | str:
    """A folder as a Path, or a URL as text. Raises InputError if the URL is none that can be used.

    The sentence does not repeat it, for a person may have put a password into it.
    """
    if not isinstance(text, str | Path):
        raise InputError(f"the output is a {type(text).__name__}; give a folder, or a URL such as s3://bucket/prefix")
    if isinstance(text, Path) or "://" not in text:
        return Path(text)
    url = text.rstrip("/")
    if "@" in url:
        raise InputError("the output's URL holds a user or password; leave them to the environment, as AWS_ACCESS_KEY_ID")
    if not PLAIN_URL.fullmatch(url) or ".." in url.split("/") or len(url) > LONGEST:
        raise InputError(
            f"the output's URL is not of the form s3://bucket/prefix, of letters, digits and . _ = -, and {LONGEST} at most"
        )
    return url


def local_folder(text: str) -> Path:
    """A folder. Raises InputError if it is the URL of something."""
    if "://" in text:
        raise InputError(f"{text} is a URL, and what this command needs lies in a folder of this machine; give that")
    return Path(text)


Place = Annotated[Path | str, PlainValidator(place), PlainSerializer(str), WithJsonSchema({"type": "string"})]


def check_output(output: Path | str) -> None:
    """See that files can be written in the folder, or at the URL and in its working folder. Raises InputError if not."""
    make_folder(folder_of(output))
    if isinstance(output, str):
        Remote(output).check()


def default_output() -> Path | str:
    """FAIR_PRUNER_OUTPUT if that is set, else `runs`."""
    return place(os.environ.get("FAIR_PRUNER_OUTPUT") or DEFAULT)


def folder_of(output: Path | str) -> Path:
    """The folder on this machine: the output itself, or the working folder of a URL.

    A working folder lies in FAIR_PRUNER_CACHE, by default the person's cache folder, and its name is the URL with + for what
    no name may hold. Nothing in it is needed once its files are at the URL.
    """
    return _working_folders() / output.replace("://", "+").replace("/", "+") if isinstance(output, str) else output.resolve()


def shared_at(path: Path) -> tuple[Remote, str] | None:
    """For a path in the working folder of a URL: what lies there, and the path's name in it. None for any other path."""
    path, root = path.absolute(), _working_folders()
    if not path.is_relative_to(root):
        return None
    folder, *parts = path.relative_to(root).parts or ("",)
    scheme, plus, rest = folder.partition("+")
    return (Remote(f"{scheme}://{rest.replace('+', '/')}"), "/".join(parts)) if plus else None


def _working_folders() -> Path:
    chosen, caches = os.environ.get("FAIR_PRUNER_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(chosen).resolve() if chosen else (Path(caches) if caches else Path.home() / ".cache").resolve() / "fair-pruner"
