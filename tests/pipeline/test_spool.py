import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import GateConfig, TrackConfig
from pipeline.records import FileRef
from pipeline.spool import SPOOL, Unlogged, _append, mark_logged, unlogged


def entry(digest: str) -> Unlogged:
    return Unlogged(
        digest=digest, name="run", files={}, track=TrackConfig(), gate=GateConfig(), flow_run_url="", began_ms=1, ended_ms=2
    )


@settings(max_examples=40, deadline=None)  # a disk may be slow
@given(events=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12))
def test_what_waits_is_what_was_put_there_and_not_logged_since(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, bool]]
) -> None:
    output, waiting = tmp_path_factory.mktemp("runs"), list[str]()
    for number, logged in events:
        if logged:
            mark_logged(entry(str(number)), output)
            waiting = [digest for digest in waiting if digest != str(number)]
        else:
            _append(output, entry(str(number)))
            waiting.append(str(number))
    assert [each.digest for each in unlogged(output)] == waiting


@settings(max_examples=40, deadline=None)
@given(keep=st.integers(0, 10**4))
def test_a_line_that_a_crash_has_torn_costs_no_other(tmp_path_factory: pytest.TempPathFactory, keep: int) -> None:
    output = tmp_path_factory.mktemp("runs")
    for digest in ("first", "second"):
        _append(output, entry(digest))
    file = output / SPOOL
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + second[: keep % (len(second) - 1)])  # without the end of the line and of what stands in it
    _append(output, entry("third"))
    assert [each.digest for each in unlogged(output)] == ["first", "third"]


def test_a_folder_without_a_spool_has_nothing_to_tell(tmp_path: Path) -> None:
    assert unlogged(tmp_path) == ()
    assert unlogged(tmp_path / "missing") == ()


FILE = FileRef(path="a", sha256="b", size_bytes=1)
OUTSIDE = entry("climbs").model_copy(update={"files": {"../outside": FILE}}).model_dump_json()


@pytest.mark.parametrize("line", [OUTSIDE, "null", "[]", "{}", '{"digest": 1}', "\x00", '{"logged": null}'])
def test_a_line_that_is_none_is_told_of(tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / SPOOL).write_text(line + "\n" + json.dumps(entry("whole").model_dump(mode="json")) + "\n")
    assert [each.digest for each in unlogged(tmp_path)] == ["whole"]
    assert "line 1 of" in caplog.text
