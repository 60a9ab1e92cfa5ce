"""What an observer of a loop is told; the bar and the log lines are for people."""

import logging
from collections.abc import Iterator

import pytest

from pipeline.progress import observer, progress


@pytest.fixture
def told() -> Iterator[list[tuple[str, float]]]:
    calls: list[tuple[str, float]] = []
    token = observer.set(lambda description, share: calls.append((description, share)))
    yield calls
    observer.reset(token)


def test_an_observer_is_told_the_share_after_each_item(told: list[tuple[str, float]]) -> None:
    assert list(progress("abcd", "letters", 4)) == list("abcd")
    assert told == [("letters", 0.25), ("letters", 0.5), ("letters", 0.75), ("letters", 1.0)]


def test_the_share_is_that_of_all_loops_together(told: list[tuple[str, float]]) -> None:
    for epoch in (1, 2):
        list(progress("ab", f"epoch {epoch}/2", 2, loop=epoch, loops=2))
    assert [share for _, share in told] == [0.25, 0.5, 0.75, 1.0]


def test_more_items_than_expected_are_not_more_than_all(told: list[tuple[str, float]]) -> None:
    list(progress("abc", "rounds", 2))
    assert [share for _, share in told] == [0.5, 1.0, 1.0]


def test_without_an_observer_the_items_come_as_they_are() -> None:
    assert list(progress("ab", "letters", 2)) == ["a", "b"]


def test_a_line_tells_how_many_are_done_even_if_there_are_more_than_expected(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pipeline.progress.LINE_EVERY_SECONDS", -1.0)
    with caplog.at_level(logging.INFO, "pipeline"):
        assert list(progress(iter(range(3)), "rounds", 2)) == [0, 1, 2]
    assert caplog.messages == ["rounds: 1 of 2", "rounds: 2 of 2", "rounds: 3 instead of 2"]
