import importlib
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Script = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ("--seconds", "0.02", "--runs", "60", "--warmup", "0.01")
ROW = re.compile(r"(\S+) +CPU \S+ +(\d+) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +(\d+)")


def test_every_file_is_measured_at_every_batch_with_rising_percentiles(shared_bundle: Path, script: Script) -> None:
    done = script(shared_bundle, "benchmark.py", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [match.groups() for match in map(ROW.fullmatch, done.stdout.splitlines()) if match]
    names = [f"model.{precision}.onnx" for precision in ("fp32", "fp16", "int8-cpu", "int8-trt")]
    assert [(name, batch) for name, batch, *_ in rows] == [(name, batch) for batch in ("1", "8") for name in names]
    for _, batch, runs, p50, p90, p99, throughput in rows:
        assert int(runs) >= 60
        assert 0 < float(p50) <= float(p90) <= float(p99)
        assert int(throughput) == pytest.approx(1000 * int(batch) / float(p50), rel=0.05)


def test_the_machine_is_told_and_no_speed_up_claimed(shared_bundle: Path, script: Script) -> None:
    text = script(shared_bundle, "benchmark.py", *QUICK, "--files", shared_bundle / "model.fp32.onnx", "--batches", "2").stdout
    for word in ("machine", "cores", "governor", "load", "numpy", "threads of ONNX Runtime: 1"):
        assert word in text
    assert "speed" not in text
    assert "faster" not in text
    assert [match[2] for match in map(ROW.fullmatch, text.splitlines()) if match] == ["2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batches", "0"), "--batches, --runs and --threads must be at least 1"),
        (("--files", "none.onnx"), "none.onnx"),
        (("--files", "none.engine"), "none.engine"),
        (("--provider", "NoProvider"), "has no NoProvider"),
    ],
)
def test_what_cannot_be_measured_ends_in_one_sentence(
    arguments: tuple[str, ...], message: str, shared_bundle: Path, script: Script
) -> None:
    done = script(shared_bundle, "benchmark.py", *QUICK, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("benchmark.py: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_files_take_turns_and_the_warm_up_is_not_counted() -> None:
    benchmark: Any = importlib.import_module("pipeline.bundle_files.benchmark")
    calls: list[str] = []

    def file(name: str, milliseconds: float) -> Callable[[], float]:
        def run() -> float:
            calls.append(name)
            time.sleep(milliseconds / 1000)
            return milliseconds

        return run

    slow, quick = benchmark.measure([file("slow", 2.0), file("quick", 0.1)], 0.0, 40, 0.02)
    assert set(slow) == {2.0}
    assert set(quick) == {0.1}
    assert len(slow) == len(quick) == 40
    measured = calls[-80:]
    assert len(calls) > 80
    assert all(set(measured[at : at + 2]) == {"slow", "quick"} for at in range(0, 80, 2))
    assert {tuple(measured[at : at + 2]) for at in range(0, 80, 2)} == {("slow", "quick"), ("quick", "slow")}
