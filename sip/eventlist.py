"""A phone's buddy list as one subscription (RFC 4662): the list is the watcher's own roster.

Of each resource the watcher sees what the roster lets them see: nothing of somebody who has not answered yet,
no instance at all of somebody who refuses or blocks. The whole list comes first, and again when who is in it
or who may be seen changes; otherwise only who changed.

No packet holds a list, so it is served over TCP and TLS only (RFC 4662 §7.1); a phone that asks over UDP and
has no connection is sent to TCP with 302.

# GAP RFC 5367: a list cannot be sent along with the SUBSCRIBE
# GAP RFC 4662 §4.6: no lists within lists, no signed parts
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple

from presence.address import Address
from presence.model import PresenceDocument
from presence.policy import Standing
from presence.ports import AuthorisationChanged
from presence.service import PresenceService
from sip.addressing import to_uri
from sip.documents import Body, Render
from sip.packages import DocumentOf
from sip.xml import escape

OPTION = "eventlist"
RLMI = "application/rlmi+xml"
MULTIPART = "multipart/related"
_MOST = 500
"Resources of one list."


class _State(NamedTuple):
    document: PresenceDocument
    body: Body
    tag: str


class BuddyList:
    """What one phone knows of its list. Implements `sip.packages.Feed`."""

    def __init__(
        self,
        service: PresenceService,
        watcher: Address,
        uri: Address,
        render: Render,
        document_of: DocumentOf,
    ) -> None:
        self._service = service
        self._watcher = watcher
        self._uri = escape(to_uri(uri))
        self._domain = to_uri(Address("", uri.domain)).removeprefix("sip:")
        self._render = render
        self._document_of = document_of
        self._names: dict[Address, str] = {}
        self._standing: dict[Address, Standing] = {}
        self._states: dict[Address, _State] = {}
        self._due: dict[Address, None] = {}
        self._full = True

    async def load(self) -> tuple[Address, ...]:
        _, items = await self._service.roster(self._watcher)
        listed = [item for item in items if item.listed][:_MOST]
        names = {item.contact: item.name for item in listed}
        standing = {
            item.contact: (await self._service.decide(self._watcher, item.contact)).standing
            for item in listed
        }
        self._names, self._standing = names, standing
        self._states = {each: state for each, state in self._states.items() if each in names}
        self.restart()
        seen = (contact for contact, held in standing.items() if held is Standing.ACTIVE)
        # Oneself is watched to hear of one's own roster.
        return (self._watcher, *seen)

    def restart(self) -> None:
        self._full = True
        self._due = dict.fromkeys(self._names)

    def presence(self, address: Address) -> bool:
        if self._standing.get(address) is not Standing.ACTIVE:
            return False
        self._due[address] = None
        return True

    def authorisation(self, envelope: AuthorisationChanged) -> bool | None:
        if envelope.owner == self._watcher and envelope.item.shows() != envelope.previous.shows():
            return None
        return None if envelope.contact == self._watcher and envelope.owner in self._names else False

    @property
    def more(self) -> bool:
        return bool(self._due)

    @property
    def tag(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        for resource, name in self._names.items():
            state = self._state(resource)
            said = f"{resource}\0{name}\0{self._standing.get(resource)}\0{state.tag if state else ''}\0"
            digest.update(said.encode())
        return digest.hexdigest()

    def body(self, version: int, room: int | None) -> Body:
        """`room` is no matter: lists go over connections only."""
        boundary = secrets.token_hex(8)
        start = f"list.{version}@{self._domain}"
        entries: list[str] = []
        states: list[bytes] = []
        for number, resource in enumerate(self._due):
            cid = f"{number}.{version}@{self._domain}"
            entry, state = self._resource(resource, cid, version)
            entries.append(entry)
            if state is not None:
                states.append(_part(boundary, cid, state.content_type, state.numbered(version)))
        full = "true" if self._full else "false"
        listed = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<list xmlns="urn:ietf:params:xml:ns:rlmi"'
            f' uri="{self._uri}" version="{version}" fullState="{full}">{"".join(entries)}</list>\n'
        )
        self._due.clear()
        self._full = False
        first = _part(boundary, start, f'{RLMI};charset="UTF-8"', listed.encode())
        data = b"".join((first, *states, f"--{boundary}--\r\n".encode()))
        return Body(f'{MULTIPART};type="{RLMI}";start="<{start}>";boundary="{boundary}"', data)

    def _state(self, resource: Address) -> _State | None:
        """What may be seen of a resource; written once for each of its documents."""
        document = self._document_of(resource) if self._standing.get(resource) is Standing.ACTIVE else None
        if document is None:
            return None
        known = self._states.get(resource)
        if known is None or known.document is not document:
            body = self._render(document)
            known = self._states[resource] = _State(document, body, body.tag())
        return known

    def _resource(self, resource: Address, cid: str, version: int) -> tuple[str, Body | None]:
        """Its entry in the list, and its state where it may be seen."""
        name = self._names.get(resource, "")
        named = f"<name>{escape(name)}</name>" if name else ""
        standing = self._standing.get(resource)
        known = self._state(resource)
        state = known.body if known is not None else None
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
