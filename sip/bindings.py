"""Registrations as values (RFC 3261 §10.3, RFC 3327, instance and reg-id of RFC 5626): pure decisions.

A binding is told by its instance and reg-id, otherwise by its contact URI. Where the RFC orders by Call-ID
and CSeq, one exception is made: a lower CSeq on a new flow, or long after the last one, is a phone that was
restarted, for there are phones whose Call-IDs are the same in every process.

# GAP RFC 5626: the option tag outbound is not offered; of two flows of one device both get every message
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from presence.model import PresenceTuple, Source
from sip.errors import ProtocolError
from sip.flow import ROUTED, Flow
from sip.headers import NameAddr
from sip.message import Request
from sip.pidf import from_q
from sip.settings import SipSettings
from sip.topology import origin_of
from sip.uri import equivalent, parse_uri

RESTARTED = 32.0
"Seconds after which an older CSeq can be no packet that was overtaken (RFC 3261 timer F)."
_MAX_PARAMETERS = 1024
_MAX_PATH = 2048
_NOT_ECHOED = frozenset(("expires", "q", "received"))
_SECURE = ("tls", "wss", ROUTED)
_SCHEMA = 1


class Binding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One phone of one account, and the way to it."""

    id: str
    "Short and stable over the phone's restarts; its name to watchers."
    contact: str
    "URI as registered; the Request-URI of what is sent there."
    parameters: str = ""
    "Contact parameters given back in answers, as they came."
    q: str = ""
    instance: str = ""
    path: tuple[str, ...] = ()
    "Route set towards it (RFC 3327)."
    flow: str
    owner: str = ""
    "Process that holds the flow's connection; empty for UDP."
    call_id: str
    cseq: int
    registered: float
    "Unix seconds of the first registration in a row."
    refreshed: float
    expires: float
    agent: str = ""
    origin: str = ""
    "Where the phone is as a proxy before us saw it, `host:port`; tells apart phones behind one proxy."

    @property
    def endpoint(self) -> str:
        return f"sip:{self.id}"

    @property
    def source(self) -> str:
        return f"sip-reg:{self.id}"

    def presence(self) -> Source:
        """What the registration alone says: the phone is there."""
        shown = PresenceTuple(id=self.id, priority=from_q(self.q or None), since=self.registered)
        return Source(id=self.source, tuples=(shown,), since=self.registered)


class _Kept(msgspec.Struct, array_like=True):
    schema: int
    bindings: tuple[Binding, ...]


_decoder = msgspec.msgpack.Decoder(_Kept)


def encode_bindings(bindings: Sequence[Binding]) -> bytes:
    """For the bus; empty when there are none."""
    return msgspec.msgpack.encode(_Kept(_SCHEMA, tuple(bindings))) if bindings else b""


def decode_bindings(data: bytes) -> tuple[Binding, ...]:
    return _decoder.decode(data).bindings if data else ()


@dataclass(frozen=True, slots=True)
class Registered:
    """What a REGISTER makes of the bindings before it."""

    bindings: tuple[Binding, ...]
    "All that are valid now."
    put: tuple[Binding, ...] = ()
    "New or refreshed."
    dropped: tuple[Binding, ...] = ()


def register(
    known: Sequence[Binding], request: Request, *, flow: Flow, owner: str, now: float, settings: SipSettings
) -> Registered:
    """Add, refresh, remove or just read bindings (RFC 3261 §10.3 steps 6 to 8). All or nothing.

    `owner` is the lease owner of connections here. Raises `ProtocolError`.
    """
    live = {binding.id: binding for binding in known if binding.expires > now}
    contacts = request.contacts
    if contacts == "*":
        return _remove_all(live, request, flow, now)
    if len(contacts) > settings.max_contacts:
        raise ProtocolError(403, "Too Many Contacts")
    wanted = [_wanted(contact, request, flow, owner, now, settings) for contact in contacts]
    put: dict[str, Binding] = {}
    dropped: dict[str, Binding] = {}
    for binding, contact in zip(wanted, contacts, strict=True):
        same = [
            b for b in live.values() if b.id == binding.id or equivalent(parse_uri(b.contact), contact.uri)
        ]
        for old in same:
            _check_order(old, request, flow, now)
            dropped[old.id] = live.pop(old.id)
        if binding.expires > now:
            # Another contact of the same phone is a registration of its own (RFC 3680 §4.7.1).
            again = (o.registered for o in same if equivalent(parse_uri(o.contact), contact.uri))
            first = min(again, default=now)
            live[binding.id] = put[binding.id] = msgspec.structs.replace(binding, registered=first)
            dropped.pop(binding.id, None)
    while len(live) > settings.max_contacts:
        oldest = min(live.values(), key=lambda b: b.refreshed)
        dropped[oldest.id] = live.pop(oldest.id)
    return Registered(tuple(live.values()), tuple(put.values()), tuple(dropped.values()))


def _remove_all(live: dict[str, Binding], request: Request, flow: Flow, now: float) -> Registered:
    # RFC 3261 §10.2.2: the star goes with Expires: 0 only.
    if request.expires != 0:
        raise ProtocolError(400, "Contact * without Expires 0")
    for binding in live.values():
        _check_order(binding, request, flow, now)
    return Registered((), (), tuple(live.values()))


def _wanted(
    contact: NameAddr, request: Request, flow: Flow, owner: str, now: float, settings: SipSettings
) -> Binding:
    if contact.uri.scheme not in ("sip", "sips"):
        raise ProtocolError(400, "Contact: not a SIP URI")
    if contact.uri.secure and flow.transport not in _SECURE:
        # RFC 3261 §26.2.2: what is sent to it must come under TLS.
        raise ProtocolError(400, "Contact: a SIPS URI needs TLS")
    expires = contact.expires
    if expires is None:
        expires = request.expires if request.expires is not None else settings.register_expires
    if 0 < expires < settings.min_expires:
        raise ProtocolError(423, headers=(("Min-Expires", str(settings.min_expires)),))
    parameters = "".join(
        f";{name}" if value is None else f";{name}={value}"
        for name, value in contact.parameters
        if name.lower() not in _NOT_ECHOED
    )
    path = tuple(str(each) for each in request.paths)
    if len(parameters) > _MAX_PARAMETERS or sum(map(len, path)) > _MAX_PATH:
        raise ProtocolError(400, "Contact or Path too long")
    instance = (contact.parameter("+sip.instance") or "").strip("<>")
    key = f"{instance} {contact.parameter('reg-id') or ''}" if instance else str(contact.uri)
    return Binding(
        id="phone-" + hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=4).hexdigest(),
        contact=str(contact.uri),
        parameters=parameters,
        q=(contact.parameter("q") or "")[:5],
        instance=instance,
        path=path,
        flow=str(flow),
        owner=owner if flow.reliable and not flow.routed else "",
        call_id=request.call_id,
        cseq=request.cseq.number,
        registered=now,
        refreshed=now,
        expires=now + min(expires, settings.max_expires),
        agent=(request.headers.get("User-Agent") or "")[:100],
        origin=origin_of(request)[:300],
    )


def _check_order(old: Binding, request: Request, flow: Flow, now: float) -> None:
    if (
        old.call_id == request.call_id
        and request.cseq.number < old.cseq
        and old.flow == str(flow)
        and now - old.refreshed < RESTARTED
    ):
        raise ProtocolError(500, "CSeq Out of Order")


def contact_headers(bindings: Sequence[Binding], now: float) -> list[tuple[str, str]]:
    """The Contact fields of a 200 (RFC 3261 §10.3 step 8): every binding with what is left of its time."""
    headers = []
    for binding in bindings:
        if binding.expires > now:
            q = f";q={binding.q}" if binding.q else ""
            left = max(1, round(binding.expires - now))
            headers.append(("Contact", f"<{binding.contact}>{q};expires={left}{binding.parameters}"))
    return headers
