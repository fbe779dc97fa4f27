"""The package `presence.winfo`: who sees or wants to see one's presence (RFC 3857, RFC 3858).

The watchers are those of the roster, over both protocols, and each phone's subscription with its times: a
request of an XMPP client and of a phone are one. Only the owner is told. A document in full first, and after
each refresh; then only who changed.

# GAP RFC 3857 §4.7: of several processes on one port, each knows the times of its own phones' subscriptions
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from presence.address import Address
from presence.ports import AuthorisationChanged
from presence.service import PresenceService
from presence.subscriptions import RosterItem
from sip.addressing import to_uri
from sip.documents import Body
from sip.packages import Attendance, DocumentOf, Feed, PackageDefaults, register
from sip.xml import escape

CONTENT_TYPE = "application/watcherinfo+xml"
_MOST = 500
"Watchers of one document that goes over a stream."
_LAPSED = 1_000
"Watchers remembered whose phone gave up waiting."


@dataclass(frozen=True, slots=True)
class Row:
    """One watcher, as it is told (RFC 3858 §4.2)."""

    watcher: Address
    status: str
    event: str
    name: str = ""
    since: float = 0.0
    expires: float = 0.0
    "0: it does not end by itself."


class Watchers:
    """What one owner's phone knows of who watches. Implements `sip.packages.Attending`."""

    def __init__(self, service: PresenceService, owner: Address) -> None:
        self._service = service
        self._owner = owner
        self._standing: dict[Address, str] = {}
        "Watcher → `active` or `pending`."
        self._names: dict[Address, str] = {}
        self._live: tuple[Attendance, ...] = ()
        "Phones' subscriptions."
        self._lapsed: dict[Address, None] = {}
        "Who waits for an answer though their phone's subscription is over (RFC 3857 §4.7.1)."
        self._rows: dict[str, Row] = {}
        self._due: dict[str, Row] = {}
        "Id → row that is still to be told."
        self._full = True

    async def load(self) -> tuple[Address, ...]:
        _, items = await self._service.roster(self._owner)
        self._standing = {item.contact: status for item in items if (status := _status(item))}
        self._names = {item.contact: item.name for item in items if item.name}
        self._rows = self._now({})
        self.restart()
        return (self._owner,)

    def restart(self) -> None:
        self._full = True
        self._due = dict(self._rows)

    def attend(self, live: tuple[Attendance, ...], over: Attendance | None = None) -> bool:
        """Phones began or ended to watch."""
        self._live = live
        ended = ""
        if over is not None:
            pending = self._standing.get(over.watcher) == "pending"
            if pending and over.reason == "timeout":
                self._lapsed[over.watcher] = None
                if len(self._lapsed) > _LAPSED:
                    del self._lapsed[next(iter(self._lapsed))]
            ended = over.reason if over.reason in _REASONS else "timeout"
        return self._changed(ended)

    def presence(self, address: Address) -> bool:
        return False

    def authorisation(self, envelope: AuthorisationChanged) -> bool | None:
        if envelope.owner != self._owner:
            return False
        watcher, status = envelope.contact, _status(envelope.item)
        before = self._standing.pop(watcher, "")
        if status:
            self._standing[watcher] = status
        if status != "pending":
            self._lapsed.pop(watcher, None)
        ended = "rejected"
        if envelope.taken_back:
            # Who was waiting has given up.
            ended = "giveup" if before == "pending" else "timeout"
        return self._changed(ended)

    def _changed(self, ended: str) -> bool:
        before, self._rows = self._rows, self._now(self._rows)
        changed = False
        for name, row in before.items():
            if name not in self._rows:
                replaced = any(each.watcher == row.watcher for each in self._rows.values())
                event = ("giveup" if row.status == "waiting" else "timeout") if replaced else ended
                self._due[name] = Row(row.watcher, "terminated", event or "timeout", row.name, row.since)
                changed = True
        for name, row in self._rows.items():
            known = before.get(name)
            if known is None or known.status != row.status:
                self._due[name] = row
                changed = True
        return changed

    def _now(self, before: dict[str, Row]) -> dict[str, Row]:
        """Who watches: each phone's subscription, and who has none."""
        rows: dict[str, Row] = {}
        there: set[Address] = set()
        for each in self._live:
            status = self._standing.get(each.watcher) or ("active" if each.active else "pending")
            there.add(each.watcher)
            name = _digest(each.id)
            rows[name] = self._row(each.watcher, status, before.get(name), each.since, each.expires)
        for watcher, status in self._standing.items():
            if watcher in there:
                continue
            name = _digest(str(watcher))
            waiting = status == "pending" and watcher in self._lapsed
            rows[name] = self._row(watcher, "waiting" if waiting else status, before.get(name))
        return rows

    def _row(
        self, watcher: Address, status: str, known: Row | None, since: float = 0.0, expires: float = 0.0
    ) -> Row:
        if known is not None and known.status == status:
            event = known.event
        else:
            event = {"active": "approved", "waiting": "timeout"}.get(status, "subscribe")
        return Row(watcher, status, event, self._names.get(watcher, ""), since, expires)

    def kept(self, owner: Address) -> bool | None:
        return False

    @property
    def more(self) -> bool:
        return bool(self._due)

    @property
    def tag(self) -> str:
        listed = "\0".join(f"{name} {row.status}" for name, row in sorted(self._rows.items()))
        return hashlib.blake2b(listed.encode(), digest_size=8).hexdigest()

    def body(self, version: int, room: int | None) -> Body:
        now = self._service.now()
        uri = escape(to_uri(self._owner))
        state = "full" if self._full else "partial"
        head = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<watcherinfo xmlns="urn:ietf:params:xml:ns:watcherinfo"'
            f' version="{version}" state="{state}"><watcher-list resource="{uri}" package="presence">'
        )
        tail = "</watcher-list></watcherinfo>\n"
        left = len(head) + len(tail)
        parts = [head]
        for name, row in list(self._due.items())[:_MOST]:
            part = _element(name, row, now)
            left += len(part.encode("utf-8", "replace"))
            if room is not None and left > room and len(parts) > 1:
                break
            parts.append(part)
            del self._due[name]
        self._full = False
        return Body(CONTENT_TYPE, "".join((*parts, tail)).encode("utf-8", "replace"))


_REASONS = frozenset(("deactivated", "probation", "rejected", "timeout", "giveup", "noresource"))


def _element(name: str, row: Row, now: float) -> str:
    more = f' display-name="{escape(row.name)}"' if row.name else ""
    if row.since:
        more += f' duration-subscribed="{max(0, round(now - row.since))}"'
    if row.expires and row.status != "terminated":
        more += f' expiration="{max(0, round(row.expires - now))}"'
    watcher = escape(to_uri(row.watcher))
    return f'<watcher id="{name}" status="{row.status}" event="{row.event}"{more}>{watcher}</watcher>'


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


def _digest(text: str) -> str:
    """The same for as long as it watches (RFC 3858 §4.2)."""
    return "w" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


register(WatcherInformation())
