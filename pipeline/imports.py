"""Objects that a configuration names as package.module:name."""

import difflib
import hashlib
import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from fair_pruner.errors import first_line
from pipeline.errors import InputError
from pipeline.permission import require_permission


def load_object(path: str, what: str) -> Any:
    """The object at `path` (package.module:name); modules of the current folder are found too.

    `what` is the setting that holds the path. Raises InputError in one sentence if the path has another form, nobody has
    allowed this process to run such code, the import fails, or there is no such name.
    """
    module_name, _, name = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise InputError(f"{what} is {path!r}; expected package.module:function")
    require_permission(path, what)
    module = _import(module_name, what)
    try:
        return getattr(module, name)
    except AttributeError as error:
        near = difflib.get_close_matches(name, vars(module), n=1)
        raise InputError(f"{what}: {module_name} has no {name}{f'; did you mean {near[0]}?' if near else ''}") from error


def source_digest(path: str, what: str) -> str:
    """SHA-256 of the source file that defines the object at `path`. Raises InputError as `load_object` does."""
    found = inspect.unwrap(load_object(path, what))
    try:
        source = inspect.getsourcefile(found)
    except TypeError:  # an object without a source of its own, such as functools.partial
        source = inspect.getsourcefile(sys.modules[path.partition(":")[0]])
    return hashlib.sha256(Path(source).read_bytes() if source else b"").hexdigest()


def _import(name: str, what: str) -> ModuleType:
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    module: ModuleType | None = None
    try:
        module = importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise InputError(f"{what}: there is no module {error.name} in {here} nor among the installed ones") from error
        raise InputError(f"{what}: importing {name} raises {type(error).__name__}: {first_line(error)}") from error
    finally:
        # what was found here may import its neighbours later on
        if added and not _lies_in(module, here):
            sys.path.remove(here)
    return module


def _lies_in(module: ModuleType | None, folder: str) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(Path(folder).resolve())
