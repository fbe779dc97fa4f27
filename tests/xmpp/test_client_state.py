"""XEP-0352: what can wait, waits while nobody looks."""

from __future__ import annotations

import pytest

from tests.xmpp.managing import acknowledge, managed, resume
from tests.xmpp.scene import Client, Scene, bare
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StreamError
from xmpp.extensions import Outgoing
from xmpp.extensions.xep_0352_client_state import MAX_HELD, NS

STATES = "http://jabber.org/protocol/chatstates"


def status(text: str) -> Element:
    return E("status", CLIENT_NS, {}, text)


async def inactive(client: Client) -> None:
    client.heard()
    await client.say_raw(E("inactive", NS))


def said(client: Client) -> list[str]:
    """Each stanza by its name and its text, or its first element's name."""
    heard = client.heard()
    return [f"{s.name} {s.elements[0].text or s.elements[0].name}" if s.elements else s.name for s in heard]


async def test_presence_waits_and_only_the_latest_of_each_resource_is_told(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob", "carol")
    alice, bob, carol = await xmpp.online("alice"), await xmpp.online("bob"), await xmpp.online("carol")
    await inactive(alice)
    for n in range(3):
        await bob.here(status(f"bob {n}"))
    await carol.here(status("carol"))
    await bob.here(status("bob at last"))
    assert said(alice) == []
    await alice.say_raw(E("active", NS))
    assert said(alice) == ["presence carol", "presence bob at last"]
    await bob.here(status("at once"))
    assert said(alice) == ["presence at once"]


async def test_chat_states_wait_and_give_way_to_what_was_typed(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await inactive(alice)
    await bob.message(bare("alice"), "", E("composing", STATES))
    await bob.message(bare("alice"), "", E("paused", STATES))
    assert said(alice) == []
    await bob.here(status("typing"))
    await bob.message(bare("alice"), "hello")
    assert said(alice) == ["presence typing", "message hello"]


async def test_what_cannot_wait_comes_at_once(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await inactive(alice)
    await bob.say(E("presence", CLIENT_NS, {"type": "subscribe", "to": bare("alice")}))
    assert [(p.name, p.get("type")) for p in alice.heard()] == [("presence", "subscribe")]


async def test_no_more_is_held_than_a_limit(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    await inactive(alice)
    for n in range(MAX_HELD + 1):
        alice.session.send(b"<presence from='r%d@example.org/x' to='alice@example.org'/>" % n, "presence")
    assert len(alice.heard()) == MAX_HELD + 1


async def test_while_a_session_waits_for_its_client_presence_waits_too(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await acknowledge(alice, 1)
    await alice.gone()
    for n in range(30):
        await bob.here(status(str(n)))
    await bob.message(bare("alice"), "hello")
    back, _ = await resume(xmpp, "alice", id, 1)
    assert said(back) == ["message hello", "r", "presence 29"]
    await bob.here(status("active is the state of a resumed stream"))
    assert said(back) == ["presence active is the state of a resumed stream"]
    await acknowledge(back, 4)


async def test_other_words_end_the_stream(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    await alice.say_raw(E("active", NS))  # nothing changes
    with pytest.raises(StreamError):
        await alice.say_raw(E("asleep", NS))


def test_a_stanzas_attributes_are_read_up_to_its_first_tags_end() -> None:
    data = b"<presence from='a&apos;b@c/d&gt;e > f' to='x@y' type='unavailable'><a type='z'/></presence>"
    expected = {"from": "a&apos;b@c/d&gt;e > f", "to": "x@y", "type": "unavailable"}
    assert Outgoing(data, "presence").attributes() == expected
    assert Outgoing(b"<presence/>", "presence").attributes() == {}


async def test_not_much_is_held_back(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await xmpp.online("alice")
    there = [await xmpp.online("bob", f"r{number}") for number in range(20)]
    await inactive(alice)
    for each in there:
        await each.here(status("x" * 15_000))
    assert 0 < len(alice.heard("presence")) <= 20
