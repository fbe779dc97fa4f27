"""text/html: its words, and what of its formatting is safe (RFC 7572 §6)."""

from __future__ import annotations

import re
from contextlib import suppress
from html.parser import HTMLParser

from presence.markup import readable, tidy
from sip.bodies import Content, Heard, body
from sip.bodies.text import decode_text

_SILENT = frozenset(("head", "script", "style", "title", "template"))
_BREAKS = frozenset(("br", "p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre"))
_BLANKS = re.compile(r"[ \t\r\n]+")


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT and not self._silent:
            self._silent = tag
        elif tag in _BREAKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._silent:
            self._silent = ""
        elif tag in _BREAKS and tag != "br":
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(_BLANKS.sub(" ", data))


def words_of(html: str) -> str:
    """The text somebody reading it would see; paragraphs and breaks are line ends."""
    words = _Words()
    with suppress(AssertionError):  # Python 3.11's parser, at a declaration it does not know
        words.feed(readable(html))
        words.close()
    lines = (line.strip() for line in "".join(words.parts).split("\n"))
    return "\n".join(line for line in lines if line)


@body("text/html", "application/xhtml+xml")
def html(content: Content) -> Heard:
    text = decode_text(content.data, content.charset)
    return Heard(text=words_of(text), markup=tidy(text))
