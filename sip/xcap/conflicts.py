"""What a client must hear when a request fails (RFC 4825 §8, §11)."""

from __future__ import annotations

from sip.weblogin import HttpRefused
from sip.xml import escape

CONTENT_TYPE = "application/xcap-error+xml"


class XcapError(HttpRefused):
    """A request for a document is refused."""


class Conflicting(XcapError):
    """409 with a document that says why (RFC 4825 §11)."""

    def __init__(self, condition: str, phrase: str = "", inner: str = "") -> None:
        super().__init__(409, phrase or condition)
        self.condition = condition
        "Name of the error element, e.g. `cannot-insert`."
        self._phrase = phrase
        self._inner = inner

    @property
    def body(self) -> bytes:
        phrase = f' phrase="{escape(self._phrase)}"' if self._phrase else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<xcap-error xmlns="urn:ietf:params:xml:ns:xcap-error">'
            f"<{self.condition}{phrase}>{self._inner}</{self.condition}></xcap-error>\n"
        ).encode()


def no_parent(ancestor: str) -> Conflicting:
    """`ancestor`: an HTTP URI of the closest place that exists; empty for none."""
    inner = f"<ancestor>{escape(ancestor)}</ancestor>" if ancestor else ""
    return Conflicting("no-parent", inner=inner)


def not_unique(field: str, alternatives: tuple[str, ...] = ()) -> Conflicting:
    """`field`: a relative URI of what should have been unique, percent-encoded."""
    values = "".join(f"<alt-value>{escape(each)}</alt-value>" for each in alternatives)
    return Conflicting("uniqueness-failure", inner=f'<exists field="{escape(field)}">{values}</exists>')
