"""Calls that another server knows of (RFC 4235 §4.3): they put people on the phone, or ring."""

from __future__ import annotations

from presence.address import Address
from presence.model import Source
from sip.calls import Call, Calls, parse_dialog_info
from sip.errors import ProtocolError
from sip.views import Versions, view

_LONGEST = 3600.0
"Seconds for which an ended call cannot come back."


@view("dialog", "application/dialog-info+xml")
class Lamp:
    def __init__(self, address: Address) -> None:
        self._address = address
        self._versions = Versions()
        self._calls = Calls(_LONGEST)
        self._source: Source | None = None
        self._told: tuple[Call, ...] = ()

    def take(self, body: bytes, now: float) -> bool:
        self._told = ()
        info = parse_dialog_info(body)
        if info.entity not in (None, self._address):
            raise ProtocolError(400, "Bad dialog-info: its entity is someone else")
        # A document without dialogs has all there is (§3.1).
        full = info.full or not info.calls
        follows = self._versions.take(max(info.version, 0), full=full)
        if follows is None:
            return True
        self._told = info.calls
        person = self._calls.heard(self._address, "", info.calls, now, full=full)
        if person is None:
            self._source = None
        elif self._source is None or self._source.person != person:
            self._source = Source(id="calls", person=person, since=now)
        return follows

    def told(self) -> tuple[Call, ...]:
        return self._told

    def sources(self, now: float) -> tuple[Source, ...]:
        return () if self._source is None else (self._source,)
