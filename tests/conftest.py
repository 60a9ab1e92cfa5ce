"""Settings for all tests."""

import pytest
import torch

from pipeline.permission import ALLOW_CODE

torch.set_num_threads(1)  # the models are tiny: threads would only wait for each other


@pytest.fixture(autouse=True)
def _no_code_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's own code is not allowed, whatever the environment says; --allow-code is forgotten after the test."""
    monkeypatch.setenv(ALLOW_CODE, "")


@pytest.fixture
def code_allowed(monkeypatch: pytest.MonkeyPatch, _no_code_unless_asked_for: None) -> None:
    """A person's own code may run."""
    monkeypatch.setenv(ALLOW_CODE, "1")
