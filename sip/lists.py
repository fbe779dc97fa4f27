"""Who is in a list that is subscribed to: one's own roster, a list that came with the SUBSCRIBE (RFC 5367),
or one that has an address of its own (RFC 4826 §4).

# GAP RFC 5363 §4: of a list that comes with a SUBSCRIBE, references to other lists are left out
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from typing import Protocol, cast

from presence.address import Address
from presence.ports import AuthorisationChanged
from presence.service import PresenceService
from sip.errors import ProtocolError
from sip.message import Request
from sip.xml import entity_of, parse_xml

OPTION = "recipient-list-subscribe"
CONTENT_TYPE = "application/resource-lists+xml"
_NS = "{urn:ietf:params:xml:ns:resource-lists}"
MOST = 500
"Resources of one list."
MOST_GIVEN = 200
"Of one that came along: each of them is asked."
_MAX_NAME = 256
_MAX_FIELD = 1024
_MAX_WITHIN = 8
"Bodies of several parts in a body of several parts."

Names = Mapping[Address, str]
"Who, and what the watcher calls them."

Lookup = Callable[[Address, Address, str], Awaitable[Names | None]]
"Watcher, address and event package → who is in the list with that address; None: there is none for them."


async def no_lists(watcher: Address, address: Address, event: str) -> Names | None:
    """Where no list has an address."""
    return None


class Roll(Protocol):
    async def names(self) -> Names:
        """Who is in it now."""

    def changed(self, envelope: AuthorisationChanged) -> bool:
        """Others may be in it now."""

    @property
    def kept(self) -> bool:
        """It is among what the watcher's phones keep here."""

    @property
    def asks(self) -> bool:
        """Subscribing to it asks those in it who have not decided yet."""


class Roster:
    """One's buddies. Who is there was asked when they were made a buddy."""

    asks = False
    kept = False

    def __init__(self, service: PresenceService, owner: Address) -> None:
        self._service = service
        self._owner = owner

    async def names(self) -> Names:
        _, items = await self._service.roster(self._owner)
        return {item.contact: item.name for item in [each for each in items if each.listed][:MOST]}

    def changed(self, envelope: AuthorisationChanged) -> bool:
        return envelope.owner == self._owner and envelope.item.shows() != envelope.previous.shows()


class Given:
    """What came with the SUBSCRIBE; it stays as it is (RFC 5367 §5.1)."""

    asks = True
    kept = False

    def __init__(self, names: Names) -> None:
        self._names = names

    async def names(self) -> Names:
        return self._names

    def changed(self, envelope: AuthorisationChanged) -> bool:
        return False


class Named:
    """A list with an address of its own, which may point to people of the roster."""

    asks = True
    kept = True

    def __init__(self, lookup: Lookup, watcher: Address, address: Address, event: str) -> None:
        self._lookup = lookup
        self._wanted = (watcher, address, event)

    async def names(self) -> Names:
        found = await self._lookup(*self._wanted) or {}
        return dict(list(found.items())[:MOST])

    def changed(self, envelope: AuthorisationChanged) -> bool:
        mine = envelope.owner == self._wanted[0]
        return mine and envelope.item.shows() != envelope.previous.shows()


def given(request: Request) -> dict[Address, str] | None:
    """The list that came with a SUBSCRIBE; None: none did. Raises `ProtocolError` 400, 413, 415."""
    required = {tag.lower() for tag in request.headers.all("Require")}
    content_type = request.content_type
    if not request.body or content_type is None:
        if OPTION in required:
            raise ProtocolError(400, "No Recipient List")
        return None
    media = content_type.value.lower()
    disposition = _plain(request.headers.get("Content-Disposition") or "")
    found: bytes | None = None
    if media == CONTENT_TYPE and (disposition == "recipient-list" or OPTION in required):
        found = request.body
    elif media.startswith("multipart/"):
        found = _part(str(content_type), request.body)
    if found is not None:
        return _read(found)
    if OPTION in required or disposition == "recipient-list":
        raise ProtocolError(415, headers=(("Accept", CONTENT_TYPE),))
    # RFC 6665 §4.2.1.1: filters and other bodies are not understood, and do no harm.
    return None


def _part(content_type: str, body: bytes) -> bytes | None:
    """The list among the parts of a body."""
    if len(content_type) > _MAX_FIELD or body.lower().count(b"multipart/") > _MAX_WITHIN:
        return None
    # Other policies read whole header fields, whose length may cost its square.
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    whole = BytesParser(policy=compat32).parsebytes(head + body)
    parts = whole.get_payload() if whole.is_multipart() else ()
    for part in cast(Sequence[Message], parts):
        disposition = _plain(str(part.get("Content-Disposition", "")))
        if part.get_content_type() == CONTENT_TYPE and disposition == "recipient-list":
            data = part.get_payload(decode=True)
            return data if isinstance(data, bytes) else None
    return None


def _plain(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def _read(body: bytes) -> dict[Address, str]:
    root = parse_xml(body, "resource-lists")
    if root.tag != f"{_NS}resource-lists":
        raise ProtocolError(400, "Bad resource-lists")
    names: dict[Address, str] = {}
    for entry in root.iter(f"{_NS}entry"):
        address = entity_of(entry.get("uri", ""))
        if address is None or not address.local:
            continue
        names.setdefault(address, (entry.findtext(f"{_NS}display-name") or "").strip()[:_MAX_NAME])
        if len(names) > MOST_GIVEN:
            raise ProtocolError(413)
    return names
