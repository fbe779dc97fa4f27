"""XEP-0191: who is blocked sees somebody who is not there, and is not heard."""

from __future__ import annotations

import pytest

from presence.blocking import MAX_BLOCKED, Blocklist
from presence.service import Standing
from tests.xmpp.scene import Client, Scene, address, bare
from xmpp.element import CLIENT_NS, STANZAS_NS, E, Element
from xmpp.errors import read_error
from xmpp.extensions.xep_0191_blocking import NS


def items(*names: str) -> list[Element]:
    return [E("item", NS, {"jid": name}) for name in names]


async def block(client: Client, *names: str) -> Element:
    return await client.ask("set", E("block", NS, {}, *items(*names)))


async def unblock(client: Client, *names: str) -> Element:
    return await client.ask("set", E("unblock", NS, {}, *items(*names)))


async def blocklist(client: Client) -> list[str]:
    answer = await client.ask("get", E("blocklist", NS))
    (listed,) = answer.elements
    return [item.get("jid") for item in listed.elements]


def condition(stanza: Element) -> str:
    return read_error(stanza).condition


def seen(client: Client) -> list[tuple[str, str]]:
    return [(p.get("from"), p.get("type")) for p in client.heard("presence")]


async def test_the_list_is_kept_in_order_and_canonical(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    assert await blocklist(alice) == []
    assert (await block(alice, "Spam.Example", "EVE@example.org", "eve@example.org")).get("type") == "result"
    assert (await block(alice, "eve@example.org", "x@y.example/Home")).get("type") == "result"
    assert await blocklist(alice) == ["spam.example", "eve@example.org", "x@y.example/Home"]
    await unblock(alice, "eve@example.org")
    assert await blocklist(alice) == ["spam.example", "x@y.example/Home"]
    await unblock(alice)
    assert await blocklist(alice) == []


async def test_every_client_that_asked_for_the_list_is_told_wherever_it_is(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice = await xmpp.online("alice")
    phone = await xmpp.online("alice", "phone", node="xmpp-2")
    ignorant = await xmpp.online("alice", "old")
    for client in (alice, phone):
        await blocklist(client)
    await block(alice, bare("bob"))
    await unblock(alice)
    for client in (alice, phone):
        pushes = [iq for iq in client.heard("iq") if iq.get("type") == "set"]
        assert [(p.elements[0].name, len(p.elements[0].elements)) for p in pushes] == [
            ("block", 1), ("unblock", 0),
        ]  # fmt: skip
    assert ignorant.heard("iq") == []


async def test_neither_sees_the_other_until_unblocked(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob", node="xmpp-2")
    alice.heard()
    await block(alice, bare("bob"))
    assert seen(bob) == [("alice@example.org/desk", "unavailable")]
    assert seen(alice) == [("bob@example.org/desk", "unavailable")]
    await alice.here(E("status", CLIENT_NS, {}, "free of bob"))
    await bob.here(E("status", CLIENT_NS, {}, "lonely"))
    assert seen(bob) == [("bob@example.org/desk", "")]
    assert seen(alice) == [("alice@example.org/desk", "")]
    again = await xmpp.connect("bob", "again")
    await again.here()
    assert ("alice@example.org/desk", "") not in seen(again)
    bob.heard()
    alice.heard()
    await unblock(alice, bare("bob"))
    assert seen(bob) == [("alice@example.org/desk", "")]
    assert sorted(seen(alice)) == [("bob@example.org/again", ""), ("bob@example.org/desk", "")]


async def test_what_the_blocked_send_is_refused_as_if_nobody_were_there(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await block(alice, bare("bob"))
    alice.heard()
    bob.heard()
    await bob.message(bare("alice"), "hello?", id="m1")
    (error,) = bob.heard("message")
    assert (error.get("id"), condition(error)) == ("m1", "service-unavailable")
    to = f"{bare('alice')}/desk"
    assert condition(await bob.ask("get", E("query", "jabber:iq:version"), to)) == "service-unavailable"
    await bob.say(
        E("presence", CLIENT_NS, {"to": to}),
        E("presence", CLIENT_NS, {"to": bare("alice"), "type": "probe"}),
        E("presence", CLIENT_NS, {"to": bare("alice"), "type": "subscribe"}),
        E("message", CLIENT_NS, {"to": to, "type": "headline"}, E("body", CLIENT_NS, {}, "news")),
    )
    assert alice.heard() == []
    assert bob.heard("presence") == []


async def test_whom_one_blocks_one_cannot_write_to(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await block(alice, bare("bob"))
    bob.heard()
    alice.heard()
    await alice.message(bare("bob"), "one-sided", id="m1")
    (error,) = alice.heard("message")
    assert condition(error) == "not-acceptable"
    inner = error.find("error")
    assert inner is not None
    assert inner.get("type") == "cancel"
    assert [(c.name, c.ns) for c in inner.elements] == [
        ("not-acceptable", STANZAS_NS), ("blocked", "urn:xmpp:blocking:errors"),
    ]  # fmt: skip
    answer = await alice.ask("get", E("query", "jabber:iq:version"), f"{bare('bob')}/desk")
    assert condition(answer) == "not-acceptable"
    assert bob.heard() == []


async def test_a_request_of_somebody_blocked_is_not_shown_at_login_either(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    bob = await xmpp.online("bob")
    await (await xmpp.online("alice")).gone()
    await bob.say(E("presence", CLIENT_NS, {"to": bare("alice"), "type": "subscribe"}))
    alice = await xmpp.online_and_hear("alice")
    assert (bare("bob"), "subscribe") in seen(alice)
    await block(alice, bare("bob"))
    again = await xmpp.online_and_hear("alice", "again")
    assert (bare("bob"), "subscribe") not in seen(again)
    await unblock(alice)
    third = await xmpp.online_and_hear("alice", "third")
    assert (bare("bob"), "subscribe") in seen(third)


async def test_a_blocked_domain_is_all_its_people_but_never_oneself(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    phone = await xmpp.online("alice", "phone")
    await block(alice, "example.org")
    assert (await blocklist(alice)) == ["example.org"]  # the server still answers
    phone.heard()
    bob.heard()
    await bob.message(bare("alice"), "hello?")
    await alice.message(f"{bare('alice')}/phone", "to myself")
    assert [condition(m) for m in bob.heard("message")] == ["service-unavailable"]
    assert len(phone.heard("message")) == 1


async def test_a_blocked_resource_leaves_the_others(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob, work = await xmpp.online("alice"), await xmpp.online("bob"), await xmpp.online("bob", "work")
    await block(alice, "bob@example.org/work")
    alice.heard()
    await bob.message(bare("alice"), "from the desk")
    await work.message(bare("alice"), "from work")
    assert len(alice.heard("message")) == 1


@pytest.mark.parametrize("name", ["bob@example.org/work", "example.org/work"])
async def test_a_blocked_resource_neither_sees_nor_is_seen(xmpp: Scene, name: str) -> None:
    """§5, over three processes."""
    await xmpp.friends("alice", "bob")
    alice = await xmpp.online("alice")
    bob, work = await xmpp.online("bob", node="xmpp-2"), await xmpp.online("bob", "work", node="xmpp-3")
    for client in (alice, bob, work):
        client.heard()
    await block(alice, name)
    assert seen(alice) == [(work.jid, "unavailable")]
    assert (seen(bob), seen(work)) == ([], [(alice.jid, "unavailable")])
    await alice.here(E("status", CLIENT_NS, {}, "free of work"))
    await work.here(E("status", CLIENT_NS, {}, "lonely"))
    assert seen(alice) == [(alice.jid, "")]
    assert (seen(bob), seen(work)) == ([(alice.jid, ""), (work.jid, "")], [(work.jid, "")])
    await work.gone()
    work = await xmpp.connect("bob", "work", "xmpp-3")
    sofa = await xmpp.connect("alice", "sofa", "xmpp-2")
    await work.here()
    await sofa.here()
    assert (alice.jid, "") not in seen(work)
    assert (work.jid, "") not in seen(alice) + seen(sofa)
    await work.say(E("presence", CLIENT_NS, {"to": bare("alice"), "type": "probe"}))
    await sofa.say(E("presence", CLIENT_NS, {"to": bare("bob"), "type": "probe"}))
    assert (seen(work), seen(sofa)) == ([], [(bob.jid, "")])
    answer = await work.ask("get", E("vCard", "vcard-temp"), bare("alice"))
    assert condition(answer) == "service-unavailable"
    bob.heard()
    await unblock(alice)
    assert seen(alice) == seen(sofa) == [(work.jid, "")]
    assert sorted(seen(work)) == [(alice.jid, ""), (sofa.jid, "")]
    assert seen(bob) == []


async def test_all_that_is_unblocked_but_one_resource(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await xmpp.online("alice")
    bob, work = await xmpp.online("bob"), await xmpp.online("bob", "work", node="xmpp-2")
    await block(alice, bare("bob"), work.jid)
    for client in (alice, bob, work):
        client.heard()
    await unblock(alice, bare("bob"))
    assert (seen(alice), seen(bob), seen(work)) == ([(bob.jid, "")], [(alice.jid, "")], [])


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (E("block", NS), "bad-request"),
        (E("block", NS, {}, E("item", NS)), "jid-malformed"),
        (E("block", NS, {}, E("item", NS, {"jid": "@"})), "jid-malformed"),
        (E("block", NS, {}, *items(*(f"u{n}@x" for n in range(MAX_BLOCKED + 1)))), "resource-constraint"),
    ],
)
async def test_bad_commands_change_nothing(xmpp: Scene, payload: Element, expected: str) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    assert condition(await alice.ask("set", payload)) == expected
    assert await blocklist(alice) == []


async def test_nobody_reads_or_changes_the_list_of_another(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await xmpp.online("alice")
    for kind, payload in (("get", E("blocklist", NS)), ("set", E("unblock", NS))):
        assert condition(await alice.ask(kind, payload, bare("bob"))) == "forbidden"


async def test_a_blocked_watcher_is_rejected_at_either_door(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await xmpp.online("alice")
    await block(alice, bare("bob"))
    service = alice.session.router.service
    decision = await service.decide(address("bob"), address("alice"))
    assert (decision.standing, decision.reason) == (Standing.REJECTED, "blocked")
    assert (await service.request(address("bob"), address("alice"))).standing is Standing.REJECTED


def test_names_match_in_the_order_of_the_specification() -> None:
    eve = address("eve")
    for name, home, any_ in (
        ("eve@example.org/home", True, False),
        ("eve@example.org", True, True),
        ("example.org/home", True, False),
        ("example.org", True, True),
        ("other.example", False, False),
        ("eve@example.org/work", False, False),
    ):
        assert Blocklist((name,)).covers(eve, "home") is home, name
        assert Blocklist((name,)).covers(eve) is any_, name
