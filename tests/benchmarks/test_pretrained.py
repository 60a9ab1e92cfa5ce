"""The benchmark runs to its end, on few crops of the photographs that wheels bring."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .lite0 import WHEEL

BENCHMARK = Path(__file__).parent / "pretrained.py"


@pytest.mark.slow
def test_quick_prints_a_table_and_writes_results(tmp_path: Path) -> None:
    pytest.importorskip(WHEEL)
    pytest.importorskip("foolbox")
    command = [sys.executable, BENCHMARK, "--quick", "--json", tmp_path / "results.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| asked for | rule |" in done.stdout
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert [one["rule"] for one in results] == ["dense, recalibrated", "tod", "uniform"]
    _, tod, uniform = results
    assert tod["macs"] - 0.01 < uniform["macs"] <= tod["macs"] < 1
    assert 0 <= tod["onnx"]["top1"] <= 1
