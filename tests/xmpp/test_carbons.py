"""XEP-0280: who hears of a message it was not addressed to, over two processes."""

from __future__ import annotations

import pytest

from presence.errors import Condition
from presence.messages import Failure, InstantMessage
from presence.model import Text
from presence.ports import Failed
from tests.xmpp.scene import Client, Scene, address, bare
from xmpp.element import CLIENT_NS, STANZAS_NS, E, Element
from xmpp.errors import read_error

CARBONS, FORWARD, SID = "urn:xmpp:carbons:2", "urn:xmpp:forward:0", "urn:xmpp:sid:0"
STATES, RECEIPTS, HINTS = "http://jabber.org/protocol/chatstates", "urn:xmpp:receipts", "urn:xmpp:hints"


async def enable(client: Client, word: str = "enable") -> None:
    answer = await client.ask("set", E(word, CARBONS))
    assert answer.get("type") == "result"


@pytest.fixture
async def alice(xmpp: Scene) -> Client:
    await xmpp.people("alice", "bob")
    return await xmpp.online("alice")


@pytest.fixture
async def other(xmpp: Scene, alice: Client) -> Client:
    """Alice's other client, in another process."""
    client = await xmpp.online("alice", "sofa", "xmpp-2")
    await enable(client)
    client.heard()
    alice.heard()
    return client


def carbons(client: Client) -> list[tuple[str, Element]]:
    """`sent` or `received`, and the message in it, of the carbons that came."""
    found = []
    for message in client.heard("message"):
        for wrapper in message.elements:
            if wrapper.ns == CARBONS:
                assert message.get("from") == str(client.session.address)
                assert message.get("to") == client.jid
                forwarded = wrapper.find("forwarded", FORWARD)
                inner = forwarded.find("message", CLIENT_NS) if forwarded is not None else None
                assert inner is not None
                assert inner.get("type") == message.get("type")
                found.append((wrapper.name, inner))
    return found


def texts(client: Client) -> list[tuple[str, str]]:
    return [(name, body.text) for name, inner in carbons(client) if (body := inner.find("body")) is not None]


async def test_what_one_client_sends_the_other_hears(xmpp: Scene, alice: Client, other: Client) -> None:
    await alice.message(bare("bob"), "hello", id="x1")
    ((name, inner),) = carbons(other)
    assert (name, inner.get("from"), inner.get("to")) == ("sent", alice.jid, bare("bob"))
    assert inner.get("id") == "x1"
    assert carbons(alice) == []


async def test_the_carbon_has_the_archives_id(xmpp: Scene, alice: Client, other: Client) -> None:
    bob = await xmpp.online("bob")
    await alice.message(bare("bob"), "hello")
    ((_, inner),) = carbons(other)
    (live,) = bob.heard("message")
    here, there = inner.find("stanza-id", SID), live.find("stanza-id", SID)
    assert here is not None
    assert there is not None
    assert (here.get("by"), there.get("by")) == (bare("alice"), bare("bob"))
    assert here.get("id") == there.get("id") != ""


async def test_what_one_client_is_sent_the_other_hears(xmpp: Scene, alice: Client, other: Client) -> None:
    bob = await xmpp.online("bob")
    await bob.message(alice.jid, "for your desk")
    assert texts(other) == [("received", "for your desk")]
    assert [m.find("body").text for m in alice.heard("message")] == ["for your desk"]  # type: ignore[union-attr]


async def test_who_gets_the_message_gets_no_carbon_of_it(xmpp: Scene, alice: Client, other: Client) -> None:
    bob = await xmpp.online("bob")
    await enable(alice)
    await bob.message(bare("alice"), "for all of you")
    for client in (alice, other):
        (got,) = client.heard("message")
        assert got.find("body") is not None


async def test_a_client_that_does_not_take_part_hears_nothing(xmpp: Scene, alice: Client) -> None:
    other = await xmpp.online("alice", "sofa", "xmpp-2")
    await alice.message(bare("bob"), "hello")
    assert other.heard("message") == []


async def test_the_sender_need_not_take_part(xmpp: Scene, alice: Client, other: Client) -> None:
    await alice.message(bare("bob"), "hello")
    assert texts(other) == [("sent", "hello")]


async def test_it_may_be_switched_on_and_off_again_and_again(
    xmpp: Scene, alice: Client, other: Client
) -> None:
    await enable(other)
    await enable(other, "disable")
    await enable(other, "disable")
    await alice.message(bare("bob"), "one")
    assert texts(other) == []
    await enable(other)
    await alice.message(bare("bob"), "two")
    assert texts(other) == [("sent", "two")]


async def test_a_client_with_negative_priority_or_none_hears_too(xmpp: Scene, alice: Client) -> None:
    bob = await xmpp.online("bob")
    quiet = await xmpp.connect("alice", "quiet")
    await enable(quiet)
    await bob.message(bare("alice"), "before presence")
    await quiet.here(E("priority", CLIENT_NS, {}, "-1"))
    await bob.message(bare("alice"), "at minus one")
    assert texts(quiet) == [("received", "before presence"), ("received", "at minus one")]


async def test_what_a_phone_says_its_users_clients_hear(xmpp: Scene, alice: Client, other: Client) -> None:
    await enable(alice)
    message = InstantMessage(
        id="", trace="", sender=address("alice"), sender_endpoint="sip:1", sender_tuple="snom",
        recipient=address("bob"), bodies=(Text("from the desk phone"),), created=0.0,
    )  # fmt: skip
    await xmpp.nodes["xmpp-1"].service.submit(message)
    await xmpp.settle()
    for client in (alice, other):
        ((name, inner),) = carbons(client)
        assert (name, inner.get("from")) == ("sent", f"{bare('alice')}/snom")
        assert (inner.get("to"), inner.get("type")) == (bare("bob"), "chat")


COPIED = [
    ("chat", [E("body", CLIENT_NS, {}, "hi")], True),
    ("chat", [E("composing", STATES)], True),
    ("chat", [E("unknown", "urn:example")], True),
    ("normal", [E("body", CLIENT_NS, {}, "hi")], True),
    ("normal", [E("received", RECEIPTS, {"id": "1"})], True),
    ("normal", [E("displayed", "urn:xmpp:chat-markers:0", {"id": "1"})], True),
    ("normal", [E("composing", STATES)], True),
    ("normal", [E("x", "jabber:x:conference", {"jid": "room@rooms.example.org"})], True),
    ("normal", [E("unknown", "urn:example")], False),
    ("headline", [E("body", CLIENT_NS, {}, "news")], False),
    ("chat", [E("body", CLIENT_NS, {}, "hi"), E("private", CARBONS)], False),
    ("chat", [E("body", CLIENT_NS, {}, "hi"), E("no-copy", HINTS)], False),
    ("chat", [E("body", CLIENT_NS, {}, "hi"), E("private", CARBONS), E("no-copy", HINTS)], False),
    ("chat", [E("body", CLIENT_NS, {}, "hi"), E("no-store", HINTS)], True),
]


@pytest.mark.parametrize(("kind", "payload", "copied"), COPIED)
async def test_conversations_are_copied_and_nothing_private(
    xmpp: Scene, alice: Client, other: Client, kind: str, payload: list[Element], copied: bool
) -> None:
    bob = await xmpp.online("bob")
    await alice.message(bare("bob"), "", *payload, type=kind)
    assert [name for name, _ in carbons(other)] == ["sent"] * copied
    await bob.message(alice.jid, "", *payload, type=kind)
    assert [name for name, _ in carbons(other)] == ["received"] * copied


async def test_a_message_to_oneself_is_heard_once_everywhere(
    xmpp: Scene, alice: Client, other: Client
) -> None:
    await alice.message(bare("alice"), "note")
    assert len(other.heard("message")) == 1
    await alice.message(alice.jid, "only here")
    assert texts(other) == [("received", "only here")]


async def test_a_refused_message_is_not_copied(xmpp: Scene, alice: Client, other: Client) -> None:
    await alice.message("nobody@example.org", "hello?")
    assert other.heard("message") == []


async def failed(xmpp: Scene, sender_endpoint: str, *, copied: bool = False) -> None:
    failure = Failure(
        message_id="x", trace="t", origin_id="m1", sender=address("alice"), sender_endpoint=sender_endpoint,
        recipient=address("bob"), condition=Condition.POLICY_VIOLATION, copied=copied,
    )  # fmt: skip
    await xmpp.bus.tell(address("alice"), Failed(failure=failure))
    await xmpp.settle()


@pytest.mark.parametrize(("endpoint", "to"), [("xmpp:desk", "alice@example.org/desk"), ("sip:1", "")])
async def test_what_nobody_took_is_told_to_all_who_heard_of_it(
    xmpp: Scene, alice: Client, other: Client, endpoint: str, to: str
) -> None:
    """§6.1."""
    await failed(xmpp, endpoint, copied=True)
    ((name, inner),) = carbons(other)
    assert (name, inner.get("from"), inner.get("to")) == ("received", bare("bob"), to or bare("alice"))
    assert (inner.get("type"), inner.get("id")) == ("error", "m1")
    assert read_error(inner).condition == "policy-violation"
    assert [m.get("type") for m in alice.heard("message")] == ["error"] * bool(to)


async def test_who_did_not_hear_of_it_does_not_hear_of_its_error(
    xmpp: Scene, alice: Client, other: Client
) -> None:
    await failed(xmpp, "xmpp:desk")
    assert other.heard("message") == []
    assert len(alice.heard("message")) == 1


ERROR = E("error", CLIENT_NS, {"type": "cancel"}, E("not-acceptable", STANZAS_NS))
BOUNCED = [
    ([], True),
    ([E("body", CLIENT_NS, {}, "hi")], True),
    ([E("composing", STATES)], True),
    ([E("body", CLIENT_NS, {}, "hi"), E("private", CARBONS)], False),
    ([E("unknown", "urn:example")], False),
]


@pytest.mark.parametrize(("given_back", "copied"), BOUNCED)
async def test_the_error_of_a_client_is_copied_to_the_others_of_both(
    xmpp: Scene, alice: Client, other: Client, given_back: list[Element], copied: bool
) -> None:
    bob, bobs = await xmpp.online("bob"), await xmpp.online("bob", "sofa", "xmpp-2")
    for client in (alice, bob, bobs):
        await enable(client)
        client.heard()
    await bob.message(alice.jid, "", *given_back, ERROR.copy(), type="error", id="m1")
    for client, expected in ((other, "received"), (bobs, "sent")):
        shown = [(name, inner.get("from"), inner.get("id")) for name, inner in carbons(client)]
        assert shown == [(expected, bob.jid, "m1")] * copied
    assert [m.get("type") for m in alice.heard("message")] == ["error"]
    assert bob.heard("message") == []


async def test_an_error_for_a_client_that_is_not_there_is_copied_to_nobody(
    xmpp: Scene, alice: Client, other: Client
) -> None:
    bob = await xmpp.online("bob")
    await bob.message("alice@example.org/nowhere", "hi", ERROR.copy(), type="error")
    assert (alice.heard("message"), other.heard("message")) == ([], [])


async def test_nobody_hears_of_errors_of_whom_they_block(xmpp: Scene, alice: Client, other: Client) -> None:
    bob = await xmpp.online("bob")
    block = E("block", "urn:xmpp:blocking", {}, E("item", "urn:xmpp:blocking", {"jid": bare("bob")}))
    await alice.ask("set", block)
    other.heard()
    await bob.message(alice.jid, "", ERROR.copy(), type="error")
    assert (alice.heard("message"), other.heard("message")) == ([], [])


async def test_what_the_copied_message_carries_comes_along(xmpp: Scene, alice: Client, other: Client) -> None:
    extra = E("replace", "urn:xmpp:message-correct:0", {"id": "x0"})
    await alice.message(bare("bob"), "Grüße <&> 🐘", extra)
    ((_, inner),) = carbons(other)
    body = inner.find("body")
    assert body is not None
    assert body.text == "Grüße <&> 🐘"
    assert extra in inner.elements
