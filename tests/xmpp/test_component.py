"""xmpp/component.py: who is given what is meant for a component, and what its people may do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from presence.errors import Unavailable
from presence.memory import MemoryBus
from tests.xmpp.echo import MemoryAccounts
from tests.xmpp.scene import Client, Scene, bare
from tests.xmpp.test_login_guard import Watchman
from xmpp.component import NS, Component, ComponentNegotiation, ComponentSession, handshake
from xmpp.effects import Bound, Close, Opened
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StanzaError
from xmpp.jid import parse_jid
from xmpp.message import SID_NS
from xmpp.realm import Realm
from xmpp.relay import Carried
from xmpp.stream import StanzaReceived, StreamOpened

IRC = "irc.example.org"


class Flaky(MemoryBus):
    """A bus that is away when the test says so."""

    away = False

    async def commit(self, *args: Any, **kwargs: Any) -> Any:
        if self.away:
            raise Unavailable("the bus is away")
        return await super().commit(*args, **kwargs)


def said() -> Carried:
    return Carried("message", "", "alice@example.org/desk", f"bob@{IRC}", "m1", b"<message/>")


async def test_a_connection_that_could_not_be_made_known_is_given_nothing(xmpp: Scene) -> None:
    bus = Flaky(clock=xmpp.clock)
    house = Scene(bus, xmpp.store, xmpp.accounts, xmpp.clock)
    router = await house.node("xmpp-1", components=({"domain": IRC, "secret": "s"},))
    component = router.hosted[parse_jid(IRC).domain]
    assert isinstance(component, Component)
    lost, program = Client(house), Client(house)
    bus.away = True
    with pytest.raises(Unavailable):
        await component.open(lost)
    bus.away = False
    with pytest.raises(StanzaError, match="not connected"):
        await component.carry(said())
    await component.open(program)
    await component.carry(said())
    assert (lost.raw, program.raw) == ([], [b"<message/>"])


SECRET = {"domain": IRC, "secret": "s"}


async def component(xmpp: Scene, node: str = "xmpp-1", **settings: Any) -> Component:
    found = (await xmpp.node(node, components=(SECRET,), **settings)).hosted[IRC]
    assert isinstance(found, Component)
    return found


class Program:
    """What is behind a component's connection."""

    def __init__(self, xmpp: Scene, client: Client, session: ComponentSession) -> None:
        self.xmpp = xmpp
        self.client = client
        self.session = session

    async def say(self, stanza: Element, sender: str) -> list[Element]:
        """Returns what it hears then."""
        stanza.attrs["from"] = sender
        await self.session.receive(stanza)
        await self.xmpp.settle()
        return self.client.heard()


async def connected(xmpp: Scene, node: str = "xmpp-1", **settings: Any) -> Program:
    client = Client(xmpp)
    session = await (await component(xmpp, node, **settings)).open(client)
    await xmpp.settle()
    return Program(xmpp, client, session)


def ask(to: str, payload: Element, type_: str = "get") -> Element:
    return E("iq", CLIENT_NS, {"type": type_, "id": "q1", "to": to}, payload)


async def test_the_program_has_one_connection_in_all_processes(xmpp: Scene) -> None:
    """XEP-0114 has one; what is meant for it goes to the one that came last."""
    first = await connected(xmpp)
    second = await connected(xmpp, "xmpp-2")
    assert first.client.ended is not None
    assert first.client.ended.condition == "conflict"
    await first.session.closed("conflict")
    await xmpp.settle()
    for node in ("xmpp-1", "xmpp-2"):
        await (await component(xmpp, node)).carry(said())
    await xmpp.settle()
    assert (first.client.raw, len(second.client.raw), second.client.ended) == ([], 2, None)
    third = await connected(xmpp)
    assert second.client.ended is not None
    assert third.client.ended is None


async def test_its_people_ask_clients_only_where_they_are_let_see(xmpp: Scene) -> None:
    """RFC 6121 §8.5.3.1. The component itself is the operator's."""
    await xmpp.people("alice")
    program = await connected(xmpp)
    alice = await xmpp.online("alice")
    question = E("query", "jabber:iq:version")
    (refused,) = await program.say(ask(alice.jid, question), f"mallory@{IRC}/x")
    assert (refused.get("type"), refused.get("to"), alice.heard()) == ("error", f"mallory@{IRC}/x", [])
    await program.say(ask(alice.jid, question), IRC)
    assert [each.get("from") for each in alice.heard()] == [IRC]
    await alice.here(to=f"friend@{IRC}")
    program.client.heard()
    await program.say(ask(alice.jid, question), f"friend@{IRC}/x")
    assert [each.get("from") for each in alice.heard()] == [f"friend@{IRC}/x"]


async def test_its_people_are_told_what_strangers_may_know_and_no_passwords(xmpp: Scene) -> None:
    await xmpp.people("alice")
    program = await connected(xmpp, relays=("turn:turn.example.org",), relay_secret="s")
    for payload in (
        E("services", "urn:xmpp:extdisco:2"),
        E("query", "jabber:iq:register"),
        E("query", "jabber:iq:roster"),
    ):
        (answer,) = await program.say(ask("example.org", payload), f"bob@{IRC}")
        assert answer.get("type") == "error", payload.ns
    for payload in (E("query", "jabber:iq:version"), E("ping", "urn:xmpp:ping")):
        (answer,) = await program.say(ask("example.org", payload), f"bob@{IRC}")
        assert answer.get("type") == "result", payload.ns
    nodes = E("query", "http://jabber.org/protocol/disco#info")
    (answer,) = await program.say(ask("example.org", nodes), f"bob@{IRC}")
    assert answer.get("type") == "result"


async def test_it_gives_no_message_ids_in_an_accounts_name(xmpp: Scene) -> None:
    await xmpp.people("alice")
    program = await connected(xmpp)
    alice = await xmpp.online("alice")
    for type_ in ("chat", "headline"):
        forged = E("stanza-id", SID_NS, {"by": "ALICE@example.org", "id": "forged"})
        body = E("body", CLIENT_NS, {}, "hi")
        attrs = {"type": type_, "to": alice.jid if type_ == "headline" else bare("alice")}
        await program.say(E("message", CLIENT_NS, attrs, body, forged), f"bob@{IRC}")
        (heard,) = alice.heard("message")
        assert "forged" not in [each.get("id") for each in heard.findall("stanza-id", SID_NS)]


# --- the way in --------------------------------------------------------------------------------------


async def shake_hands(xmpp: Scene, guard: Watchman, secret: str) -> list[object]:
    """Everything the program hears of its handshake."""
    found = await component(xmpp)
    realm = Realm(found.router.settings, (IRC,), MemoryAccounts(), found.router, guard=guard)
    negotiation = ComponentNegotiation(dataclasses.replace(realm), Client(xmpp), {IRC: found})
    (opened,) = await negotiation.receive(StreamOpened(IRC, "", "", ""))
    assert isinstance(opened, Opened)
    shaken = E("handshake", NS, {}, handshake(opened.id, secret) if secret != "ä" else "ä")
    return [*await negotiation.receive(StanzaReceived(shaken))]


@pytest.mark.parametrize("secret", ["wrong", "ä"])
async def test_the_guard_hears_of_wrong_handshakes(xmpp: Scene, secret: str) -> None:
    guard = Watchman()
    (refused,) = await shake_hands(xmpp, guard, secret)
    assert isinstance(refused, Close)
    assert refused.error is not None
    assert refused.error.condition == "not-authorized"
    assert guard.heard == [("wait", "test", IRC), ("failed", "test", IRC)]


async def test_who_guessed_too_often_is_not_asked_for_a_while(xmpp: Scene) -> None:
    (refused,) = await shake_hands(xmpp, Watchman(12.3), "s")
    assert isinstance(refused, Close)
    assert refused.error is not None
    assert refused.error.condition == "policy-violation"
    assert isinstance((await shake_hands(xmpp, Watchman(), "s"))[-1], Bound)
