"""Some rows of the table of faults, once each."""

from collections.abc import Iterator

import pytest

from .faults import ROWS, Bench, Seen, bench_in, killed_everywhere, table


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench_in(tmp_path_factory.mktemp("faults")) as bench:
        yield bench


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "two runs at once", "a file altered by one byte", "MLflow away for good"])
def test_nothing_is_lost(name: str, bench: Bench) -> None:
    seen = ROWS[name](bench, 0)
    assert seen.lost == ()
    assert seen.equal


@pytest.mark.slow
def test_a_kill_in_any_stage_loses_nothing(bench: Bench) -> None:
    for name, seen in killed_everywhere(bench, 0):
        assert "missed" not in seen.happened, name
        assert seen.lost == (), name
        assert seen.equal, name


def test_repeats_of_a_row_stand_in_one_line() -> None:
    found = {"SIGTERM": [Seen("ended", (), True), Seen("ended", ("a file",), False)]}
    assert table(found).splitlines()[2:] == ["| SIGTERM | 2 | ended | a file | 1 of 2 |"]
