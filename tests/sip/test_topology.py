"""Whom to believe, and where requests may go."""

from __future__ import annotations

from typing import Any

import pytest

from sip.flow import Flow, parse_flow, routed
from sip.locating import Target
from sip.loops import HOPS, branch_mark, has_been_here, hops_left
from sip.message import Request, new_branch
from sip.parser import parse_message
from sip.topology import Topology, origin_of
from sip.uri import parse_uri

PROXY = Flow("udp", "[::]:5060", "10.0.0.1", 5060)
STRANGER = Flow("udp", "[::]:5060", "203.0.113.7", 5060)
NAMED = Flow("tls", "192.0.2.1:5061", "198.51.100.5", 40000, 3)


def topology(outbound: str = "", peers: tuple[str, ...] = ("10.0.0.0/24", "proxy.example.net")) -> Topology:
    return Topology(
        outbound,
        peers,
        names_of=lambda flow: frozenset({"proxy.example.net"}) if flow == NAMED else frozenset(),
    )


def request(method: str = "MESSAGE", vias: tuple[str, ...] = (), **fields: str) -> Request:
    lines = [
        f"{method} sip:alice@example.org SIP/2.0",
        *(f"Via: {via}" for via in vias or ("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1",)),
        "From: <sip:bob@example.org>;tag=1",
        "To: <sip:alice@example.org>",
        "Call-ID: c",
        f"CSeq: 1 {method}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items()),
    ]
    parsed = parse_message(("\r\n".join(lines) + "\r\n\r\n").encode())
    assert isinstance(parsed, Request)
    return parsed


TOP = "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1"
PHONE = "SIP/2.0/UDP 192.168.1.5:5060;received=203.0.113.7;rport=31337;branch=z9hG4bK2"


def test_trust_is_for_addresses_and_proven_names() -> None:
    assert topology().trusts(PROXY)
    assert topology().trusts(NAMED)
    assert not topology().trusts(STRANGER)
    assert not topology(peers=()).trusts(PROXY)


def test_a_browser_is_no_proxy_though_a_web_server_beside_one_brings_it() -> None:
    assert not topology().trusts(Flow("ws", "127.0.0.1:5066", "10.0.0.1", 40000, 5))
    assert not topology().trusts(Flow("wss", "127.0.0.1:5066", "10.0.0.1", 40000, 5))


@pytest.mark.parametrize(
    ("flow", "vias", "origin"),
    [
        (STRANGER, (TOP, PHONE), "203.0.113.7"),
        (Flow("udp", "", "198.51.100.9", 1), (TOP, PHONE), "198.51.100.9"),
        (PROXY, (TOP,), "10.0.0.1"),
        (PROXY, (TOP, PHONE), "203.0.113.7"),
        (PROXY, (f"{TOP}, {PHONE}",), "203.0.113.7"),
        (PROXY, (TOP, "SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK3", PHONE), "203.0.113.7"),
        (PROXY, (TOP, "SIP/2.0/TCP x1.invalid;branch=z9hG4bK3"), "10.0.0.1"),
        # What a stranger wrote, and the proxy added to; nobody is this machine.
        (
            PROXY,
            (TOP, "SIP/2.0/UDP a.example;received=6.6.6.6;branch=z9;received=203.0.113.7"),
            "203.0.113.7",
        ),
        (PROXY, (TOP, "SIP/2.0/UDP 203.0.113.7;received=127.0.0.1;branch=z9hG4bK3"), "203.0.113.7"),
        (PROXY, (TOP, "SIP/2.0/UDP 203.0.113.7;received=[::ffff:127.0.0.1];branch=z9hG4bK3"), "203.0.113.7"),
        (PROXY, (TOP, "SIP/2.0/UDP localhost;received=[::1];branch=z9hG4bK3"), "10.0.0.1"),
        (PROXY, (TOP, "SIP/2.0/UDP 203.0.113.8;branch=z9hG4bK3", PHONE), "203.0.113.8"),
    ],
)
def test_where_a_request_comes_from_is_the_trusted_proxys_word(
    flow: Flow, vias: tuple[str, ...], origin: str
) -> None:
    assert topology().origin(request(vias=vias), flow) == origin


def test_phones_behind_one_proxy_are_told_apart() -> None:
    assert origin_of(request(vias=(TOP, PHONE))) == "203.0.113.7:31337"
    assert origin_of(request(vias=(f"{TOP},{PHONE}",))) == "203.0.113.7:31337"
    assert origin_of(request(vias=(PHONE,))) == ""


@pytest.mark.parametrize(
    ("method", "flow", "fields", "way"),
    [
        ("REGISTER", PROXY, {"Path": "<sip:10.0.0.1;lr>"}, routed("sip:10.0.0.1;lr")),
        ("REGISTER", PROXY, {"Path": "<sip:lb.example.org;lr>"}, routed("sip:lb.example.org;lr")),
        ("REGISTER", PROXY, {}, PROXY),
        ("REGISTER", STRANGER, {"Path": "<sip:10.0.0.1;lr>"}, STRANGER),
        ("REGISTER", PROXY, {"Path": "<sip:203.0.113.9;lr>"}, PROXY),
        ("SUBSCRIBE", PROXY, {"Record-Route": "<sip:10.0.0.1;lr=on>"}, routed("sip:10.0.0.1;lr=on")),
        ("SUBSCRIBE", STRANGER, {"Record-Route": "<sip:10.0.0.1;lr=on>"}, STRANGER),
    ],
)
def test_a_trusted_proxys_route_is_the_way_to_those_behind_it(
    method: str, flow: Flow, fields: dict[str, Any], way: Flow
) -> None:
    assert topology().way(request(method, **fields), flow) == way


def test_the_outbound_proxy_stands_in_where_a_connection_would_end() -> None:
    mine = topology("sip:out.example.net")
    assert mine.way(request("REGISTER"), NAMED) == routed("sip:out.example.net")
    assert mine.way(request("REGISTER"), PROXY) == PROXY
    assert mine.detour("sip:bob@203.0.113.7", ()) == routed("sip:out.example.net")


@pytest.mark.parametrize(
    ("target", "routes", "leads"),
    [
        # A dialog whose flow is gone:
        ("sip:bob@phone.example.com;transport=tcp", (), True),
        ("sips:bob@phone.example.com", (), True),
        ("sip:bob@phone.example.com", (), False),  # might become a datagram
        ("sip:bob@phone.example.com;transport=udp", (), False),
        ("sip:bob@192.168.1.5;transport=tcp", (), False),
        ("sip:bob@[fd00::1]:22;transport=tcp", (), False),
        ("sip:bob@localhost;transport=tcp", (), False),
        ("sip:bob@phone.example.com;transport=tcp;maddr=10.0.0.9", (), False),
        ("sip:bob@192.168.1.5", ("<sip:10.0.0.1;lr>",), True),
        ("sip:bob@192.168.1.5", ("<sip:10.0.0.1;maddr=192.168.1.1;lr>",), False),
        ("sip:bob@192.168.1.5", ("<sip:proxy.example.net;maddr=127.0.0.1;lr>",), False),
        ("sip:bob@192.168.1.5", ("<sip:proxy.example.net;lr>",), True),
        ("sip:bob@phone.example.com;transport=tcp", ("<sip:192.168.1.1;lr>",), False),
        ("sip:bob@phone.example.com;transport=tcp", ("nonsense",), False),
    ],
)
def test_a_lost_flow_is_replaced_only_by_ways_that_are_safe(
    target: str, routes: tuple[str, ...], leads: bool
) -> None:
    assert (topology().detour(target, routes) is not None) is leads


@pytest.mark.parametrize(
    ("hop", "address", "allowed"),
    [
        ("sip:phone.example.com;transport=tcp", "8.8.8.8", True),
        ("sip:phone.example.com;transport=tcp", "127.0.0.1", False),
        ("sip:phone.example.com;transport=tcp", "192.168.1.1", False),
        ("sip:phone.example.com;transport=tcp", "169.254.169.254", False),
        ("sip:phone.example.com;transport=tcp", "::1", False),
        ("sip:phone.example.com;transport=tcp", "64:ff9b::7f00:1", False),
        ("sip:phone.example.com;transport=tcp", "10.0.0.7", True),  # a trusted peer
        ("sip:proxy.example.net", "192.168.1.1", True),
        ("sip:proxy.example.net;maddr=192.168.1.1", "192.168.1.1", False),
    ],
)
def test_dns_makes_no_forbidden_address_of_a_strangers_name(hop: str, address: str, allowed: bool) -> None:
    assert topology().allows(parse_uri(hop), Target("tcp", address, 5060, "x")) is allowed


@pytest.mark.parametrize(
    ("port", "allowed"), [(5060, True), (1024, True), (443, True), (25, False), (22, False)]
)
def test_no_strangers_name_leads_to_what_is_no_sip(port: int, allowed: bool) -> None:
    hop = parse_uri("sip:phone.example.com;transport=tcp")
    assert topology().allows(hop, Target("tcp", "8.8.8.8", port, "x")) is allowed
    assert topology().allows(hop, Target("tcp", "10.0.0.7", port, "x"))


def test_a_route_is_a_flow_that_survives_the_bus() -> None:
    way = routed("sip:10.0.0.1:5070;transport=tcp;lr")
    assert parse_flow(str(way)) == way
    assert way.routed
    assert way.remote == "sip:10.0.0.1:5070;transport=tcp;lr"


# --- loops ----------------------------------------------------------------------------------------


def test_our_own_branches_are_known_again_by_every_process_with_our_secret() -> None:
    mark = branch_mark(b"secret")
    mine = f"SIP/2.0/UDP gateway.example.org;branch={new_branch(mark)}"
    assert branch_mark(b"secret") == mark != branch_mark(b"another")
    assert has_been_here(request(vias=(TOP, mine)), mark)
    assert has_been_here(request(vias=(f"{TOP}, {mine}",)), mark)
    assert not has_been_here(request(vias=(TOP, PHONE)), mark)


@pytest.mark.parametrize(("given", "left"), [("70", 69), ("1", 0), ("0", 0), ("255", HOPS - 1), ("", HOPS)])
def test_hops_are_counted_over_the_bridge(given: str, left: int) -> None:
    fields: dict[str, Any] = {"Max_Forwards": given} if given else {}
    assert hops_left(request(**fields)) == left
