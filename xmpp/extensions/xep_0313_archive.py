"""XEP-0313 Message Archive Management: the user's own messages, from phones and clients alike.

What is in it and in which order: `presence.archive`, `presence.history`. A page ends early when it is large:
the client asks for the next one, as always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from presence.address import Address
from presence.archive import COUNTS, LAST, Archived, Span, position_at
from presence.errors import InvalidAddress
from presence.history import History
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.extensions.xep_0059_result_sets import PageRequest, read_page_request, write_page
from xmpp.forms import offer_field, offer_form, read_submission
from xmpp.jid import JID, parse_jid
from xmpp.message import write_forwarded
from xmpp.serialiser import escape_attribute
from xmpp.timestamps import parse_stamp, stamp

if TYPE_CHECKING:
    from xmpp.session import Session

NS = "urn:xmpp:mam:2"
VALIDATE_NS = "http://jabber.org/protocol/xdata-validate"
USUAL_PAGE, LARGEST_PAGE = 100, 250
"Messages: when the client does not say how many, and at most."
LARGEST_PAGE_BYTES = 524_288
MAX_IDS = 50
MAX_NAME = 1024
"Characters of an id, and of a query's name."

_FIELDS = (
    ("jid-single", "with"),
    ("text-single", "start"),
    ("text-single", "end"),
    ("text-single", "before-id"),
    ("text-single", "after-id"),
    ("list-multi", "ids"),
    ("boolean", "include-groupchat"),
)
_KNOWN = frozenset(name for _, name in _FIELDS)


@dataclass(frozen=True, slots=True)
class Query:
    """What a client asks its archive (§4.1)."""

    name: str
    "`queryid`, repeated in the results."
    page: PageRequest
    with_: JID | None
    start: float | None
    end: float | None
    after: str
    before: str
    ids: tuple[str, ...] | None
    flip: bool


def read_query(element: Element) -> Query:
    """Raises `StanzaError`."""
    if element.get("node"):  # archives of pubsub nodes (XEP-0442)
        raise StanzaError("item-not-found")
    fields = read_submission(element, NS)
    if unknown := fields.keys() - _KNOWN:
        raise StanzaError("feature-not-implemented", text=f"no such field: {min(unknown)[:80]}")
    ids = fields.pop("ids", None)
    if ids is not None and len(ids) > MAX_IDS:
        raise StanzaError("policy-violation", text=f"more than {MAX_IDS} ids at once")
    given = {name: _single(name, values) for name, values in fields.items()}
    if given.get("include-groupchat", "0") not in ("0", "1", "true", "false"):
        raise StanzaError("bad-request", text="include-groupchat is a boolean")
    name = element.get("queryid")
    for text in (name, *given.values(), *(ids or ())):
        if len(text) > 4 * MAX_NAME:
            raise StanzaError("bad-request", text="too long")
    return Query(
        name=name,
        page=read_page_request(element),
        with_=_jid(given["with"]) if given.get("with") else None,
        start=_moment(given["start"]) if given.get("start") else None,
        end=_moment(given["end"]) if given.get("end") else None,
        after=given.get("after-id", ""),
        before=given.get("before-id", ""),
        ids=tuple(ids) if ids else None,
        flip=element.find("flip-page") is not None,
    )


def _single(name: str, values: list[str]) -> str:
    if len(values) > 1:
        raise StanzaError("bad-request", text=f"{name} has one value")
    return values[0] if values else ""


def _jid(text: str) -> JID:
    try:
        return parse_jid(text)
    except InvalidAddress:
        raise StanzaError("bad-request", text="with is no JID") from None


def _moment(text: str) -> float:
    moment = parse_stamp(text)
    if moment is None:
        raise StanzaError("bad-request", text="a DateTime with its zone is wanted (XEP-0082)")
    return moment


# --- answers -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shelf:
    """One archive, for one client."""

    history: History
    owner: Address
    write: Callable[[Archived], bytes]
    "A message of it as `<forwarded/>` (XEP-0297)."
    begins: int = -1
    "Position of the last message that does not belong to it any more."


def _history(request: Request) -> History:
    history = request.router.service.history
    if history is None:
        raise StanzaError("service-unavailable")
    return history


def _own(request: Request) -> Shelf:
    owner = request.session.address

    def write(item: Archived) -> bytes:
        return write_forwarded(item.message, owner, received=item.at)

    return Shelf(_history(request), owner, write)


async def _query(request: Request) -> Element:
    return await answer_query(request, _own(request))


async def answer_query(request: Request, shelf: Shelf) -> Element:
    """Send what is asked for; returns the end of it. Raises `StanzaError`, `Refused`."""
    history, owner = shelf.history, shelf.owner
    query = read_query(request.payload)
    span = await _span(shelf, query)
    if query.page.max == 0:  # XEP-0059 §2.7
        total = await history.count(owner, span)
        return _fin(write_page("", "", total), complete=total == 0)
    limit = min(query.page.max or USUAL_PAGE, LARGEST_PAGE)
    backwards = query.page.backwards
    if query.ids is not None:
        found = await history.find(owner, query.ids)
        items = [each for each in found if span.has(owner, each.position, each.message)]
        items, complete = (items[-limit:] if backwards else items[:limit]), len(items) <= limit
    else:
        page = await history.page(owner, span, limit, backwards=backwards)
        items, complete = list(page.items), page.complete
    results, whole = _results(request, shelf, query.name, items, backwards=backwards)
    for data in reversed(results) if query.flip else results:
        request.session.send(data, "message")
    request.session.charge(sum(map(len, results)))
    shown = items[-len(results) :] if backwards else items[: len(results)]
    first, last = (shown[0].message.id, shown[-1].message.id) if shown else ("", "")
    return _fin(write_page(first, last), complete=complete and whole)


async def _span(shelf: Shelf, query: Query) -> Span:
    """Raises `Refused` ITEM_NOT_FOUND for an id that is not in the archive."""
    place = partial(_place, shelf)
    after = [shelf.begins, *[await place(each) for each in (query.after, query.page.after) if each]]
    before = [await place(each) for each in (query.before, query.page.before) if each]
    if query.start is not None:
        after.append(position_at(query.start) - 1)
    if query.end is not None:  # the whole millisecond
        before.append(min(position_at(query.end) + COUNTS, LAST))
    with_ = query.with_
    return Span(
        peer=with_.bare if with_ is not None else None,
        peer_tuple=with_.resource if with_ is not None else "",
        after=max(after),
        before=min(before, default=LAST),
    )


async def _place(shelf: Shelf, name: str) -> int:
    (found,) = await shelf.history.find(shelf.owner, [name])
    return found.position


def _results(
    request: Request, shelf: Shelf, name: str, items: list[Archived], *, backwards: bool
) -> tuple[list[bytes], bool]:
    """Messages for the items in order, as many as may go at once; whether that is all of them."""
    session = request.session
    asked = f" queryid='{escape_attribute(name)}'" if name else ""
    to = escape_attribute(session.jid.full)
    sender = escape_attribute(str(shelf.owner))
    head = f"<message from='{sender}' to='{to}'><result xmlns='{NS}'{asked} id='".encode()
    made: list[bytes] = []
    size = 0
    for item in reversed(items) if backwards else items:
        forwarded = shelf.write(item)
        size += len(forwarded)
        if made and size > LARGEST_PAGE_BYTES:
            break
        made.append(head + item.message.id.encode() + b"'>" + forwarded + b"</result></message>")
    return (made[::-1] if backwards else made), len(made) == len(items)


def _fin(page: Element, *, complete: bool) -> Element:
    return E("fin", NS, {"complete": "true"} if complete else {}, page)


async def offer_query(request: Request) -> Element:
    """§4.1.5."""
    fields = []
    for kind, name in _FIELDS:
        wild = E("validate", VALIDATE_NS, {"datatype": "xs:string"}, E("open", VALIDATE_NS))
        fields.append(offer_field(kind, name, *([wild] if name == "ids" else [])))
    return E("query", NS, {}, offer_form(NS, fields))


async def _metadata(request: Request) -> Element:
    return await answer_metadata(_own(request))


async def answer_metadata(shelf: Shelf) -> Element:
    """§5."""
    return await _bounds(shelf.history, shelf.owner, shelf.begins)


async def _bound(session: Session) -> Element | None:
    """XEP-0386 §3.2: what a client that binds is told."""
    history = session.router.service.history
    return await _bounds(history, session.address) if history is not None else None


async def _bounds(history: History, owner: Address, begins: int = -1) -> Element:
    bounds = await history.bounds(owner, Span(after=begins))
    answer = E("metadata", NS)
    for name, item in zip(("start", "end"), bounds or (), strict=False):
        answer.child(name, attrs={"id": item.message.id, "timestamp": stamp(item.at)})
    return answer


async def _forbidden(request: Request) -> Element:
    """Nobody reads another's archive (§8)."""
    raise StanzaError("forbidden")


_OWN, _OTHERS = frozenset({Target.ACCOUNT}), frozenset({Target.USER})

EXTENSION = Extension(
    spec="XEP-0313",
    name="Message Archive Management",
    version="1.1.3",
    status=Status.COMPLETE,
    notes="Messages of phones are in it. Rooms have archives of their own.",
    account_features=(NS, f"{NS}#extended", f"{NS}#groupchat-field"),
    bound=_bound,
    iq=(
        Iq(type="set", ns=NS, name="query", targets=_OWN, handle=_query),
        Iq(type="get", ns=NS, name="query", targets=_OWN, handle=offer_query),
        Iq(type="get", ns=NS, name="metadata", targets=_OWN, handle=_metadata),
        Iq(type="set", ns=NS, name="query", targets=_OTHERS, handle=_forbidden),
        Iq(type="get", ns=NS, name="query", targets=_OTHERS, handle=_forbidden),
        Iq(type="get", ns=NS, name="metadata", targets=_OTHERS, handle=_forbidden),
    ),
)
