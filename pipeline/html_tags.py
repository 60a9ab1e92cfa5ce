"""HTML that is escaped by construction: what is not markup already becomes text."""

from html import escape


class Markup(str):
    """Text that is HTML already; only `tag` and `raw` make it."""

    __slots__ = ()


def raw(text: str) -> Markup:
    """Text of our own files, such as a style sheet, taken as it is. Never for what comes from a report."""
    return Markup(text)


def tag(name: str, /, *children: str | None, **attributes: str | float | bool | None) -> Markup:
    """An element. Children that are no Markup are escaped; None is left out.

    Underscores in the attributes' names become hyphens, one at the end is dropped (`class_`). True gives an attribute without
    a value, None and False none.
    """
    written = "".join(
        f" {_name(key)}" if value is True else f' {_name(key)}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Markup:
    """Several pieces after one another, escaped where they are no Markup."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children if child is not None))


VOID = frozenset({"meta", "br"})


def _name(key: str) -> str:
    return key.removesuffix("_").replace("_", "-")
