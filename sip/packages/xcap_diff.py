"""The package `xcap-diff`: a phone hears when its documents change (RFC 5875): lists and rules, whoever
changed them, another phone or an XMPP client.

Everybody follows their own, under their own address. The list in the SUBSCRIBE says which; without one, all.
"""

from __future__ import annotations

import hashlib

from presence.address import Address
from presence.ports import AuthorisationChanged
from sip.documents import Body
from sip.packages import Feed, PackageDefaults, register
from sip.xcap.following import Told, render, selections, state_of
from sip.xcap.library import Library

CONTENT_TYPE = "application/xcap-diff+xml"


class Documents:
    """What one phone knows of its user's documents. Implements `sip.packages.Feed`."""

    def __init__(self, library: Library, owner: Address, asked: bytes) -> None:
        """`asked`: the list of what it follows. Raises `ProtocolError` 400."""
        self._library = library
        self._owner = owner
        self._chosen = selections(asked, library.root)
        self._told: Told = {}
        self._now: Told = {}
        self._full = True

    async def load(self) -> tuple[Address, ...]:
        self._now = await state_of(self._library, self._owner, self._chosen)
        return (self._owner,)

    def restart(self) -> None:
        self._full = True

    def presence(self, address: Address) -> bool:
        return False

    def authorisation(self, envelope: AuthorisationChanged) -> bool | None:
        return None if envelope.owner == self._owner else False

    def kept(self, owner: Address) -> bool | None:
        return None if owner == self._owner else False

    @property
    def more(self) -> bool:
        return self._full or self._told != self._now

    @property
    def tag(self) -> str:
        text = "\0".join(f"{key} {value}" for key, value in sorted(self._now.items()))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def body(self, version: int, room: int | None) -> Body:
        data = render(self._told, self._now, self._library.root, full=self._full)
        if room is not None and len(data) > room:
            data = render(self._told, self._now, self._library.root, full=self._full, bare=True)
        self._told = dict(self._now)
        self._full = False
        return Body(CONTENT_TYPE, data)


class DocumentChanges(PackageDefaults):
    name = "xcap-diff"
    notified = CONTENT_TYPE
    reads = "application/resource-lists+xml"

    def follow(self, library: Library, owner: Address, asked: bytes) -> Feed | None:
        return Documents(library, owner, asked)


register(DocumentChanges())
