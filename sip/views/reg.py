"""Phones that are registered elsewhere (RFC 3680 §5): each is a source like one that is registered here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from presence.address import Address
from presence.model import PresenceTuple, Source
from sip.errors import ProtocolError
from sip.pidf import from_q
from sip.views import Versions, view
from sip.xml import entity_of, parse_xml

_NS = "{urn:ietf:params:xml:ns:reginfo}"
_MAX_CONTACTS = 32


@dataclass(frozen=True, slots=True)
class _Contact:
    uri: str
    q: str
    since: float


@view("reg", "application/reginfo+xml")
class Registrations:
    def __init__(self, address: Address) -> None:
        self._address = address
        self._versions = Versions()
        self._contacts: dict[str, _Contact] = {}

    def take(self, body: bytes, now: float) -> bool:
        root = parse_xml(body, "reginfo")
        if root.tag != f"{_NS}reginfo":
            raise ProtocolError(400, "Bad reginfo")
        full = root.get("state") == "full"
        follows = self._versions.take(_number(root, "version"), full=full)
        if follows is None:
            return True
        if full:
            self._contacts = {}
        for registration in root.findall(f"{_NS}registration"):
            if entity_of(registration.get("aor", "")) == self._address:
                for element in registration.findall(f"{_NS}contact")[:_MAX_CONTACTS]:
                    self._contact(element, now)
        return follows

    def _contact(self, element: Element, now: float) -> None:
        name = element.get("id", "")[:256]
        if element.get("state") != "active":
            self._contacts.pop(name, None)
            return
        known = self._contacts.get(name)
        held = element.get("duration-registered", "")
        since = now - _number(element, "duration-registered") if held.isdigit() else now
        uri = (element.findtext(f"{_NS}uri") or "").strip()[:1024]
        if known is not None and known.uri == uri:
            # It was refreshed: nothing has begun.
            since = known.since
        elif known is None and len(self._contacts) >= _MAX_CONTACTS:
            return
        self._contacts[name] = _Contact(uri, element.get("q", "")[:5], since)

    def sources(self, now: float) -> tuple[Source, ...]:
        return tuple(map(_source, dict.fromkeys(self._contacts.values())))


def _source(contact: _Contact) -> Source:
    digest = hashlib.blake2b(contact.uri.encode("utf-8", "replace"), digest_size=4).hexdigest()
    shown = PresenceTuple(id=f"phone-{digest}", priority=from_q(contact.q or None), since=contact.since)
    return Source(id=digest, tuples=(shown,), since=contact.since)


def _number(element: Element, name: str) -> int:
    value = element.get(name, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 11 else 0
