"""The removal signal of a configuration, by name or as a function of the person's own."""

import re
from pathlib import Path
from typing import get_args

import pytest
from torch import nn

from fair_pruner import Group
from fair_pruner.types import Removal
from pipeline.config import ScoreConfig
from pipeline.errors import InputError
from pipeline.pruning_sections import REMOVALS
from pipeline.removal import fingerprint, removal_signal, source_of

pytestmark = pytest.mark.usefixtures("code_allowed")


def test_the_names_are_the_librarys() -> None:
    assert get_args(Removal) == REMOVALS
    assert all(removal_signal(ScoreConfig(removal=name)) == name for name in REMOVALS)
    assert source_of(ScoreConfig()) == ""


def test_a_function_is_imported_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "removal_of_mine.py").write_text("def signal(group, model):\n    return group[:4]\n\nclass Signal: ...\n")
    config = ScoreConfig(removal="removal_of_mine:signal")
    found = removal_signal(config)
    assert callable(found)
    assert found("same one", None) == "same"  # type: ignore[arg-type, comparison-overlap]
    assert re.fullmatch("[0-9a-f]{64}", source_of(config))
    assert fingerprint(config) != fingerprint(ScoreConfig())
    for name, message in (("signals", "did you mean signal"), ("Signal", "is no function")):
        with pytest.raises(InputError, match=message):
            removal_signal(ScoreConfig(removal=f"removal_of_mine:{name}"))


def test_a_function_that_raises_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "removal_that_raises.py").write_text("def signal(group, model):\n    raise KeyError(group.name)\n")
    found = removal_signal(ScoreConfig(removal="removal_that_raises:signal"))
    assert callable(found)
    group = Group("conv1", "channel", 4, 4, (), ())
    with pytest.raises(InputError, match="removal_that_raises:signal raises KeyError for conv1: 'conv1'"):
        found(group, nn.Linear(4, 4))
