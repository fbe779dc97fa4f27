"""Formatted text that is safe to show: the little that SIP's text/html and XMPP's XHTML-IM have in common.

Both doors pass what their peers wrote through `tidy` and hand on nothing else: elements and attributes of one
short list, links of known schemes, balanced tags (RFC 7572 §6, XEP-0071 §8).
"""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser

MAX_MARKUP = 65_536
"Characters of the result."
MAX_DEPTH = 32
MAX_LINK = 2048

_KEPT = frozenset(
    ("a", "blockquote", "br", "cite", "code", "em", "li", "ol", "p", "pre", "q", "span", "strong", "ul")
)
_INSTEAD = {"b": "strong", "i": "em", "div": "p", "tt": "code", "h1": "p", "h2": "p", "h3": "p", "h4": "p"}
_SILENT = frozenset(("head", "script", "style", "title", "template", "svg", "math"))
_LINKS = ("http://", "https://", "mailto:", "xmpp:", "sip:", "sips:", "tel:")


def readable(html: str) -> str:
    """Without what makes Python's reader look through all the rest again and again: comments, and tags that
    never end."""
    parts: list[str] = []
    at = 0
    while (start := html.find("<!--", at)) >= 0 and (end := html.find("-->", start + 2)) >= 0:
        parts.append(html[at:start])
        at = end + 3
    parts.append(html[at:].replace("<!--", "&lt;!--"))
    text = "".join(parts)
    end = text.rfind(">") + 1
    return text[:end] + text[end:].replace("<", "&lt;")


def tidy(html: str) -> str:
    """The safe part of it as well-formed XHTML content, without a root. Empty when nothing in it is more than
    plain text, or when it is too long or too deep."""
    tidier = _Tidier()
    try:
        tidier.feed(readable(html))
        tidier.close()
    except AssertionError:  # Python 3.11's parser, at a declaration it does not know
        return ""
    written = tidier.written()
    return written if tidier.formatted and len(written) <= MAX_MARKUP else ""


class _Tidier(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._open: list[str] = []
        self._silent = 0
        self._too_deep = False
        self.formatted = False
        "There is something that plain text would not say."

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
            return
        tag = _INSTEAD.get(tag, tag)
        if self._silent or tag not in _KEPT:
            return
        if tag == "br":
            self._out.append("<br/>")
            return
        if len(self._open) >= MAX_DEPTH:
            self._too_deep = True
            return
        self.formatted = self.formatted or tag not in ("p", "span")
        self._open.append(tag)
        self._out.append(f"<{tag}{_link(attrs)}>" if tag == "a" else f"<{tag}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _SILENT:
            self.handle_starttag(tag, attrs)
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
            return
        tag = _INSTEAD.get(tag, tag)
        if self._silent or tag not in self._open:
            return
        while self._open:
            closed = self._open.pop()
            self._out.append(f"</{closed}>")
            if closed == tag:
                return

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._out.append(escape("".join(c for c in data if c.isprintable() or c in "\t\n"), quote=False))

    def written(self) -> str:
        if self._too_deep:
            return ""
        return "".join([*self._out, *(f"</{tag}>" for tag in reversed(self._open))])


def _link(attrs: list[tuple[str, str | None]]) -> str:
    target = next((value.strip() for name, value in attrs if name == "href" and value), "")
    known = target.lower().startswith(_LINKS) and target.isprintable() and len(target) <= MAX_LINK
    return f' href="{escape(target)}"' if known else ""
