import os
import platform
import stat
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import machine as stage
from pipeline.errors import InputError
from pipeline.latency import Machine
from pipeline.machine import describe, refuse_other_machine, throttle_count

WORDS = st.text("abc", max_size=2)
MACHINES = st.builds(
    Machine,
    cpu=WORDS,
    cores=st.integers(1, 2),
    system=WORDS,
    gpu=WORDS,
    governor=WORDS,
    versions=st.dictionaries(st.sampled_from(["python", "onnxruntime", "openvino"]), WORDS, max_size=3),
    load_average=st.floats(0, 9),
    busy_cores=st.floats(0, 9),
)


@pytest.fixture(autouse=True)
def short_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "LOOK_SECONDS", 0.05)


def test_the_machine_is_described() -> None:
    machine = describe(("numpy", "no_such_library"))
    assert machine.cpu
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.load_average >= 0
    assert 0 <= machine.busy_cores <= (os.cpu_count() or 1)
    assert machine.versions == {"python": platform.python_version(), "numpy": version("numpy")}
    assert machine.throttled is None


def test_either_distribution_of_onnx_runtime_is_found() -> None:
    names = set(describe(("onnxruntime",)).versions) - {"python"}
    assert names in ({"onnxruntime"}, {"onnxruntime-gpu"})


def test_clocks_are_read_where_the_system_tells_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for core, governor in ((0, "powersave"), (1, "performance")):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")
        (folder / "scaling_cur_freq").write_text(f"{core + 1}500000\n")
        throttle = tmp_path / f"cpu{core}" / "thermal_throttle"
        throttle.mkdir()
        (throttle / "core_throttle_count").write_text(f"{core + 3}\n")
    monkeypatch.setattr(stage, "CPUS", tmp_path)
    machine = describe((), core=1)
    assert (machine.governor, machine.mhz) == ("performance", 2500.0)
    assert throttle_count() == 7


def test_where_the_system_tells_nothing_nothing_is_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "CPUS", tmp_path)
    monkeypatch.setattr(stage, "CPU_INFORMATION", tmp_path / "cpuinfo")
    machine = describe(())
    assert machine.cpu == (platform.processor() or platform.machine())
    assert (machine.governor, machine.mhz, throttle_count()) == ("", None, None)


def test_each_core_has_its_own_clock_in_cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = [f"processor\t: {core}\nmodel name\t: Some CPU\ncpu MHz\t\t: {core + 1}000.5\n" for core in range(2)]
    (tmp_path / "cpuinfo").write_text("\n".join(cores) + "\n")
    monkeypatch.setattr(stage, "CPUS", tmp_path)
    monkeypatch.setattr(stage, "CPU_INFORMATION", tmp_path / "cpuinfo")
    assert (describe((), core=1).mhz, describe((), core=1).cpu) == (2000.5, "Some CPU")


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for nvidia-smi is a shell script")
@pytest.mark.parametrize(
    ("script", "gpu"),
    [
        ('[ "$1" = "--query-gpu=name,driver_version,power.limit" ] && echo "GPU X, 550.1, 300.00 W"', "GPU X, 550.1, 300.00 W"),
        ("echo no driver; exit 9", ""),
        ("sleep 5", ""),
    ],
)
def test_the_gpu_is_as_nvidia_smi_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, gpu: str) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(stage, "GPU_SECONDS", 0.5)
    assert describe(()).gpu == gpu


@given(first=MACHINES, second=MACHINES)
def test_machines_are_refused_exactly_if_their_identities_differ(first: Machine, second: Machine) -> None:
    refuse_other_machine(first, first.model_copy(update={"load_average": 1.0, "busy_cores": 0.5, "throttled": 3}))
    if first.identity == second.identity:
        refuse_other_machine(first, second)
        return
    with pytest.raises(InputError) as caught:
        refuse_other_machine(first, second)
    for key in ("cpu", "cores", "gpu", "governor"):
        assert (f" {key} is " in str(caught.value)) == (first.identity[key] != second.identity[key])


def test_the_refusal_names_both_sides() -> None:
    here = Machine(cpu="B", cores=2, system="s", versions={"onnxruntime": "2"}, load_average=0, busy_cores=0)
    there = here.model_copy(update={"cpu": "A", "versions": {}})
    with pytest.raises(InputError, match="cpu is A there and B here, version of onnxruntime is none there and 2 here; measure"):
        refuse_other_machine(there, here)
