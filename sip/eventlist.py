"""Many people as one subscription (RFC 4662): the roster, a list that came along, or one with an address
(`sip.lists`).

Of each resource the watcher sees what its owner lets them see, as if it were subscribed to alone: nothing of
somebody who has not answered yet, no instance at all of somebody who refuses or blocks. The whole list comes
first, and again when who is in it or who may be seen changes; otherwise only who changed. A resource that is
itself a list has its list as its state (§4.6).

No packet holds a list, so it is served over TCP and TLS only (RFC 4662 §7.1); a phone that asks over UDP and
has no connection is sent to TCP with 302.

# GAP RFC 4662 §4.3: no signed or encrypted parts
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import NamedTuple

from presence.address import Address
from presence.model import PresenceDocument
from presence.policy import Standing
from presence.ports import AuthorisationChanged
from presence.service import PresenceService
from sip.addressing import to_uri
from sip.documents import Body, Render
from sip.hearing import nobody
from sip.lists import Lookup, Named, Roll
from sip.packages import DocumentOf
from sip.xml import escape

OPTION = "eventlist"
RLMI = "application/rlmi+xml"
MULTIPART = "multipart/related"
_DEEPEST = 3
"Lists within lists."
_MOST_IN_ALL = 1000
"Resources of a list and of all lists in it."


class _State(NamedTuple):
    document: PresenceDocument
    body: Body
    tag: str


class _Extent:
    """How far one reading of a list and the lists in it has come: lists may hold each other, and each a
    hundred more."""

    def __init__(self, outermost: Address) -> None:
        self.lists = {outermost}
        "Each is read once; where it stands again, it has no instance."
        self.room = _MOST_IN_ALL

    def take(self, names: Mapping[Address, str]) -> dict[Address, str]:
        """As many as there is room for."""
        taken = dict(list(names.items())[: self.room])
        self.room -= len(taken)
        return taken


class Reader(NamedTuple):
    """Who subscribes to a list, and how they want it."""

    service: PresenceService
    watcher: Address
    event: str
    render: Render
    document_of: DocumentOf
    lookup: Lookup
    admit: Callable[[int], None] = lambda people: None
    "Whether so many may be asked at once; raises what the watcher hears if not."


class ResourceList:
    """What one phone knows of a list. Implements `sip.packages.Feed`."""

    def __init__(
        self, reader: Reader, uri: Address, roll: Roll, *, ask: bool = False, depth: int = 0
    ) -> None:
        """`ask`: at first those in it are asked who have not decided yet."""
        self._reader = reader
        self._uri = uri
        self._roll = roll
        self._ask = ask and roll.asks
        self._depth = depth
        self._names: dict[Address, str] = {}
        self._standing: dict[Address, Standing] = {}
        self._states: dict[Address, _State] = {}
        self._within: dict[Address, ResourceList] = {}
        self._due: dict[Address, None] = {}
        self._full = True
        self.sent = 0
        "Documents said so far."

    async def load(self) -> tuple[Address, ...]:
        return await self._load(_Extent(self._uri))

    async def _load(self, extent: _Extent) -> tuple[Address, ...]:
        service, watcher = self._reader.service, self._reader.watcher
        names = extent.take(await self._roll.names())
        if self._ask:
            self._reader.admit(len(names))
        judge = service.request if self._ask else service.decide
        self._ask = False
        standing = {each: (await judge(watcher, each)).standing for each in names}
        self._names, self._standing = names, standing
        self._states = {each: state for each, state in self._states.items() if each in names}
        seen = [contact for contact, held in standing.items() if held is Standing.ACTIVE]
        seen += await self._load_within(extent)
        self.restart()
        # Oneself is watched to hear of one's own roster.
        return (watcher, *seen)

    async def _load_within(self, extent: _Extent) -> list[Address]:
        """Resources that are lists themselves. Returns whose presence they are about."""
        unknown = [each for each, held in self._standing.items() if held is Standing.NO_SUCH_PRESENTITY]
        found: dict[Address, ResourceList] = {}
        seen: list[Address] = []
        for each in unknown if self._depth < _DEEPEST else ():
            reader = self._reader
            if each in extent.lists:
                continue
            if await reader.lookup(reader.watcher, each, reader.event) is None:
                continue
            roll = Named(reader.lookup, reader.watcher, each, reader.event)
            inner = self._within.get(each) or ResourceList(reader, each, roll, depth=self._depth + 1)
            found[each] = inner
            extent.lists.add(each)
            seen += await inner._load(extent)
        self._within = found
        return seen

    def restart(self) -> None:
        self._full = True
        self._due = dict.fromkeys(self._names)
        for inner in self._within.values():
            inner.restart()

    def presence(self, address: Address) -> bool:
        told = [each for each, inner in self._within.items() if inner.presence(address)]
        if self._standing.get(address) is Standing.ACTIVE:
            told.append(address)
        self._due |= dict.fromkeys(told)
        return bool(told)

    def authorisation(self, envelope: AuthorisationChanged) -> bool | None:
        owner, contact, me = envelope.owner, envelope.contact, self._reader.watcher
        item, previous = envelope.item, envelope.previous
        # Who is not seen yet is not heard of; one's own roster tells of the answer.
        answered = owner == me and (item.sees, item.ask) != (previous.sees, previous.ask)
        if (contact == me and owner in self._names) or (answered and contact in self._names):
            return None
        if self._roll.changed(envelope):
            return None
        within = [inner.authorisation(envelope) for inner in self._within.values()]
        return None if None in within else any(within)

    def kept(self, owner: Address) -> bool | None:
        if owner == self._reader.watcher and self._roll.kept:
            return None
        within = [inner.kept(owner) for inner in self._within.values()]
        return None if None in within else any(within)

    @property
    def more(self) -> bool:
        return bool(self._due)

    @property
    def tag(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        for resource, name in self._names.items():
            state = self._state(resource)
            inner = self._within.get(resource)
            tag = inner.tag if inner is not None else state.tag if state is not None else ""
            said = f"{resource}\0{name}\0{self._standing.get(resource)}\0{tag}\0"
            digest.update(said.encode())
        return digest.hexdigest()

    def body(self, version: int, room: int | None) -> Body:
        """`room` is no matter: lists go over connections only."""
        boundary = secrets.token_hex(8)
        domain = to_uri(Address("", self._uri.domain)).removeprefix("sip:")
        start = f"list.{version}.{boundary}@{domain}"
        entries: list[str] = []
        states: list[bytes] = []
        for number, resource in enumerate(self._due):
            cid = f"{number}.{version}.{boundary}@{domain}"
            entry, state = self._resource(resource, cid, version)
            entries.append(entry)
            if state is not None:
                states.append(_part(boundary, cid, state.content_type, state.numbered(version)))
        full = "true" if self._full else "false"
        listed = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<list xmlns="urn:ietf:params:xml:ns:rlmi"'
            f' uri="{escape(to_uri(self._uri))}" version="{version}" fullState="{full}">'
            f"{''.join(entries)}</list>\n"
        )
        self._due.clear()
        self._full = False
        self.sent += 1
        first = _part(boundary, start, f'{RLMI};charset="UTF-8"', listed.encode())
        data = b"".join((first, *states, f"--{boundary}--\r\n".encode()))
        return Body(f'{MULTIPART};type="{RLMI}";start="<{start}>";boundary="{boundary}"', data)

    def _state(self, resource: Address) -> _State | None:
        """What may be seen of a resource; written once for each of its documents."""
        standing = self._standing.get(resource)
        document = self._reader.document_of(resource) if standing is Standing.ACTIVE else None
        if standing is Standing.VEILED:
            document = nobody(resource)
        if document is None:
            return None
        known = self._states.get(resource)
        if known is None or known.document is not document:
            body = self._reader.render(document)
            known = self._states[resource] = _State(document, body, body.tag())
        return known

    def _resource(self, resource: Address, cid: str, version: int) -> tuple[str, Body | None]:
        """Its entry in the list, and its state where it may be seen."""
        name = self._names.get(resource, "")
        named = f"<name>{escape(name)}</name>" if name else ""
        standing = self._standing.get(resource)
        inner = self._within.get(resource)
        known = self._state(resource)
        state = known.body if known is not None else None
        if inner is not None:
            # It is numbered for itself.
            state = inner.body(inner.sent, None)
        if state is not None:
            instance = f'<instance id="1" state="active" cid="{cid}"/>'
        elif standing is Standing.PENDING:
            instance = '<instance id="1" state="pending"/>'
        else:
            instance = ""
        return f'<resource uri="{escape(to_uri(resource))}">{named}{instance}</resource>', state


def _part(boundary: str, cid: str, content_type: str, data: bytes) -> bytes:
    return (
        (
            f"--{boundary}\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <{cid}>\r\n"
            f"Content-Type: {content_type}\r\n\r\n"
        ).encode()
        + data
        + b"\r\n"
    )
