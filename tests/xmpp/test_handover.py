"""XEP-0198 §5: a session goes to whichever process its client comes back to."""

from __future__ import annotations

import asyncio

import pytest

from presence.ports import Relay
from tests.xmpp.managing import acknowledge, bodies, enable, managed, pending, resume
from tests.xmpp.rooms_scene import TEA, opened, say, summary, three
from tests.xmpp.scene import Client, Scene, address, bare
from tests.xmpp.test_pep import TUNE, events, interested, publish, tune
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StreamError
from xmpp.extensions.xep_0280_carbons import NS as CARBONS
from xmpp.handover import JOURNEY_TIME, REST_TIME
from xmpp.host import Resumed
from xmpp.jid import parse_jid
from xmpp.management import NS
from xmpp.push import NS as PUSH
from xmpp.relay import opened as carried

ONE, TWO = "xmpp-1", "xmpp-2"
Asked = asyncio.Future[Resumed | Element]


async def moved(xmpp: Scene, user: str, id: str, h: int) -> Client:
    client, answer = await resume(xmpp, user, id, h, node=TWO)
    assert answer.name == "resumed", answer
    return client


async def pump(xmpp: Scene, node: str) -> list[str]:
    """Let one process alone read its inbox; the words between processes it found there."""
    router, words = xmpp.nodes[node], []
    for envelope in await xmpp.bus.receive(node, 0):
        words += [carried(envelope).name] if isinstance(envelope, Relay) else []
        router.receive(envelope)  # type: ignore[arg-type]
    await xmpp.runtimes[node].idle()
    return words


def shown(client: Client) -> list[tuple[str, str]]:
    """Presence: from whom, and its type."""
    return [(p.get("from"), p.get("type")) for p in client.heard("presence")]


async def test_what_was_not_acknowledged_follows_and_is_sent_once(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await bob.message(bare("alice"), "taken")
    await acknowledge(alice, 2)
    await bob.message(bare("alice"), "lost on the way")
    await alice.message(bare("bob"), "before")
    bob.heard()
    await alice.gone()
    await bob.message(bare("alice"), "while away")
    again, answer = await resume(xmpp, "alice", id, 2, node=TWO)
    assert (answer.get("previd"), answer.get("h")) == (id, "1")
    assert bodies(again) == ["lost on the way", "while away"]
    assert xmpp.nodes[ONE].sessions_of(address("alice")) == []
    (endpoint,) = await xmpp.bus.endpoints(address("alice"), xmpp.clock())
    assert (endpoint.id, endpoint.node, endpoint.eligible) == ("xmpp:desk", TWO, True)
    await bob.message(bare("alice"), "here again")
    assert bodies(again) == ["here again"]
    assert await pending(xmpp, "alice") == 3
    await acknowledge(again, 5)
    assert await pending(xmpp, "alice") == 0
    await again.message(bare("bob"), "after")
    assert bodies(bob) == ["after"]
    await again.say_raw(E("r", NS))
    assert [e.get("h") for e in again.heard() if e.name == "a"] == ["2"]


async def test_what_the_client_says_to_have_is_not_sent_again(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await bob.message(bare("alice"), "one")
    await bob.message(bare("alice"), "two")
    await alice.gone()
    again = await moved(xmpp, "alice", id, 2)
    assert bodies(again) == ["two"]
    await acknowledge(again, 3)
    assert await pending(xmpp, "alice") == 0
    await xmpp.wait(60)
    assert bodies(again) == []


async def test_it_goes_back_and_forth(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    for number, node in enumerate((TWO, ONE, "xmpp-3", TWO)):
        await alice.gone()
        await bob.message(bare("alice"), str(number))
        alice, answer = await resume(xmpp, "alice", id, number + 1, node=node)
        assert answer.name == "resumed"
        assert bodies(alice) == [str(number)]
    await acknowledge(alice, 5)
    assert await pending(xmpp, "alice") == 0


async def test_a_connection_that_still_looks_alive_is_closed_and_nobody_sees_anything(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await alice.here(E("show", CLIENT_NS, {}, "away"))
    bob.heard()
    again = await moved(xmpp, "alice", id, 1)
    assert alice.ended is not None
    assert alice.ended.condition == "conflict"
    await alice.gone("conflict")
    assert bob.heard() == []
    assert [s.jid.resource for s in xmpp.nodes[TWO].sessions_of(address("alice"))] == ["desk"]
    await again.gone("closed")
    assert shown(bob) == [(again.jid, "unavailable")]


async def test_what_was_under_way_is_counted(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice, id = await managed(xmpp, "alice")
    begun = alice.session.progress.begin()
    await alice.gone()
    router = await xmpp.node(TWO)
    element = E("resume", NS, {"previd": id, "h": "0"})
    answer = router.threshold().negotiable[NS](address("alice"), element, Client(xmpp), "en")
    asked = asyncio.ensure_future(answer)
    await asyncio.sleep(0)
    for envelope in await xmpp.bus.receive(ONE, 0):
        xmpp.nodes[ONE].receive(envelope)  # type: ignore[arg-type]
    for _ in range(10):
        await asyncio.sleep(0)
    assert await xmpp.bus.receive(TWO, 0) == []
    alice.session.progress.done(begun)
    while not asked.done():
        await xmpp.settle()
        await asyncio.sleep(0)
    resumed = await asked
    assert isinstance(resumed, Resumed)
    assert resumed.answer.get("h") == "1"


# --- what comes while it is on its way -------------------------------------------------------------------


async def begin_move(xmpp: Scene, user: str, id: str, h: int) -> tuple[Client, Asked]:
    """As far as the session was given away."""
    router, client = await xmpp.node(TWO), Client(xmpp)
    element = E("resume", NS, {"previd": id, "h": str(h)})
    asked = asyncio.ensure_future(router.threshold().negotiable[NS](address(user), element, client, "en"))
    await asyncio.sleep(0)
    assert await pump(xmpp, ONE) == ["sm-ask"]
    return client, asked


async def end_move(xmpp: Scene, client: Client, asked: Asked) -> Client:
    while not asked.done():
        await xmpp.settle()
        await asyncio.sleep(0)
    answer = await asked
    assert isinstance(answer, Resumed)
    client._session = xmpp.nodes[TWO].session(answer.session.jid)
    await xmpp.settle()
    return client


async def quiet(xmpp: Scene, client: Client, *stanzas: Element) -> None:
    """Send, and let the client's own process alone work."""
    for stanza in stanzas:
        stanza.attrs["from"] = client.jid
        await client.session.receive(stanza)
    await xmpp.runtimes[ONE].idle()
    await pump(xmpp, ONE)


async def test_what_comes_meanwhile_comes_once_and_in_order(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await alice.gone()
    await bob.message(bare("alice"), "first")
    client, asked = await begin_move(xmpp, "alice", id, 1)

    def chat(text: str) -> Element:
        return E("message", CLIENT_NS, {"type": "chat", "to": bare("alice")}, E("body", CLIENT_NS, {}, text))

    ping = E("iq", CLIENT_NS, {"type": "get", "id": "p", "to": alice.jid}, E("ping", "urn:xmpp:ping"))
    away = E("presence", CLIENT_NS, {}, E("show", CLIENT_NS, {}, "away"))
    await quiet(xmpp, bob, chat("second"), ping, away, chat("third"))
    again = await end_move(xmpp, client, asked)
    heard = again.heard()
    said = [b.text for m in heard if m.name == "message" and (b := m.find("body")) is not None]
    assert said == ["first", "second", "third"]
    assert [m.get("id") for m in heard if m.name == "iq"] == ["p"]
    shows = [show.text for p in heard if p.name == "presence" and (show := p.find("show")) is not None]
    assert set(shows) == {"away"}
    assert await pending(xmpp, "alice") == 3
    h = 1 + len([stanza for stanza in heard if stanza.ns == CLIENT_NS])
    await acknowledge(again, h)
    assert await pending(xmpp, "alice") == 0


async def test_whoever_left_meanwhile_is_shown_to_have_left(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob", "carol")
    await xmpp.online("bob")
    await xmpp.online("carol")
    alice = await xmpp.online_and_hear("alice")
    id = (await enable(alice)).get("id")
    await alice.gone()
    client, asked = await begin_move(xmpp, "alice", id, 0)
    (bob,) = xmpp.nodes[ONE].sessions_of(address("bob"))
    await bob.closed("lost")
    await xmpp.runtimes[ONE].idle()
    await xmpp.bus.receive(ONE, 0)  # this process never hears of it
    again = await end_move(xmpp, client, asked)
    assert (f"{bare('bob')}/desk", "unavailable") in shown(again)


async def test_only_what_has_changed_is_shown_anew(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob", "carol")
    await xmpp.online("bob")
    await xmpp.online("carol")
    alice = await xmpp.online_and_hear("alice")
    id = (await enable(alice)).get("id")
    await alice.gone()
    again = await moved(xmpp, "alice", id, 0)
    assert {sender for sender, _ in shown(again)} <= {again.jid}


async def test_who_may_not_be_seen_any_more_is_not(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    bob = await xmpp.online("bob")
    alice = await xmpp.online_and_hear("alice")
    id = (await enable(alice)).get("id")
    await alice.gone()
    client, asked = await begin_move(xmpp, "alice", id, 0)
    await quiet(xmpp, bob, E("presence", CLIENT_NS, {"type": "unsubscribed", "to": bare("alice")}))
    again = await end_move(xmpp, client, asked)
    assert (bob.jid, "unavailable") in shown(again)
    await bob.here(E("show", CLIENT_NS, {}, "away"))
    assert again.heard("presence") == []


async def test_who_never_takes_it_leaves_it_where_it_was(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await alice.gone()
    await bob.message(bare("alice"), "first")
    _, asked = await begin_move(xmpp, "alice", id, 1)
    await xmpp.bus.receive(TWO, 0)  # kill -9
    asked.cancel()
    await bob.message(bare("alice"), "second")
    _, failed = await resume(xmpp, "alice", id, 1)
    assert failed.name == "failed"
    await xmpp.wait(JOURNEY_TIME)
    again, answer = await resume(xmpp, "alice", id, 1)
    assert answer.name == "resumed"
    assert bodies(again) == ["first", "second"]
    await acknowledge(again, 3)
    assert await pending(xmpp, "alice") == 0


async def test_what_follows_is_not_waited_for_for_ever(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob", node="xmpp-3")
    await alice.gone()
    client, asked = await begin_move(xmpp, "alice", id, 1)
    while not asked.done():
        await pump(xmpp, TWO)
        await asyncio.sleep(0)
    resumed = await asked
    assert isinstance(resumed, Resumed)
    client._session = xmpp.nodes[TWO].session(resumed.session.jid)
    del xmpp.nodes[ONE]  # kill -9
    await bob.message(bare("alice"), "hello")
    assert bodies(client) == []
    await xmpp.wait(REST_TIME)
    assert bodies(client) == ["hello"]


async def test_what_waits_for_it_is_bounded_as_all_that_a_session_owes(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    await xmpp.node(TWO, max_unacknowledged=100)
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob", node="xmpp-3")
    await alice.gone()
    client, asked = await begin_move(xmpp, "alice", id, 1)
    while not asked.done():
        await pump(xmpp, TWO)
        await asyncio.sleep(0)
    resumed = await asked
    assert isinstance(resumed, Resumed)
    client._session = xmpp.nodes[TWO].session(resumed.session.jid)
    del xmpp.nodes[ONE]  # kill -9
    for number in range(100):
        await bob.message(bare("alice"), str(number))
    assert bodies(client) == []
    await bob.message(bare("alice"), "one too many")
    assert client.ended is not None
    assert client.ended.condition == "policy-violation"
    await client.gone("policy-violation")
    assert await pending(xmpp, "alice") == 101


# --- what the session is -------------------------------------------------------------------------------


async def test_what_extensions_keep_goes_along(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    other = await xmpp.online("alice", "other")
    await alice.ask("set", E("enable", CARBONS))
    await alice.ask("get", E("blocklist", "urn:xmpp:blocking"))
    await alice.ask("set", E("enable", PUSH, {"jid": f"{bare('bob')}/push", "node": "n"}))
    await alice.here(to=f"{bare('bob')}/nowhere")
    before = alice.session
    again = await moved(xmpp, "alice", id, 1)
    session = again.session
    assert CARBONS in session.extra
    assert session.interested
    assert session.extra[PUSH] == before.extra[PUSH]
    assert list(session.availability.directed) == [f"{bare('bob')}/nowhere"]
    again.heard()
    await other.message(bare("bob"), "copied")
    assert [m.elements[0].name for m in again.heard("message")] == ["sent"]
    carol = E("item", "urn:xmpp:blocking", {"jid": bare("carol")})
    await other.ask("set", E("block", "urn:xmpp:blocking", {}, carol))
    assert [iq.elements[0].name for iq in again.heard("iq")] == ["block"]


async def test_what_the_client_wants_to_hear_of_goes_along(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await interested(xmpp, "alice")
    bob = await xmpp.online("bob")
    id = (await enable(alice)).get("id")
    again = await moved(xmpp, "alice", id, 0)
    again.heard()
    await publish(bob, tune("So long"), "1")
    assert [(topic, said) for _, topic, said in events(again)] == [(TUNE, "So long")]


async def test_it_stays_in_its_rooms_and_nobody_sees_it_move(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    id = (await enable(alice)).get("id")
    await say(bob, "one")
    bob.heard()
    await alice.gone()
    await say(bob, "two")
    again, answer = await resume(xmpp, "alice", id, 1, node=TWO)
    assert answer.name == "resumed"
    await say(bob, "three")
    said = [summary(m) for m in again.heard("message")]
    assert said == ["message-groupchat bob two", "message-groupchat bob three"]
    assert bob.heard("presence") == []
    bob.heard()
    await say(again, "four")
    assert [summary(m) for m in bob.heard()] == ["message-groupchat ali four"]
    again.heard()
    await xmpp.bus.sweep(ONE, None, xmpp.clock())  # where it was dies
    rooms = xmpp.nodes[TWO].service.rooms
    assert rooms is not None
    await rooms.sweep(ONE, None)
    await xmpp.settle()
    await say(bob, "five")
    assert [summary(m) for m in again.heard("message")] == ["message-groupchat bob five"]
    await again.gone("closed")
    assert ("ali", "unavailable") in [
        (p.get("from").partition("/")[2], p.get("type")) for p in bob.heard("presence")
    ]


async def test_what_is_said_in_a_room_meanwhile_is_heard_once(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await opened(alice, "ali")
    await bob.here(E("x", "http://jabber.org/protocol/muc"), to=f"{TEA}/bob")
    alice.heard()
    id = (await enable(alice)).get("id")
    await alice.gone()
    client, asked = await begin_move(xmpp, "alice", id, 0)
    body = E("body", CLIENT_NS, {}, "meanwhile")
    await quiet(xmpp, bob, E("message", CLIENT_NS, {"type": "groupchat", "to": TEA}, body))
    again = await end_move(xmpp, client, asked)
    await say(bob, "then")
    said = [summary(m) for m in again.heard("message")]
    assert said == ["message-groupchat bob meanwhile", "message-groupchat bob then"]


async def test_a_client_that_is_not_available_is_moved_too(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await xmpp.connect("alice")
    id = (await enable(alice)).get("id")
    await alice.gone()
    again = await moved(xmpp, "alice", id, 0)
    assert not again.session.available
    bob = await xmpp.online("bob")
    await again.here()
    assert shown(bob) == [(again.jid, "")]


# --- who gets it ---------------------------------------------------------------------------------------


async def test_nobody_elses_session_is_found(xmpp: Scene) -> None:
    await xmpp.friends("alice", "mallory")
    _, id = await managed(xmpp, "alice")
    await xmpp.online("mallory")
    _, failed = await resume(xmpp, "mallory", id, 0, node=TWO)
    assert (failed.name, failed.elements[0].name) == ("failed", "item-not-found")
    assert len(xmpp.nodes[ONE].sessions_of(address("alice"))) == 1


async def test_more_than_was_sent_ends_the_stream_and_not_the_session(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice, id = await managed(xmpp, "alice")
    await alice.gone()
    with pytest.raises(StreamError) as raised:
        await resume(xmpp, "alice", id, 7, node=TWO)
    assert raised.value.condition == "undefined-condition"
    await moved(xmpp, "alice", id, 0)


async def test_one_that_timed_out_elsewhere_says_how_far_it_came(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    await xmpp.online("alice", "other")
    await alice.message(bare("bob"), "one")
    await alice.gone()
    await xmpp.wait(601)
    _, failed = await resume(xmpp, "alice", id, 0, node=TWO)
    assert (failed.name, failed.get("h")) == ("failed", "1")


async def test_a_process_that_says_nothing_is_not_waited_for_for_ever(xmpp: Scene) -> None:
    await xmpp.people("alice")
    _, id = await managed(xmpp, "alice")
    router = await xmpp.node(TWO)
    del xmpp.nodes[ONE]
    element = E("resume", NS, {"previd": id, "h": "0"})
    asked = asyncio.ensure_future(
        router.threshold().negotiable[NS](address("alice"), element, Client(xmpp), "en")
    )
    await asyncio.sleep(0)
    assert not asked.done()
    await xmpp.wait(6)
    answer = await asked
    assert isinstance(answer, Element)
    assert answer.name == "failed"


async def test_a_resource_that_was_bound_anew_is_not_taken_over(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice, id = await managed(xmpp, "alice")
    await alice.gone()
    _, asked = await begin_move(xmpp, "alice", id, 0)
    new = Client(xmpp)
    session = xmpp.nodes[TWO].admit(parse_jid(f"{bare('alice')}/desk"), new, "en")
    while not asked.done():
        await xmpp.settle()
        await asyncio.sleep(0)
    answer = await asked
    assert isinstance(answer, Element)
    assert answer.name == "failed"
    assert xmpp.nodes[TWO].sessions_of(address("alice")) == [session]
