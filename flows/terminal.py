"""The terminal as tables are printed on it."""

from rich.console import Console
from rich.text import Text

WIDE = 120


def terminal(width: int = WIDE) -> Console:
    """The terminal, or lines of so many characters where there is none."""
    return Console(width=None if Console().is_terminal else width)


def plain(text: str, style: str = "") -> Text:
    """Text as it is, also where it came from a file: no markup, and no control characters."""
    return Text(
        "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text), style
    )
