import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import pinning as stage
from pipeline.pinning import choose_cores

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system holds no process to cores")


def topology(folder: Path, siblings: dict[int, str]) -> Path:
    for core, text in siblings.items():
        file = folder / f"cpu{core}" / "topology" / "thread_siblings_list"
        file.parent.mkdir(parents=True)
        file.write_text(f"{text}\n")
    return folder


@given(allowed=st.sets(st.integers(0, 15), min_size=1), threads=st.integers(1, 16))
def test_distinct_allowed_cores_as_many_as_threads_or_none(allowed: set[int], threads: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: allowed)
        patch.setattr(stage, "TOPOLOGY", Path("/nowhere"))
        cores = choose_cores(threads)
    assert set(cores) <= allowed
    assert len(set(cores)) == len(cores) == (threads if threads <= len(allowed) else 0)
    assert list(cores) == sorted(cores)


def test_no_two_threads_share_a_physical_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four physical cores with two threads each, numbered as Intel's are."""
    monkeypatch.setattr(stage, "TOPOLOGY", topology(tmp_path, {core: f"{core % 4},{core % 4 + 4}" for core in range(8)}))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert choose_cores(1) == (3,)
    assert choose_cores(4) == (0, 1, 2, 3)
    assert choose_cores(5) == ()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 4, 5})
    assert choose_cores(2) == (0, 5)


def test_this_machine_has_a_core() -> None:
    assert set(choose_cores(1)) <= os.sched_getaffinity(0)
    assert len(choose_cores(1)) == 1
