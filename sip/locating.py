"""Where a SIP URI leads: NAPTR, SRV and address records, priorities and weights (RFC 3263, RFC 2782).

Pure: `locate` is a generator that yields questions and is sent their answers. Of several transports the most
preferred one counts: trying the others, too, would let whoever blocks TLS choose UDP.

# GAP RFC 3263 §5: an answer whose connection is gone is not sent anywhere else
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, NamedTuple

from sip.uri import Uri

MAX_TARGETS = 16
"Addresses of one URI that are worth trying."
_MAX_RECORDS = 16
"Records of one answer that are looked at: it comes from strangers."

Kind = Literal["NAPTR", "SRV", "A", "AAAA"]


class Question(NamedTuple):
    kind: Kind
    name: str
    "Domain name without its last dot, lower case."


class Naptr(NamedTuple):
    """RFC 3403 §4.1, as far as RFC 3263 uses it."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


class Srv(NamedTuple):
    priority: int
    weight: int
    port: int
    host: str


Record = Naptr | Srv | str
"An address is a string."
Answers = Mapping[Question, Sequence[Record]]
Locating = Generator[tuple[Question, ...], Answers, "tuple[Target, ...]"]
"Questions that can be asked at once; what is answered to them; the targets, best first."


@dataclass(frozen=True, slots=True)
class Target:
    transport: str
    "udp, tcp, tls."
    host: str
    "A numeric address, IPv6 without brackets."
    port: int
    name: str
    "Whom a TLS certificate there must name: the host of the URI, whatever DNS made of it (RFC 5922 §4)."


Pick = Callable[[int], int]
"A random number from 0 to the given one, both included."

_SERVICES = {"SIPS+D2T": "tls", "SIP+D2T": "tcp", "SIP+D2U": "udp"}
_SRV = {"tls": "_sips._tcp", "tcp": "_sip._tcp", "udp": "_sip._udp"}
_PREFERENCE = ("tls", "tcp", "udp")
"Where the domain says nothing about it."
_DEFAULT_PORT = {"udp": 5060, "tcp": 5060, "tls": 5061}


def locate(uri: Uri, pick: Pick, families: Sequence[Literal["A", "AAAA"]] = ("AAAA", "A")) -> Locating:
    """The targets of a sip or sips URI (RFC 3263 §4). None for what names no transport or host we can
    use."""
    host = uri.parameter("maddr") or uri.host
    asked = (uri.parameter("transport") or "").lower()
    if asked not in ("", "udp", "tcp", "tls") or uri.scheme not in ("sip", "sips"):
        return ()
    if uri.secure and asked == "udp":
        return ()
    fallback = "tls" if uri.secure else "udp"
    transport = "tls" if uri.secure else asked
    numeric = _numeric(host)
    if numeric:
        chosen = transport or fallback
        return (Target(chosen, numeric, uri.port or _DEFAULT_PORT[chosen], uri.host),)
    host = host.rstrip(".").lower()
    if not host or host == "invalid" or host.endswith(".invalid"):
        return ()
    if uri.port is not None:
        chosen = transport or fallback
        places = [Srv(0, 0, uri.port, host)]
    else:
        chosen, places = yield from _services(host, transport, fallback, uri.secure, pick)
    return (yield from _addresses(chosen, places, uri.host, families))


def _services(
    host: str, transport: str, fallback: str, secure: bool, pick: Pick
) -> Generator[tuple[Question, ...], Answers, tuple[str, list[Srv]]]:
    """Transport, and hosts with ports in the order of use (RFC 3263 §4.1, §4.2)."""
    if not transport or secure:
        question = Question("NAPTR", host)
        answers = yield (question,)
        for service in _relevant(answers.get(question, ()), secure):
            found = yield from _srv(service.replacement, pick)
            if found is not None:
                return _SERVICES[service.service.upper()], found
    wanted = [transport] if transport else [name for name in _PREFERENCE if name == "tls" or not secure]
    questions = {name: Question("SRV", f"{_SRV[name]}.{host}") for name in wanted}
    answers = yield tuple(questions.values())
    for name, question in questions.items():
        records = [record for record in answers.get(question, ()) if isinstance(record, Srv)]
        if records:
            return name, by_priority(records, pick)
    chosen = transport or fallback
    return chosen, [Srv(0, 0, _DEFAULT_PORT[chosen], host)]


def _srv(name: str, pick: Pick) -> Generator[tuple[Question, ...], Answers, list[Srv] | None]:
    """None when there are no such records."""
    question = Question("SRV", name.rstrip(".").lower())
    answers = yield (question,)
    records = [record for record in answers.get(question, ()) if isinstance(record, Srv)]
    return by_priority(records, pick) if records else None


def _relevant(records: Sequence[Record], secure: bool) -> list[Naptr]:
    """Services we speak, the preferred first; of a sips URI only secure ones (RFC 3263 §4.1)."""
    usable = [
        record
        for record in records[:_MAX_RECORDS]
        if isinstance(record, Naptr)
        and record.flags.lower() == "s"
        and record.service.upper() in (("SIPS+D2T",) if secure else _SERVICES)
        and record.replacement
    ]
    return sorted(usable, key=lambda record: (record.order, record.preference))


def by_priority(records: Sequence[Srv], pick: Pick) -> list[Srv]:
    """In the order of use (RFC 2782, usage rules): by priority, and within one at random by weight."""
    ordered: list[Srv] = []
    left = [record for record in records[:_MAX_RECORDS] if record.host not in ("", ".")]
    for priority in sorted({record.priority for record in left}):
        # Those of weight 0 first, so that they have a small chance of their own.
        group = sorted((r for r in left if r.priority == priority), key=lambda record: record.weight > 0)
        while group:
            chance, total = pick(sum(record.weight for record in group)), 0
            for number, record in enumerate(group):
                total += record.weight
                if total >= chance:
                    ordered.append(group.pop(number))
                    break
    return ordered


def _addresses(
    transport: str, places: Sequence[Srv], name: str, families: Sequence[Literal["A", "AAAA"]]
) -> Locating:
    asked = dict.fromkeys(
        Question(family, place.host) for place in places if not _numeric(place.host) for family in families
    )
    answers: Answers = (yield tuple(asked)) if asked else {}
    targets: dict[Target, None] = {}
    for place in places:
        found: list[Record] = [place.host] if _numeric(place.host) else []
        for family in families:
            found += answers.get(Question(family, place.host), ())[:_MAX_RECORDS]
        for address in found:
            if isinstance(address, str) and (numeric := _numeric(address)):
                targets[Target(transport, numeric, place.port, name)] = None
    return tuple(targets)[:MAX_TARGETS]


def _numeric(host: str) -> str:
    """The address a host is, in its usual spelling; empty for a name."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return ""
