"""xmpp/component.py: who is given what is meant for a component, and what its people may do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from presence.address import Address
from presence.errors import Unavailable
from presence.memory import MemoryBus
from presence.messages import InstantMessage
from presence.model import Text
from presence.ports import Endpoint, EndpointKind, Lease, RosterChange, Update
from presence.subscriptions import RosterItem, Subscription
from tests.xmpp.echo import MemoryAccounts
from tests.xmpp.scene import Client, Scene, address, bare
from tests.xmpp.test_archive import asked, form
from tests.xmpp.test_carbons import carbons, enable
from tests.xmpp.test_login_guard import Watchman
from xmpp.component import NS, Component, ComponentNegotiation, ComponentSession, handshake
from xmpp.effects import Bound, Close, Opened
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StanzaError
from xmpp.jid import parse_jid
from xmpp.message import SID_NS
from xmpp.pubsub import NS as PUBSUB_NS
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
    await house.settle()
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


async def test_a_resource_of_its_people_that_is_blocked_learns_nothing(xmpp: Scene) -> None:
    """XEP-0191 §5."""
    await xmpp.people("alice")
    program = await connected(xmpp)
    alice = await xmpp.online("alice")
    bob = Address("bob", IRC)
    item = RosterItem(contact=bob, subscription=Subscription.BOTH, listed=True)
    await xmpp.store.save([RosterChange(owner=address("alice"), previous=RosterItem(contact=bob), item=item)])
    await alice.ask("set", E("vCard", "vcard-temp", {}, E("NOTE", "vcard-temp", {}, "hi")))
    blocked = E("item", "urn:xmpp:blocking", {"jid": f"bob@{IRC}/bad"})
    await alice.ask("set", E("block", "urn:xmpp:blocking", {}, blocked))
    program.client.heard()
    for resource, type_, answers in (("good", "result", 1), ("bad", "error", 0)):
        asking = f"bob@{IRC}/{resource}"
        (answer,) = await program.say(ask(bare("alice"), E("vCard", "vcard-temp")), asking)
        assert answer.get("type") == type_
        probe = E("presence", CLIENT_NS, {"type": "probe", "to": bare("alice")})
        assert len(await program.say(probe, asking)) == answers


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


# --- what people say to each other -------------------------------------------------------------------

HINTS = "urn:xmpp:hints"
THERE = f"bob@{IRC}"


@pytest.fixture
async def program(xmpp: Scene) -> Program:
    """In a process where nobody else is."""
    await xmpp.people("alice")
    return await connected(xmpp, "xmpp-3")


@pytest.fixture
async def alice(xmpp: Scene, program: Program) -> Client:
    await xmpp.node("xmpp-1", components=(SECRET,))
    return await xmpp.online("alice")


@pytest.fixture
async def other(xmpp: Scene, alice: Client) -> Client:
    """Alice's other client, in another process."""
    await xmpp.node("xmpp-2", components=(SECRET,))
    client = await xmpp.online("alice", "sofa", "xmpp-2")
    await enable(client)
    client.heard()
    alice.heard()
    return client


def spoken(to: str, text: str, *children: Element, type_: str = "chat", id_: str = "m1") -> Element:
    body = E("body", CLIENT_NS, {}, text)
    return E("message", CLIENT_NS, {"type": type_, "to": to, "id": id_}, body, *children)


def ids(stanza: Element) -> list[tuple[str, str]]:
    """Who gave the stable ids of a message, and which (XEP-0359)."""
    return [(each.get("by"), each.get("id")) for each in stanza.findall("stanza-id", SID_NS)]


async def test_what_is_said_to_a_component_is_in_the_archive_and_in_the_carbon_with_one_id(
    xmpp: Scene, program: Program, alice: Client, other: Client
) -> None:
    extra = E("active", "http://jabber.org/protocol/chatstates")
    await alice.say(spoken(f"{THERE}/nick", "Hello, <Bob> & friends", extra))
    (heard,) = program.client.heard()
    assert (heard.get("from"), heard.get("to"), heard.get("id")) == (alice.jid, f"{THERE}/nick", "m1")
    assert (heard.get("type"), heard.find("active", extra.ns) is not None) == ("chat", True)
    assert ids(heard) == []  # nobody gives ids in the name of a component's user
    ((way, carbon),) = carbons(other)
    archive = await asked(alice, form(**{"with": THERE}))
    (kept,) = archive.messages
    assert (way, archive.texts) == ("sent", ["Hello, <Bob> & friends"])
    assert ids(carbon) == ids(kept) == [(bare("alice"), archive.ids[0])]
    for each in (heard, carbon, kept):
        body = each.find("body")
        assert body is not None
        assert body.text == "Hello, <Bob> & friends"


@pytest.mark.parametrize("resource", ["", "/desk"])
async def test_what_a_component_says_is_in_the_archive_and_live_with_one_id(
    xmpp: Scene, program: Program, alice: Client, other: Client, resource: str
) -> None:
    await program.say(spoken(bare("alice") + resource, "hi"), f"{THERE}/nick")
    (live,) = alice.heard("message")
    copied = [inner for way, inner in carbons(other) if way == "received"] if resource else other.heard()
    archive = await asked(alice)
    (kept,) = archive.messages
    (copy,) = copied
    assert ids(live) == ids(copy) == ids(kept) == [(bare("alice"), archive.ids[0])]
    assert {each.get("from") for each in (live, copy, kept)} == {f"{THERE}/nick"}


@pytest.mark.parametrize(
    ("type_", "hint", "kept", "copied"),
    [
        ("chat", "", True, True),
        ("normal", "", True, True),
        ("headline", "", False, False),
        ("groupchat", "", False, False),
        ("chat", "no-store", False, True),
        ("chat", "no-permanent-store", False, True),
        ("chat", "no-copy", True, False),
    ],
)
async def test_types_and_hints_count_for_components_as_for_everybody(
    xmpp: Scene,
    program: Program,
    alice: Client,
    other: Client,
    type_: str,
    hint: str,
    kept: bool,
    copied: bool,
) -> None:
    """XEP-0313 §6, XEP-0280 §6.1, XEP-0334 §4."""
    hints = [E(hint, HINTS)] if hint else []
    await alice.say(spoken(THERE, "hi", *hints, type_=type_))
    assert len(program.client.heard("message")) == 1
    assert (bool((await asked(alice)).texts), bool(carbons(other))) == (kept, copied)


async def test_a_component_is_told_things_in_their_order(xmpp: Scene) -> None:
    """RFC 6120 §10.1: last words come before the farewell, also where all are in one process."""
    await xmpp.people("alice")
    program = await connected(xmpp)
    alice = await xmpp.online("alice")
    for number in range(3):
        leave = E("presence", CLIENT_NS, {"type": "unavailable", "to": THERE, "id": f"p{number}"})
        await alice.say(spoken(THERE, "bye", id_=f"m{number}"), leave)
    heard = [each.get("id") for each in program.client.heard()]
    assert heard == ["m0", "p0", "m1", "p1", "m2", "p2"]


async def test_what_is_published_comes_to_its_people_as_messages(xmpp: Scene) -> None:
    """XEP-0163 §4.3.2: to the bare JID, as nothing is known of their clients."""
    await xmpp.people("alice")
    program = await connected(xmpp)
    alice = await xmpp.online("alice")
    friend = Address("friend", IRC)
    item = RosterItem(contact=friend, subscription=Subscription.FROM, listed=True)
    change = RosterChange(owner=address("alice"), previous=RosterItem(contact=friend), item=item)
    await xmpp.store.save([change])
    payload = E("item", PUBSUB_NS, {"id": "1"}, E("tune", "http://jabber.org/protocol/tune"))
    publish = E("publish", PUBSUB_NS, {"node": "http://jabber.org/protocol/tune"}, payload)
    await alice.ask("set", E("pubsub", PUBSUB_NS, {}, publish))
    (told,) = program.client.heard()
    assert (told.name, told.get("from"), told.get("to")) == ("message", bare("alice"), str(friend))
    assert told.get("type") == "headline"


async def test_what_is_said_while_the_program_is_away_comes_back_and_is_nowhere_else(
    xmpp: Scene, program: Program, alice: Client, other: Client
) -> None:
    await program.session.closed("lost")
    await xmpp.settle()
    await alice.say(spoken(THERE, "anybody?"))
    (bounced,) = alice.heard("message")
    error = bounced.find("error")
    assert error is not None
    assert (bounced.get("from"), bounced.get("id")) == (THERE, "m1")
    assert (error.get("type"), error.elements[0].name) == ("wait", "remote-server-timeout")
    assert carbons(other) == []
    assert (await asked(alice)).texts == []
    back = await connected(xmpp, "xmpp-3")
    await alice.say(spoken(THERE, "and now?"))
    assert [body.text for m in back.client.heard() if (body := m.find("body"))] == ["and now?"]


async def test_who_said_something_just_as_the_program_left_is_told(
    xmpp: Scene, program: Program, alice: Client
) -> None:
    """It is on the bus already when the connection ends: delivered to a process that has none."""
    alice.session.runtime.spawn(alice.session.receive(spoken(THERE, "wait!")))
    await xmpp.runtimes["xmpp-1"].idle()
    await program.session.closed("lost")
    await xmpp.settle()
    (bounced,) = alice.heard("message")
    error = bounced.find("error")
    assert error is not None
    assert (bounced.get("type"), bounced.get("id")) == ("error", "m1")
    assert error.elements[0].name == "remote-server-timeout"


async def test_a_phones_words_reach_a_component_and_its_words_the_phone(
    xmpp: Scene, program: Program, alice: Client
) -> None:
    """The phone's door is played by the test; all that is between them is the bus."""
    lease = Lease(owner="sip-1/i1")
    phone = Endpoint(id="sip:phone", kind=EndpointKind.SIP, node="sip-1", lease=lease)
    service = alice.session.router.service
    await service.publish(address("alice"), Update(put_endpoints=(phone,)))
    said = InstantMessage(
        id="", trace="", created=0.0, sender=address("alice"), sender_endpoint="sip:phone",
        sender_tuple="phone", recipient=Address("bob", IRC), bodies=(Text("Moin"),),
    )  # fmt: skip
    await service.submit(said)
    await xmpp.settle()
    (heard,) = program.client.heard()
    body = heard.find("body")
    assert body is not None
    assert (heard.get("from"), heard.get("to"), body.text) == (f"{bare('alice')}/phone", THERE, "Moin")
    await program.say(spoken(heard.get("from"), "Tach"), THERE)
    (answer,) = [each.message for each in xmpp.bus.drain("sip-1")]  # type: ignore[union-attr]
    assert (answer.sender, answer.bodies) == (Address("bob", IRC), (Text("Tach"),))
    assert (await asked(alice)).texts == ["Moin", "Tach"]


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
