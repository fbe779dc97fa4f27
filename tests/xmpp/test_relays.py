"""XEP-0215: which relays a client is told, and with what credentials."""

from __future__ import annotations

import base64
import hmac

import pytest

from tests.xmpp.scene import Scene
from xmpp.element import E, Element
from xmpp.relays import Relay, Ticket, issue, parse_relay, record
from xmpp.settings import XmppSettings

NS = "urn:xmpp:extdisco:2"
RELAYS = ("stun:relay.example.org", "turn:relay.example.org:3479?transport=tcp", "turns:[2001:db8::1]")


@pytest.mark.parametrize(
    ("text", "relay"),
    [
        ("stun:a.example", Relay("stun", "a.example", 3478, "udp")),
        ("stuns:a.example", Relay("stuns", "a.example", 5349, "tcp")),
        ("turn:192.0.2.1:99", Relay("turn", "192.0.2.1", 99, "udp")),
        ("turn:a.example?transport=tcp", Relay("turn", "a.example", 3478, "tcp")),
        ("turns:[2001:db8::1]:7?transport=udp", Relay("turns", "2001:db8::1", 7, "udp")),
    ],
)
def test_relays_are_written_as_uris(text: str, relay: Relay) -> None:
    assert parse_relay(text) == relay


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("stun:a.example", "_stun._udp.example.org. IN SRV 0 0 3478 a.example."),
        ("turn:a.example:99?transport=tcp", "_turn._tcp.example.org. IN SRV 0 0 99 a.example."),
        ("turns:a.example", "_turns._tcp.example.org. IN SRV 0 0 5349 a.example."),
        ("turn:192.0.2.1", ""),
        ("turn:[2001:db8::1]", ""),
    ],
)
def test_a_relay_with_a_name_can_be_found_in_dns(text: str, line: str) -> None:
    assert record(parse_relay(text), "example.org") == line


@pytest.mark.parametrize(
    "text", ["a.example", "http:a", "turn:", "turn:a:0", "turn:a:x", "turn:a?transport=sctp", "turn:[::1"]
)
def test_what_is_no_relay_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ValueError, match=r"wanted|brackets"):
        XmppSettings(relays=(text,))


def test_a_ticket_is_what_coturn_computes() -> None:
    made = hmac.digest(b"north", b"1000600:alice@example.org", "sha1")
    assert issue("north", "alice@example.org", 600, 1_000_000.9) == Ticket(
        "1000600:alice@example.org", base64.b64encode(made).decode(), 1_000_600
    )


async def services(xmpp: Scene, query: Element, **settings: object) -> Element:
    await xmpp.people("alice")
    await xmpp.node("xmpp-1", relays=RELAYS, **settings)
    alice = await xmpp.connect("alice")
    answer = await alice.ask("get", query, to="example.org")
    return answer.elements[-1]


async def test_all_relays_are_listed_with_credentials_for_those_that_need_them(xmpp: Scene) -> None:
    listed = await services(xmpp, E("services", NS), relay_secret="north", relay_lifetime=600)
    stun, turn, turns = (service.attrs for service in listed.elements)
    assert stun == {"type": "stun", "host": "relay.example.org", "port": "3478", "transport": "udp"}
    assert (turns["host"], turns["port"], turns["transport"]) == ("2001:db8::1", "5349", "tcp")
    expires = int(turn["username"].partition(":")[0])
    assert issue("north", "alice@example.org", 600, expires - 600) == Ticket(
        turn["username"], turn["password"], expires
    )
    assert turn["restricted"] == "1"
    assert turn["expires"].endswith("Z")


async def test_without_a_shared_secret_the_client_takes_its_own_password(xmpp: Scene) -> None:
    listed = await services(xmpp, E("services", NS, {"type": "turn"}))
    (turn,) = listed.elements
    assert (turn.get("username"), turn.get("password"), turn.get("restricted")) == ("alice", "", "1")


async def test_credentials_of_one_service_can_be_asked_for(xmpp: Scene) -> None:
    asked = E("service", NS, {"host": "relay.example.org", "type": "turn"})
    given = await services(xmpp, E("credentials", NS, {}, asked), relay_secret="north")
    (turn,) = given.elements
    assert turn.get("password")


async def test_an_unknown_service_has_none(xmpp: Scene) -> None:
    asked = E("service", NS, {"host": "elsewhere.example", "type": "turn"})
    error = await services(xmpp, E("credentials", NS, {}, asked))
    assert (error.name, error.elements[0].name) == ("error", "item-not-found")
