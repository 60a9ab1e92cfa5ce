"""A JSON document that is no longer what was written: any value by another, keys gone, members twice, bytes torn."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Place = tuple[str | int, ...]  # keys and indices from the root to a value
Change = tuple[Place, Any]

GONE, TWICE = "gone", "twice"  # instead of another value: the value is taken out, or stands there two times
ODD: tuple[Any, ...] = (
    *(None, True, False, "", [], {}, [[]], {"": None}),
    *(0, 1, -1, 2, 2**31, 2**63, -(2**63), 10**400, 0.0, -0.0, 0.5, -0.5, 1.5, 1e-300, 1e300, -1e300),
    *(float("nan"), float("inf"), float("-inf")),
    *("x", "dense", "../outside", "/etc/passwd", "\0", "\n", "\x1b[2J", "\ud800", "\u202e", "x" * 300, "nan", "1e999", "[red]"),
    json.loads("[" * 150 + "]" * 150),
    json.loads('{"a":' * 150 + "1" + "}" * 150),
)


def changes(document: Any, most: int = 2) -> st.SearchStrategy[list[Change]]:
    """Up to `most` changes of a document; members of a list are taken for alike, so that short parts are changed as often."""
    alike: dict[Place, list[Place]] = {}
    for place in _places(document):
        alike.setdefault(tuple("*" if isinstance(key, int) else key for key in place), []).append(place)
    place = st.sampled_from(list(alike.values())).flatmap(st.sampled_from)
    change = place.flatmap(lambda place: st.tuples(st.just(place), _others(_at(document, place))))
    return st.lists(change, min_size=1, max_size=most)


def changed(document: Any, made: list[Change]) -> Any:
    """The document with these changes, one after another; what an earlier one took away stays away."""
    whole = [copy.deepcopy(document)]
    for place, new in made:
        inner: Any = whole
        *above, last = (0, *place)
        try:
            for key in above:
                inner = inner[key]
            old = inner[last]
        except (KeyError, IndexError, TypeError):
            continue
        if not isinstance(inner, dict | list):  # but a text
            continue
        if new is GONE:
            del inner[last]
        elif new is TWICE and isinstance(inner, list):
            inner.insert(last, old)
        else:
            inner[last] = [old, old] if new is TWICE else new
    return whole[0] if whole else None


def torn(content: bytes, at: float, new: bytes, length: int) -> bytes:
    """The same bytes, but for `length` of them after the share `at`, where `new` stands instead."""
    place = int(at * len(content))
    return content[:place] + new + content[place + length :]


def _others(value: Any) -> st.SearchStrategy[Any]:
    """What may stand in place of a value: as often as not something of its own kind, which more readers let pass."""
    numbers = isinstance(value, int | float)
    alike = [odd for odd in ODD if isinstance(odd, int | float if numbers else type(value))] or [GONE]
    return st.sampled_from(alike) | st.sampled_from((GONE, TWICE, *ODD))


def _at(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


def _places(value: Any, place: Place = ()) -> Iterator[Place]:
    yield place
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in members:
        yield from _places(inner, (*place, key))
