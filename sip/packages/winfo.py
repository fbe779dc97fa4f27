"""The package `presence.winfo`: who sees or wants to see one's presence (RFC 3857, RFC 3858).

The watchers are those of the roster, over both protocols: a request of an XMPP client and of a phone are one.
Only the owner is told. A document in full first, and after each refresh; then only who changed.

# GAP RFC 3858 §4.2: a watcher that gave up is told as one that was rejected
# GAP RFC 3857 §4.7: a watcher is told once for all of its subscriptions, without their durations
"""

from __future__ import annotations

import hashlib

from presence.address import Address
from presence.ports import AuthorisationChanged
from presence.service import PresenceService
from presence.subscriptions import RosterItem
from sip.addressing import to_uri
from sip.documents import Body
from sip.packages import DocumentOf, Feed, PackageDefaults, register
from sip.xml import escape

CONTENT_TYPE = "application/watcherinfo+xml"
_MOST = 500
"Watchers of one document that goes over a stream."


class Watchers:
    """What one owner's phone knows of who watches."""

    def __init__(self, service: PresenceService, owner: Address) -> None:
        self._service = service
        self._owner = owner
        self._standing: dict[Address, str] = {}
        "Watcher → `active` or `pending`."
        self._due: dict[Address, tuple[str, str]] = {}
        "Watcher → status and event that are still to be told."
        self._full = True

    async def load(self) -> tuple[Address, ...]:
        _, items = await self._service.roster(self._owner)
        self._standing = {item.contact: status for item in items if (status := _status(item))}
        self.restart()
        return (self._owner,)

    def restart(self) -> None:
        self._full = True
        self._due = {
            watcher: (status, "approved" if status == "active" else "subscribe")
            for watcher, status in self._standing.items()
        }

    def presence(self, address: Address) -> bool:
        return False

    def authorisation(self, envelope: AuthorisationChanged) -> bool | None:
        if envelope.owner != self._owner:
            return False
        watcher, status = envelope.contact, _status(envelope.item)
        before = self._standing.get(watcher, "")
        if status == before:
            return False
        if status:
            self._standing[watcher] = status
            self._due[watcher] = (status, "approved" if status == "active" else "subscribe")
        else:
            del self._standing[watcher]
            self._due[watcher] = ("terminated", "rejected")
        return True

    def kept(self, owner: Address) -> bool | None:
        return False

    @property
    def more(self) -> bool:
        return bool(self._due)

    @property
    def tag(self) -> str:
        listed = "\0".join(f"{watcher} {status}" for watcher, status in sorted(self._standing.items()))
        return hashlib.blake2b(listed.encode(), digest_size=8).hexdigest()

    def body(self, version: int, room: int | None) -> Body:
        uri = escape(to_uri(self._owner))
        state = "full" if self._full else "partial"
        head = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<watcherinfo xmlns="urn:ietf:params:xml:ns:watcherinfo"'
            f' version="{version}" state="{state}"><watcher-list resource="{uri}" package="presence">'
        )
        tail = "</watcher-list></watcherinfo>\n"
        left = len(head) + len(tail)
        parts = [head]
        for watcher, (status, event) in list(self._due.items())[:_MOST]:
            part = (
                f'<watcher id="{_id(watcher)}" status="{status}" event="{event}">'
                f"{escape(to_uri(watcher))}</watcher>"
            )
            left += len(part)
            if room is not None and left > room and len(parts) > 1:
                break
            parts.append(part)
            del self._due[watcher]
        self._full = False
        return Body(CONTENT_TYPE, "".join((*parts, tail)).encode())


class WatcherInformation(PackageDefaults):
    name = "presence.winfo"
    notified = CONTENT_TYPE

    def feed(
        self, service: PresenceService, watcher: Address, presentity: Address, document_of: DocumentOf
    ) -> Feed | None:
        return Watchers(service, presentity)


def _status(item: RosterItem) -> str:
    if item.seen:
        return "active"
    return "pending" if item.pending_in else ""


def _id(watcher: Address) -> str:
    """The same for as long as it watches (RFC 3858 §4.2)."""
    return "w" + hashlib.blake2b(str(watcher).encode(), digest_size=8).hexdigest()


register(WatcherInformation())
