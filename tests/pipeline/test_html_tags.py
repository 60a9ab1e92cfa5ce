"""HTML by construction: what is not markup is text, whatever it says."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from pipeline.html_tags import joined, raw, tag


class Read(HTMLParser):
    """What a browser would see: texts, tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1) | st.sampled_from(['"><script>', "</p>", "&lt;", "'"])


@given(words, words)
def test_any_text_comes_back_as_text(inside, attribute):
    read = Read(tag("p", inside, title=attribute))
    assert read.tags == [("p", {"title": attribute})]
    assert "".join(read.texts) == inside


def test_markup_stays_markup_and_nothing_is_escaped_twice():
    assert tag("p", tag("b", "a < b"), " & ", None) == "<p><b>a &lt; b</b> &amp; </p>"
    assert joined("<", raw("<br>")) == "&lt;<br>"


def test_attributes_are_named_as_in_html_and_may_have_no_value():
    assert tag("td", class_="n", data_v=1.5, hidden=True, id=None, title=False) == '<td class="n" data-v="1.5" hidden></td>'
    assert tag("meta", name="x") == '<meta name="x">'
