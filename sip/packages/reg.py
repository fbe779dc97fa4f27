"""The package `reg`: which phones of an account are registered (RFC 3680).

Everybody may follow their own, and who is in `sip.registration_watchers` everybody's. All contacts first, and
after each refresh; then those that came or went. A contact that is just refreshed is not told of.

# GAP RFC 3680 §4.7.1: a contact whose connection broke is told as unregistered
# GAP RFC 5628 §5: temporary GRUUs are not told of
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from presence.address import Address
from presence.ports import AuthorisationChanged
from presence.service import PresenceService
from sip.addressing import to_uri
from sip.bindings import Binding, decode_bindings
from sip.documents import Body
from sip.grammar import parse_parameters
from sip.gruu import public
from sip.packages import DocumentOf, Feed, PackageDefaults, register
from sip.push import for_others
from sip.registrar import CELL
from sip.settings import SipSettings
from sip.uri import parse_uri
from sip.xml import escape

CONTENT_TYPE = "application/reginfo+xml"


@dataclass(frozen=True, slots=True)
class Contact:
    """A binding and what happened to it last (RFC 3680 §5.1)."""

    binding: Binding
    event: str

    @property
    def state(self) -> str:
        return "terminated" if self.event in ("expired", "unregistered") else "active"


class Registrations:
    """What one watcher knows of an account's phones. Implements `sip.packages.Feed`."""

    def __init__(self, service: PresenceService, owner: Address) -> None:
        self._service = service
        self._owner = owner
        self._contacts: dict[str, Binding] = {}
        self._due: dict[str, Contact] = {}
        self._full = True
        self._now = 0.0

    async def load(self) -> tuple[Address, ...]:
        cell = await self._service.cell(self._owner, CELL)
        self._now = self._service.now()
        found = {_id(b): b for b in decode_bindings(cell.data) if b.expires > self._now}
        for name, binding in self._contacts.items():
            if name not in found:
                event = "expired" if binding.expires <= self._now else "unregistered"
                self._due[name] = Contact(binding, event)
        for name, binding in found.items():
            if name not in self._contacts:
                self._due[name] = Contact(binding, "registered")
        self._contacts = found
        return (self._owner,)

    def restart(self) -> None:
        self._full = True
        self._due = {
            name: Contact(binding, "registered" if binding.registered == binding.refreshed else "refreshed")
            for name, binding in self._contacts.items()
        }

    def presence(self, address: Address) -> bool | None:
        return None

    def authorisation(self, envelope: AuthorisationChanged) -> bool | None:
        return False

    def kept(self, owner: Address) -> bool | None:
        return None if owner == self._owner else False

    @property
    def more(self) -> bool:
        return bool(self._due)

    @property
    def tag(self) -> str:
        listed = "\0".join(
            f"{b.contact} {b.parameters} {b.q} {b.registered}" for b in self._contacts.values()
        )
        return hashlib.blake2b(listed.encode("utf-8", "replace"), digest_size=8).hexdigest()

    def body(self, version: int, room: int | None) -> Body:
        uri = escape(to_uri(self._owner))
        if self._full:
            # Of what is gone a full document says nothing.
            self._due = {name: each for name, each in self._due.items() if each.state == "active"}
        registration = "active" if self._contacts else "init" if self._full else "terminated"
        head = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<reginfo xmlns="urn:ietf:params:xml:ns:reginfo"'
            f' version="{version}" state="{"full" if self._full else "partial"}">'
            f'<registration aor="{uri}" id="{_digest(str(self._owner))}" state="{registration}">'
        )
        tail = "</registration></reginfo>\n"
        left = len(head) + len(tail)
        parts = [head]
        for name, contact in list(self._due.items()):
            part = self._contact(name, contact)
            left += len(part.encode("utf-8", "replace"))
            if room is not None and left > room and len(parts) > 1:
                break
            parts.append(part)
            del self._due[name]
        self._full = False
        return Body(CONTENT_TYPE, "".join((*parts, tail)).encode("utf-8", "replace"))

    def _contact(self, name: str, contact: Contact) -> str:
        binding = contact.binding
        held = max(0, round(min(self._now, binding.expires) - binding.registered))
        attributes = f' duration-registered="{held}"'
        if contact.state == "active":
            attributes += f' expires="{max(0, round(binding.expires - self._now))}"'
        if binding.q:
            attributes += f' q="{escape(binding.q)}"'
        parameters = "".join(
            f'<unknown-param name="{escape(key)}">{escape(value or "")}</unknown-param>'
            for key, value in parse_parameters(binding.parameters)
        )
        return (
            f'<contact id="{name}" state="{contact.state}" event="{contact.event}"{attributes}'
            f' callid="{escape(binding.call_id)}" cseq="{binding.cseq}">'
            f"<uri>{escape(str(for_others(parse_uri(binding.contact))))}</uri>{parameters}{self._gruu(binding)}</contact>"
        )

    def _gruu(self, binding: Binding) -> str:
        """RFC 5628 §5.2."""
        if not binding.instance:
            return ""
        uri = escape(public(self._owner, binding))
        return f'<pub-gruu xmlns="urn:ietf:params:xml:ns:gruuinfo" uri="{uri}"/>'


class RegistrationEvents(PackageDefaults):
    name = "reg"
    notified = CONTENT_TYPE

    def feed(
        self, service: PresenceService, watcher: Address, presentity: Address, document_of: DocumentOf
    ) -> Feed | None:
        return Registrations(service, presentity)

    def allowed(self, watcher: Address, presentity: Address, settings: SipSettings) -> bool:
        return watcher == presentity or str(watcher) in settings.registration_watchers


def _id(binding: Binding) -> str:
    """Different for different contact URIs, and for the phones that share one."""
    return _digest(f"{binding.id} {binding.reg_id or ''} {binding.contact}")


def _digest(text: str) -> str:
    return "r" + hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


register(RegistrationEvents())
