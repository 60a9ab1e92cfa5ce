"""YAML as plain values, of a size and depth that a configuration has."""

from typing import Any

import yaml

from pipeline.errors import InputError

DEEPEST = 20  # collections within each other
MOST_VALUES = 10_000  # with every alias written out


def read_yaml(text: str | bytes, where: str) -> Any:
    """The values in a text. Raises InputError in one sentence, which begins with `where`, if it is no YAML or too much of it."""
    try:
        fits = _fits(text)
        values = yaml.safe_load(text) if fits else None
    except Exception as error:  # a value such as `!!bool x` raises whatever its constructor does
        raise InputError(f"{where} is not YAML: {' '.join(str(error).split())[:500] or type(error).__name__}") from error
    if not fits:
        raise InputError(
            f"{where} is nested deeper than {DEEPEST} or comes to more than {MOST_VALUES} values with its aliases; "
            "no configuration is so large"
        )
    return values


def _fits(text: str | bytes) -> bool:
    """Counted from the text alone: a few aliases of aliases would make billions of values."""
    sizes: dict[str | None, int] = {}  # by anchor
    within: list[tuple[str | None, int]] = []  # the open collections: anchor, and how many values came before
    values = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            within.append((event.anchor, values))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = within.pop()
            sizes[anchor] = values - before
        elif isinstance(event, yaml.ScalarEvent):
            values, sizes[event.anchor] = values + 1, 1
        elif isinstance(event, yaml.AliasEvent):
            values += sizes.get(event.anchor, MOST_VALUES)  # one that is not complete yet holds itself
        if len(within) > DEEPEST or values > MOST_VALUES:
            return False
    return True
