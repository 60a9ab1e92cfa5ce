import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.imports import load_object, source_digest

pytestmark = pytest.mark.usefixtures("code_allowed")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder; modules imported from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("fp_"):
            del sys.modules[name]


def test_modules_of_the_current_folder_are_found_and_may_import_later(folder: Path) -> None:
    (folder / "fp_late.py").write_text("VALUE = 7\n")
    (folder / "fp_package").mkdir()
    (folder / "fp_package" / "__init__.py").write_text("")
    (folder / "fp_package" / "inner.py").write_text("def make():\n    import fp_late\n    return fp_late.VALUE\n")
    assert load_object("fp_package.inner:make", "data.factory")() == 7


def test_the_path_stays_as_it_was_if_the_folder_was_not_needed(folder: Path) -> None:
    before = list(sys.path)
    assert load_object("pathlib:Path", "data.factory") is Path
    with pytest.raises(InputError):
        load_object("fp_missing:make", "data.factory")
    assert sys.path == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("fp_module", r"data.factory is 'fp_module'; expected package.module:function"),
        ("fp_module:", "expected package.module:function"),
        (":make", "expected package.module:function"),
        ("fp_module.py:make", "there is no module fp_module.py"),
        ("./fp_module:make", "expected package.module:function"),
        ("fp_missing.inner:make", "there is no module fp_missing in"),
        ("fp_module:mak", "fp_module has no mak; did you mean make"),
        ("fp_broken:make", "importing fp_broken raises ZeroDivisionError: division by zero"),
        ("fp_syntax:make", "importing fp_syntax raises SyntaxError"),
        ("fp_needs:make", "importing fp_needs raises ModuleNotFoundError: No module named 'fp_other'"),
    ],
)
def test_what_cannot_be_had_is_told_in_one_sentence(folder: Path, path: str, message: str) -> None:
    for name, text in {
        "module": "def make(): ...\n",
        "broken": "1 / 0\n",
        "syntax": "def (\n",
        "needs": "import fp_other\n",
    }.items():
        (folder / f"fp_{name}.py").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_object(path, "data.factory")
    assert "\n" not in str(caught.value)


def test_the_source_digest_is_of_the_file_that_defines_it(folder: Path) -> None:
    (folder / "fp_defines.py").write_text("def make(): ...\n")
    (folder / "fp_passes.py").write_text("import functools\nfrom fp_defines import make\npart = functools.partial(make)\n")
    direct, passed = source_digest("fp_defines:make", "x"), source_digest("fp_passes:make", "x")
    assert direct == passed
    assert source_digest("fp_passes:part", "x") != direct
    (folder / "fp_defines.py").write_text("def make(): return 1\n")
    assert source_digest("fp_defines:make", "x") != direct
