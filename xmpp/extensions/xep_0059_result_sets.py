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
    index: int | None = None
    "Where in the whole set the page begins (§2.6)."


def read_page_request(parent: Element, *, by_index: bool = False) -> PageRequest:
    """The `<set/>` inside a query. Raises `StanzaError`, also for a page by its index where those are not
    found `by_index` (§2.6)."""
    found = parent.find("set", NS)
    if found is None:
        return PageRequest()
    index = _number(found, "index")
    if index is not None and not by_index:
        raise StanzaError("feature-not-implemented", text="pages are asked for by id, not by index")
    before, after = found.find("before"), found.find("after")
    return PageRequest(
        max=_number(found, "max"),
        after=after.text if after is not None else "",
        before=before.text if before is not None else "",
        backwards=before is not None,
        index=index,
    )


def _number(parent: Element, name: str) -> int | None:
    found = parent.find(name)
    if found is None:
        return None
    if not (found.text.isascii() and found.text.isdigit() and len(found.text) < 10):
        raise StanzaError("bad-request", text=f"{name} is a number")
    return int(found.text)


def write_page(first: str, last: str, count: int | None = None, index: int | None = None) -> Element:
    """The `<set/>` that goes with a page; both ids empty for an empty one. `index`: of its first item."""
    made = E("set", NS)
    if first:
        made.child("first", attrs={"index": str(index)} if index is not None else {}, text=first)
        made.child("last", text=last)
    if count is not None:
        made.child("count", text=str(count))
    return made


EXTENSION = Extension(
    spec="XEP-0059",
    name="Result Set Management",
    version="1.0.1",
    status=Status.COMPLETE,
    notes="Rooms also by index; archives not (§2.6), and their count is told with max 0 alone (§2.7).",
    features=(NS,),
    account_features=(NS,),
)
