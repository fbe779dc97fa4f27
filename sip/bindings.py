"""Registrations as values (RFC 3261 §10.3, RFC 3327, RFC 5626 §6): pure decisions.

A binding is told by its instance and reg-id, otherwise by its contact URI. Bindings of one instance are the
flows of one phone: to everybody else it is one, and what it is sent takes one of them. Where RFC 3261 orders
by Call-ID and CSeq, one exception is made: a lower CSeq on a new flow, or long after the last one, is a phone
that was restarted, for there are phones whose Call-IDs are the same in every process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from presence.model import PresenceTuple, Show, Source
from sip.errors import ProtocolError
from sip.flow import ROUTED, Flow
from sip.headers import NameAddr
from sip.message import Request
from sip.pidf import from_q
from sip.push import LEAST, Pns
from sip.push import wakes as wakes_phone
from sip.rich import capabilities_of
from sip.settings import SipSettings
from sip.topology import origin_of
from sip.uri import equivalent, parse_uri

RESTARTED = 32.0
"Seconds after which an older CSeq can be no packet that was overtaken (RFC 3261 timer F)."
_MAX_PARAMETERS = 1024
_MAX_INSTANCE = 512
_MAX_CALL_ID = 128
"Longer ones are kept as their digest."
_MAX_PATH = 2048
_MAX_FLOWS = 4
"Of one phone; one more takes the place of the one refreshed longest ago."
_MAX_REG_ID = 2**31 - 1
"RFC 5626 §4.2."
_NOT_ECHOED = frozenset(("expires", "q", "received", "pub-gruu", "temp-gruu"))
_SECURE = ("tls", "wss", ROUTED)
_SCHEMA = 1
NO_PUSH: Mapping[str, Pns] = MappingProxyType({})


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
    reg_id: int = 0
    "Which of the phone's flows (RFC 5626); 0 where it has but one and does not say so."
    outbound: bool = False
    "It knows what that means: it keeps the flow alive."
    gruu: bool = False
    "The phone knows GRUUs (RFC 5627)."
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
    wakes: bool = False
    "We wake it through the push service its Contact names (RFC 8599)."
    asleep: float = 0.0
    """Unix seconds when its connection ended: it is not reached before it registers again. 0: awake, as far
    as is known."""

    @property
    def endpoint(self) -> str:
        return f"sip:{self.id}"

    @property
    def source(self) -> str:
        return f"sip-reg:{self.id}"

    @property
    def name(self) -> tuple[str, int]:
        return (self.id, self.reg_id)


_Name = tuple[str, int]


def phone_id(key: str) -> str:
    """A phone's name to everybody, from its instance or, without one, its contact URI."""
    return "phone-" + hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=4).hexdigest()


def flows_of(bindings: Iterable[Binding], id: str) -> tuple[Binding, ...]:
    """Those of one phone, the one to be tried first first."""
    return tuple(sorted((b for b in bindings if b.id == id), key=lambda b: b.reg_id))


def presence_of(flows: Sequence[Binding]) -> Source:
    """What a registration alone says: the phone is there. A phone that has to be woken is away."""
    first, since = flows[0], min(b.registered for b in flows)
    asleep = all(b.asleep for b in flows)
    if asleep:
        since = max(b.asleep for b in flows)
    shown = PresenceTuple(
        id=first.id,
        show=Show.AWAY if asleep else None,
        priority=from_q(first.q or None),
        since=since,
        capabilities=capabilities_of(first.parameters),
    )
    return Source(id=first.source, tuples=(shown,), since=since)


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
    outbound: bool = False
    "The phone asked for outbound, and has it (RFC 5626 §6)."


def register(
    known: Sequence[Binding],
    request: Request,
    *,
    flow: Flow,
    owner: str,
    now: float,
    settings: SipSettings,
    services: Mapping[str, Pns] = NO_PUSH,
) -> Registered:
    """Add, refresh, remove or just read bindings (RFC 3261 §10.3 steps 6 to 8). All or nothing.

    `owner` is the lease owner of connections here. `services`: through which phones are woken. Raises
    `ProtocolError`.
    """
    live = {binding.name: binding for binding in known if binding.expires > now}
    contacts = request.contacts
    if contacts == "*":
        return _remove_all(live.values(), request, flow, now)
    if len(contacts) > settings.max_contacts:
        raise ProtocolError(403, "Too Many Contacts")
    asked = offers(request, "outbound")
    direct = reaches_directly(request)
    if asked and not direct and any(_reg_id(contact) for contact in contacts):
        raise ProtocolError(439)
    wanted = [_wanted(contact, request, flow, owner, now, settings, direct, services) for contact in contacts]
    staying = [binding for binding in wanted if binding.expires > now]
    if len(staying) > 1 and any(binding.reg_id for binding in staying):
        raise ProtocolError(400, "One Flow At A Time")
    put: dict[_Name, Binding] = {}
    dropped: dict[_Name, Binding] = {}
    for binding in wanted:
        same = [old for old in live.values() if _replaces(binding, old)]
        for old in same:
            _check_order(old, request, flow, now)
            dropped[old.name] = live.pop(old.name)
        if binding.expires > now:
            # Another contact of the same phone is a registration of its own (RFC 3680 §4.7.1).
            contact = parse_uri(binding.contact)
            again = (old.registered for old in same if equivalent(parse_uri(old.contact), contact))
            first = min(again, default=now)
            live[binding.name] = put[binding.name] = msgspec.structs.replace(binding, registered=first)
            dropped.pop(binding.name, None)
    while (surplus := _surplus(live.values(), settings.max_contacts)) is not None:
        dropped[surplus.name] = live.pop(surplus.name)
    outbound = any(binding.outbound for binding in wanted)
    return Registered(tuple(live.values()), tuple(put.values()), tuple(dropped.values()), outbound)


def _replaces(new: Binding, old: Binding) -> bool:
    if new.id == old.id:
        return new.reg_id == old.reg_id or not (new.reg_id and old.reg_id)
    # Instances are told apart whatever their contacts look like, behind NATs they look the same.
    both = new.instance and old.instance and new.reg_id and old.reg_id
    return not both and equivalent(parse_uri(new.contact), parse_uri(old.contact))


def _surplus(live: Iterable[Binding], phones: int) -> Binding | None:
    """One that has to go."""
    flows: dict[str, list[Binding]] = {}
    for binding in live:
        flows.setdefault(binding.id, []).append(binding)
    crowd = next((of_one for of_one in flows.values() if len(of_one) > _MAX_FLOWS), None)
    if crowd is None and len(flows) > phones:
        crowd = min(flows.values(), key=lambda of_one: max(b.refreshed for b in of_one))
    return min(crowd, key=lambda b: b.refreshed) if crowd is not None else None


def offers(request: Request, option: str) -> bool:
    """The phone supports an option (RFC 3261 §19.2)."""
    tags = request.headers.all("Supported") + request.headers.all("Require")
    return any(tag.lower() == option for tag in tags)


def reaches_directly(request: Request) -> bool:
    """We are the phone's first hop, or the first hop keeps its flows (RFC 5626 §6)."""
    if len(request.vias) == 1:
        return True
    return any(path.uri.parameter("ob") is not None for path in request.paths)


def _remove_all(live: Iterable[Binding], request: Request, flow: Flow, now: float) -> Registered:
    # RFC 3261 §10.2.2: the star goes with Expires: 0 only.
    if request.expires != 0:
        raise ProtocolError(400, "Contact * without Expires 0")
    for binding in live:
        _check_order(binding, request, flow, now)
    return Registered((), (), tuple(live))


def _reg_id(contact: NameAddr) -> int:
    """0 where there is none, or none that counts: without an instance it is ignored (RFC 5626 §6)."""
    text = contact.parameter("reg-id") or ""
    if not contact.parameter("+sip.instance") or not text.isascii() or not text.isdigit():
        return 0
    number = int(text[:11])
    return number if number <= _MAX_REG_ID else 0


def _wanted(
    contact: NameAddr,
    request: Request,
    flow: Flow,
    owner: str,
    now: float,
    settings: SipSettings,
    direct: bool,
    services: Mapping[str, Pns],
) -> Binding:
    if contact.uri.scheme not in ("sip", "sips"):
        raise ProtocolError(400, "Contact: not a SIP URI")
    if contact.uri.secure and flow.transport not in _SECURE:
        # RFC 3261 §26.2.2: what is sent to it must come under TLS.
        raise ProtocolError(400, "Contact: a SIPS URI needs TLS")
    expires = contact.expires
    if expires is None:
        expires = request.expires if request.expires is not None else settings.register_expires
    # Where all registrations are short there is no time to wake anybody.
    wakes = settings.max_expires >= LEAST and wakes_phone(contact, request, services)
    least = max(LEAST, settings.min_expires) if wakes else settings.min_expires
    if 0 < expires < least:
        raise ProtocolError(423, headers=(("Min-Expires", str(least)),))
    parameters = "".join(
        f";{name}" if value is None else f";{name}={value}"
        for name, value in contact.parameters
        if name.lower() not in _NOT_ECHOED
    )
    path = tuple(str(each) for each in request.paths)
    if len(parameters) > _MAX_PARAMETERS or sum(map(len, path)) > _MAX_PATH:
        raise ProtocolError(400, "Contact or Path too long")
    instance = (contact.parameter("+sip.instance") or "").strip("<>")
    if len(instance) > _MAX_INSTANCE:
        raise ProtocolError(400, "Contact or Path too long")
    if instance and equivalent(contact.uri, request.to.uri):
        # RFC 5627 §5.1: it would lead to itself, and so would a GRUU of its own, which is equivalent.
        raise ProtocolError(403, "Contact Is The Address Itself")
    return Binding(
        id=phone_id(instance or str(contact.uri)),
        contact=str(contact.uri),
        parameters=parameters,
        q=(contact.parameter("q") or "")[:5],
        instance=instance,
        reg_id=_reg_id(contact) if direct else 0,
        outbound=direct and bool(_reg_id(contact)) and offers(request, "outbound"),
        gruu=bool(instance) and offers(request, "gruu"),
        path=path,
        flow=str(flow),
        owner=owner if flow.reliable and not flow.routed else "",
        call_id=_call_id(request),
        cseq=request.cseq.number,
        registered=now,
        refreshed=now,
        expires=now + min(expires, settings.max_expires),
        agent=(request.headers.get("User-Agent") or "")[:100],
        origin=origin_of(request)[:300],
        wakes=wakes,
    )


def _call_id(request: Request) -> str:
    """As it is kept."""
    text = request.call_id
    if len(text) <= _MAX_CALL_ID:
        return text
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _check_order(old: Binding, request: Request, flow: Flow, now: float) -> None:
    if (
        old.call_id == _call_id(request)
        and request.cseq.number < old.cseq
        and old.flow == str(flow)
        and now - old.refreshed < RESTARTED
    ):
        raise ProtocolError(500, "CSeq Out of Order")


def contact_headers(
    bindings: Sequence[Binding], now: float, gruus: Callable[[Binding], str] = lambda _: ""
) -> list[tuple[str, str]]:
    """The Contact fields of a 200 (RFC 3261 §10.3 step 8): every binding with what is left of its time, and
    with further parameters from `gruus`."""
    headers = []
    for binding in bindings:
        if binding.expires > now:
            q = f";q={binding.q}" if binding.q else ""
            left = max(1, round(binding.expires - now))
            more = f"{binding.parameters}{gruus(binding)}"
            headers.append(("Contact", f"<{binding.contact}>{q};expires={left}{more}"))
    return headers
