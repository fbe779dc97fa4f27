"""Phones that sleep (RFC 8599): the push service a phone names when it registers, and what it hears of ours.

Each kind of service is one file here with one registration: what a phone has to tell for it, and which HTTP
request wakes the phone. When somebody is woken is `sip.waking`'s, the HTTP itself `sip.edge.push`'s.

GAP RFC 8599 §6: no PURR: a phone that slept through a NOTIFY is sent the state when it registers, for two
phones that watch each other would wake each other by waking, for ever
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from presence.discovery import load
from sip.errors import ProtocolError
from sip.headers import NameAddr
from sip.message import Request
from sip.settings import PushSettings
from sip.uri import Uri, unescape

BEFORE = 120.0
"Seconds before a registration ends when its phone is woken to renew it (RFC 8599 §5.5)."
EARLY = 150
"Seconds before its end when a phone that wakes by itself has to renew it: more than `BEFORE` (§5.6.1.1)."
LEAST = 240
"Seconds of the shortest registration of a phone that is woken: there has to be time for it (§5.6.1.1)."
_MAX_PRID = 1500
_MAX_PARAM = 300
_PNS = re.compile(r'\+sip\.pns\s*=\s*"([^"]*)"', re.IGNORECASE)
_PRIVATE = ("pn-provider", "pn-param", "pn-prid")


class Pns(Protocol):
    """One push notification service."""

    name: str
    "The `pn-provider` it answers to, lower case."
    features: tuple[tuple[str, str], ...]
    "Further feature-capability indicators of its own, as `+sip.vapid`, with their values (RFC 8599 §5.4)."

    def takes(self, contact: PushContact) -> bool:
        """All is told that this service needs (§5.6.1.1)."""

    def bell(self, contact: PushContact, now: float, patience: int) -> Bell:
        """The request that wakes the phone. `patience`: seconds it is worth delivering."""


@dataclass(frozen=True, slots=True)
class PushContact:
    """What a phone's Contact URI says of its push service (RFC 8599 §8.7)."""

    provider: str
    "Lower case; empty: which ones are there?"
    prid: str = field(default="", repr=False)
    "The phone's name at the service; whoever knows it might wake the phone."
    param: str = ""


@dataclass(frozen=True, slots=True)
class Bell:
    """An HTTP POST that wakes a phone."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    named_by_phone: bool = True
    "The URL is a phone's word, not the operator's: it may lead anywhere."


class Verdict(StrEnum):
    """What a push service's answer means."""

    TAKEN = "taken"
    GONE = "gone"
    "It does not know the phone any more, and will not."
    LATER = "later"


def verdict(status: int) -> Verdict:
    """Of an HTTP status; 0 where there was no answer (RFC 8030 §5, §7.3)."""
    if 200 <= status < 300:
        return Verdict.TAKEN
    return Verdict.GONE if status in (404, 410) else Verdict.LATER


def push_contact(uri: Uri) -> PushContact | None:
    """None for a phone that says nothing of push."""
    provider = uri.parameter("pn-provider") if uri.parameters else None
    if provider is None:
        return None
    prid, param = (unescape(uri.parameter(name) or "") for name in ("pn-prid", "pn-param"))
    return PushContact(unescape(provider).lower(), prid[: _MAX_PRID + 1], param[: _MAX_PARAM + 1])


def for_others(uri: Uri) -> Uri:
    """A Contact URI as anybody but its phone may see it (RFC 8599 §13)."""
    if not any(name.lower() in _PRIVATE for name, _ in uri.parameters):
        return uri
    for name in _PRIVATE:
        uri = uri.without_parameter(name)
    return uri


# --- what a REGISTER is told --------------------------------------------------------------------------------


def wakes(contact: NameAddr, request: Request, services: Mapping[str, Pns]) -> bool:
    """We are to wake the phone of that Contact (RFC 8599 §5.6.1.1): not where a proxy nearer to it does."""
    named = push_contact(contact.uri)
    if named is None or not named.prid or named.provider in _offered(request):
        return False
    service = services.get(named.provider)
    if service is None or len(named.prid) > _MAX_PRID or len(named.param) > _MAX_PARAM:
        return False
    return service.takes(named)


def queried(request: Request, services: Mapping[str, Pns]) -> tuple[str, ...]:
    """Which of our services a phone that asks is told of (RFC 8599 §5.6.1.2). Raises `ProtocolError` 555
    where it asks for what nobody has.

    A phone that names a service of others together with its name there is registered all the same, without a
    word on push (§5.6.1.1): it can be reached as long as it is awake, as phones that know no push.
    """
    told: dict[str, None] = {}
    for contact in request.contacts if request.contacts != "*" else ():
        expires = contact.expires if contact.expires is not None else request.expires
        named = push_contact(contact.uri) if expires != 0 else None
        if named is None or named.prid:
            continue
        fitting = [name for name in services if named.provider in ("", name)]
        if not fitting and not _offered(request):
            raise ProtocolError(555)
        told.update(dict.fromkeys(fitting))
    return tuple(told)


def feature_caps(
    names: Iterable[str], request: Request, services: Mapping[str, Pns]
) -> list[tuple[str, str]]:
    """Header fields of the 200, one for each service (RFC 8599 §5.4, RFC 6809)."""
    itself = request.contacts != "*" and any(_wakes_itself(each) for each in request.contacts)
    return [("Feature-Caps", _indicators(services[name], itself)) for name in dict.fromkeys(names)]


def _indicators(service: Pns, itself: bool) -> str:
    more = (*service.features, ("+sip.pnsreg", str(EARLY))) if itself else service.features
    return "".join((f'*;+sip.pns="{service.name}"', *(f';{name}="{value}"' for name, value in more)))


def _wakes_itself(contact: NameAddr) -> bool:
    """RFC 8599 §8.5."""
    return contact.parameter("+sip.pnsreg") is not None


def _offered(request: Request) -> frozenset[str]:
    """Services that a proxy between the phone and us wakes it with."""
    fields = request.headers.fields("Feature-Caps")
    return frozenset(name.lower() for each in fields for name in _PNS.findall(each))


# --- which services there are -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Secrets:
    """What services prove themselves with."""

    vapid: ec.EllipticCurvePrivateKey | None = field(default=None, repr=False)
    gateway_token: str = field(default="", repr=False)


Maker = Callable[[PushSettings, Secrets], Iterable[Pns]]
_makers: list[Maker] = []


def service(maker: Maker) -> Maker:
    """Register what makes the services of one kind that the settings ask for."""
    _makers.append(maker)
    return maker


def services(settings: PushSettings, secrets: Secrets) -> dict[str, Pns]:
    """All that are set up, by `pn-provider`."""
    if not _makers:
        load(__name__)
    return {each.name: each for make in _makers for each in make(settings, secrets)}
