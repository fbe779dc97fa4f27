"""XEP-0059 Result Set Management: which page a client asks for, and what it is told about the one it got."""

from __future__ import annotations

from dataclasses import dataclass

from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Status

NS = "http://jabber.org/protocol/rsm"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One page of a result set (§2)."""

    max: int | None = None
    "Items at most; 0 asks only how many there are (§2.7); None: as many as the server likes."
    after: str = ""
    "Item behind which the page begins."
    before: str = ""
    "Item before which the page ends."
    backwards: bool = False
    "The last page, or the last one before `before`, is asked for (§2.3, §2.5)."


def read_page_request(parent: Element) -> PageRequest:
    """The `<set/>` inside a query. Raises `StanzaError`."""
    found = parent.find("set", NS)
    if found is None:
        return PageRequest()
    if found.find("index") is not None:  # §2.6
        raise StanzaError("feature-not-implemented", text="pages are asked for by id, not by index")
    most = found.find("max")
    before, after = found.find("before"), found.find("after")
    if most is not None and not (most.text.isascii() and most.text.isdigit() and len(most.text) < 10):
        raise StanzaError("bad-request", text="max is a number")
    return PageRequest(
        max=int(most.text) if most is not None else None,
        after=after.text if after is not None else "",
        before=before.text if before is not None else "",
        backwards=before is not None,
    )


def write_page(first: str, last: str, count: int | None = None) -> Element:
    """The `<set/>` that goes with a page; both ids empty for an empty one."""
    made = E("set", NS)
    if first:
        made.child("first", text=first)
        made.child("last", text=last)
    if count is not None:
        made.child("count", text=str(count))
    return made


EXTENSION = Extension(
    spec="XEP-0059",
    name="Result Set Management",
    version="1.0.1",
    status=Status.PARTIAL,
    notes="Pages by id, the last page, and the count (with max 0); not by index.",
    features=(NS,),
    account_features=(NS,),
)
