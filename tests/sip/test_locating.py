"""Where a URI leads, by DNS answers from a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from sip.locating import MAX_TARGETS, Naptr, Question, Record, Srv, Target, by_priority, locate
from sip.record_cache import LONGEST, NOTHING, SHORTEST, RecordCache
from sip.uri import parse_uri

Zone = Mapping[str, Sequence[Record]]

EXAMPLE: Zone = {
    # RFC 3263 §4.1
    "NAPTR example.com": [
        Naptr(100, 50, "s", "SIP+D2U", "_sip._udp.example.com"),
        Naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com"),
        Naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.example.com"),
    ],
    "SRV _sips._tcp.example.com": [Srv(0, 1, 5061, "one.example.com")],
    "SRV _sip._tcp.example.com": [Srv(0, 1, 5060, "one.example.com"), Srv(1, 1, 5070, "two.example.com")],
    "SRV _sip._udp.example.com": [Srv(0, 1, 5060, "one.example.com")],
    "A one.example.com": ["192.0.2.1"],
    "AAAA one.example.com": ["2001:db8::1"],
    "A two.example.com": ["192.0.2.2"],
    "A host.example.com": ["192.0.2.3", "192.0.2.4"],
}


def found(uri: str, zone: Zone = EXAMPLE) -> tuple[list[str], list[str]]:
    """Targets as text, and what was asked on the way."""
    targets, asked = resolve(uri, zone)
    return [f"{t.transport} {t.host} {t.port}" for t in targets], asked


def resolve(uri: str, zone: Zone = EXAMPLE) -> tuple[tuple[Target, ...], list[str]]:
    asked: list[str] = []
    steps = locate(parse_uri(uri), lambda most: 0)
    try:
        questions = next(steps)
        while True:
            asked += [f"{question.kind} {question.name}" for question in questions]
            questions = steps.send({q: zone.get(f"{q.kind} {q.name}", ()) for q in questions})
    except StopIteration as end:
        return end.value, asked


@pytest.mark.parametrize(
    ("uri", "targets"),
    [
        # §4.2: a numeric address is taken as it is.
        ("sip:192.0.2.9", ["udp 192.0.2.9 5060"]),
        ("sip:bob@192.0.2.9:5080;transport=TCP", ["tcp 192.0.2.9 5080"]),
        ("sips:192.0.2.9", ["tls 192.0.2.9 5061"]),
        ("sip:[2001:DB8::9]", ["udp 2001:db8::9 5060"]),
        ("sip:example.com;maddr=192.0.2.9", ["udp 192.0.2.9 5060"]),
        # A port: addresses only, and UDP or TLS.
        ("sip:host.example.com:5080", ["udp 192.0.2.3 5080", "udp 192.0.2.4 5080"]),
        ("sips:host.example.com:5081", ["tls 192.0.2.3 5081", "tls 192.0.2.4 5081"]),
        ("sip:host.example.com:5080;transport=tcp", ["tcp 192.0.2.3 5080", "tcp 192.0.2.4 5080"]),
        # NAPTR: the most preferred transport, and only that.
        ("sip:example.com", ["tls 2001:db8::1 5061", "tls 192.0.2.1 5061"]),
        ("sips:example.com", ["tls 2001:db8::1 5061", "tls 192.0.2.1 5061"]),
        # A transport: its SRV.
        (
            "sip:example.com;transport=tcp",
            ["tcp 2001:db8::1 5060", "tcp 192.0.2.1 5060", "tcp 192.0.2.2 5070"],
        ),
        # Neither NAPTR nor SRV: the addresses of the name.
        ("sip:host.example.com", ["udp 192.0.2.3 5060", "udp 192.0.2.4 5060"]),
        ("sips:host.example.com", ["tls 192.0.2.3 5061", "tls 192.0.2.4 5061"]),
        ("sip:host.example.com.", ["udp 192.0.2.3 5060", "udp 192.0.2.4 5060"]),
        # Nowhere.
        ("sip:nobody.example.com", []),
        ("sip:192.0.2.9;transport=ws", []),
        ("sips:192.0.2.9;transport=udp", []),
        ("sip:x7yz.invalid;transport=tcp", []),
        ("pres:example.com", []),
    ],
)  # fmt: skip
def test_targets_of_a_uri(uri: str, targets: list[str]) -> None:
    assert found(uri)[0] == targets


def test_without_naptr_the_srv_of_each_transport_is_asked_for_and_tls_comes_first() -> None:
    zone = {key: value for key, value in EXAMPLE.items() if not key.startswith("NAPTR")}
    targets, asked = found("sip:example.com", zone)
    assert targets == ["tls 2001:db8::1 5061", "tls 192.0.2.1 5061"]
    assert {"SRV _sips._tcp.example.com", "SRV _sip._tcp.example.com", "SRV _sip._udp.example.com"} < set(
        asked
    )


def test_a_sips_uri_leads_to_tls_only_whatever_the_dns_says() -> None:
    zone: Zone = {
        "NAPTR example.com": [Naptr(1, 1, "s", "SIP+D2U", "_sip._udp.example.com")],
        "SRV _sip._udp.example.com": [Srv(0, 0, 5060, "one.example.com")],
        "A example.com": ["192.0.2.7"],
    }
    assert found("sips:example.com", zone)[0] == ["tls 192.0.2.7 5061"]


def test_services_nobody_here_speaks_are_passed_over() -> None:
    zone: Zone = {
        "NAPTR example.com": [
            Naptr(1, 1, "s", "SIP+D2S", "_sip._sctp.example.com"),
            Naptr(2, 1, "u", "E2U+sip", ""),
            Naptr(3, 1, "S", "sip+d2t", "_sip._tcp.example.com."),
        ],
        "SRV _sip._tcp.example.com": [Srv(0, 0, 5062, "one.example.com")],
        "A one.example.com": ["192.0.2.1"],
    }
    assert found("sip:example.com", zone)[0] == ["tcp 192.0.2.1 5062"]


def test_a_service_that_is_decidedly_not_there_is_nowhere() -> None:
    zone: Zone = {"SRV _sip._tcp.example.com": [Srv(0, 0, 0, ".")], "A example.com": ["192.0.2.1"]}
    assert found("sip:example.com;transport=tcp", zone)[0] == []


def test_nobody_makes_us_try_for_ever() -> None:
    zone: Zone = {
        "SRV _sip._tcp.example.com": [Srv(0, 0, 5060, f"h{n}.example.com") for n in range(100)],
        **{f"A h{n}.example.com": [f"192.0.2.{i}" for i in range(200)] for n in range(100)},
    }
    assert len(found("sip:example.com;transport=tcp", zone)[0]) == MAX_TARGETS


def test_what_is_no_address_is_no_target() -> None:
    zone: Zone = {"A example.com": ["localhost", "192.0.2.1"]}
    assert found("sip:example.com:5060", zone)[0] == ["udp 192.0.2.1 5060"]


def test_the_certificate_must_name_the_domain_of_the_uri() -> None:
    assert {target.name for target in resolve("sips:example.com")[0]} == {"example.com"}


def test_rfc_2782_orders_by_priority_and_draws_by_weight() -> None:
    light, heavy, last = Srv(1, 1, 1, "light"), Srv(1, 3, 1, "heavy"), Srv(2, 9, 1, "last")
    first: Counter[str] = Counter()
    for chance in range(5):
        drawn = iter([chance])
        ordered = by_priority([last, heavy, light], lambda most, drawn=drawn: next(drawn, 0))  # type: ignore[misc]
        assert ordered[-1] is last
        first[ordered[0].host] += 1
    # Of 0 to 4: the light one's running sum covers 0 and 1, or the heavy one's 0 to 3, as they stand.
    assert first["heavy"] > first["light"] > 0


def test_a_weight_of_zero_has_a_small_chance_of_its_own() -> None:
    never, often = Srv(1, 0, 1, "zero"), Srv(1, 10, 1, "ten")
    assert [r.host for r in by_priority([often, never], lambda most: 0)] == ["zero", "ten"]
    assert [r.host for r in by_priority([often, never], lambda most: min(1, most))] == ["ten", "zero"]


# --- what is kept of answers ----------------------------------------------------------------------

ONE = Question("A", "one.example.com")


@pytest.mark.parametrize(
    ("records", "ttl", "kept"),
    [
        (("192.0.2.1",), 60.0, 60.0),
        (("192.0.2.1",), 0.0, SHORTEST),
        (("192.0.2.1",), 1e9, LONGEST),
        ((), 0.0, SHORTEST),
        ((), 3600.0, NOTHING),
    ],
)
def test_an_answer_is_kept_for_its_ttl_within_bounds(
    records: tuple[Record, ...], ttl: float, kept: float
) -> None:
    cache = RecordCache()
    cache.put(ONE, records, ttl, now=100.0)
    assert cache.get(ONE, 100.0 + kept - 0.01) == records
    assert cache.get(ONE, 100.0 + kept) is None


def test_the_cache_is_bounded() -> None:
    cache = RecordCache()
    for number in range(5000):
        cache.put(Question("A", f"h{number}.example.com"), ("192.0.2.1",), 60.0, 0.0)
    assert len(cache) == 2000
    assert cache.get(Question("A", "h4999.example.com"), 1.0)
