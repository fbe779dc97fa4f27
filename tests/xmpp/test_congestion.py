"""Clients that take less than comes for them: nothing owed is lost, and nobody shuts them out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from presence.subscriptions import Subscription
from tests.xmpp.managing import acknowledge, bodies, managed, resume
from tests.xmpp.rawclient import RawClient, auth
from tests.xmpp.scene import Client, Scene, address, bare
from tests.xmpp.server import running
from xmpp.element import CLIENT_NS, E
from xmpp.extensions.xep_0280_carbons import NS as CARBONS
from xmpp.session import STALLED

MOST = 65_536
LONG = "x" * 4000


async def crowded(xmpp: Scene) -> tuple[Client, Client]:
    """Alice, and Bob who does not read."""
    await xmpp.node("xmpp-1", max_outbound=MOST)
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    alice.heard(), bob.heard()
    bob.reading = False
    return alice, bob


async def write(alice: Client, count: int, first: int = 0, **attrs: str) -> None:
    for number in range(first, first + count):
        await alice.message(bare("bob"), f"{number} {LONG}", **attrs)


def numbers(client: Client) -> list[int]:
    return [int(body.split()[0]) for body in bodies(client)]


async def test_no_more_is_sent_than_the_client_takes_and_the_rest_follows_in_order(xmpp: Scene) -> None:
    alice, bob = await crowded(xmpp)
    await write(alice, 20)
    assert sum(map(len, bob.raw)) < MOST // 3
    bob.reading = True
    await xmpp.settle()
    assert numbers(bob) == list(range(20))
    await write(alice, 1, 20)
    assert numbers(bob) == [20]
    assert (await xmpp.bus.inspect(address("bob"), xmpp.clock()))["pending"] == []


async def test_what_is_owed_to_nobody_is_left_out(xmpp: Scene) -> None:
    alice, bob = await crowded(xmpp)
    await write(alice, 20, type="headline")
    bob.reading = True
    await xmpp.settle()
    assert len(numbers(bob)) < 6
    await write(alice, 1, type="headline")
    assert numbers(bob) == [0]


async def test_a_client_that_acknowledges_is_sent_more_with_each_word(xmpp: Scene) -> None:
    await xmpp.node("xmpp-1", max_outbound=MOST)
    await xmpp.friends("alice", "bob")
    alice, (bob, _) = await xmpp.online("alice"), await managed(xmpp, "bob")
    await write(alice, 20)
    got = numbers(bob)
    assert len(got) < 6
    while len(got) < 20:
        await acknowledge(bob, len(got))
        more = numbers(bob)
        assert 0 < len(more) < 6
        got += more
    assert got == list(range(20))
    assert bob.ended is None


async def test_what_waited_follows_what_is_sent_again_at_resumption(xmpp: Scene) -> None:
    await xmpp.node("xmpp-1", max_outbound=MOST)
    await xmpp.friends("alice", "bob")
    alice, (bob, id) = await xmpp.online("alice"), await managed(xmpp, "bob")
    await write(alice, 8)
    assert numbers(bob)
    await bob.gone()
    await write(alice, 2, 8)
    bob, _ = await resume(xmpp, "bob", id, 0)
    got = numbers(bob)
    while got[-1] < 9:
        await acknowledge(bob, len(got))
        got += numbers(bob)
    assert got == list(range(10))


async def test_a_client_that_takes_nothing_for_long_is_left(xmpp: Scene) -> None:
    """The bus looks after what nobody settles; what it took and said nothing of is another's by then."""
    alice, bob = await crowded(xmpp)
    await write(alice, 20)
    session = bob.session
    waiting = list(session._later.values())
    session.deliver(waiting[0][0], delayed=True)
    assert not hasattr(bob.ended, "condition")
    xmpp.clock.now += STALLED + 1
    session.deliver(waiting[0][0], delayed=True)
    assert getattr(bob.ended, "condition", "") == "resource-constraint"
    await bob.gone("resource-constraint")
    late = await xmpp.online_and_hear("bob")
    assert numbers(late) == list(range(20))


async def test_a_session_that_replaces_another_gets_what_waited_in_it(xmpp: Scene) -> None:
    alice, bob = await crowded(xmpp)
    await write(alice, 20)
    again = await xmpp.connect("bob")
    await again.here()
    assert set(numbers(again)) == set(range(20))
    assert bob.ended is not None


async def test_what_others_send_to_one_client_is_left_out_or_refused(xmpp: Scene) -> None:
    alice, bob = await crowded(xmpp)
    await bob.here(to=alice.jid)
    await write(alice, 20)
    other = await xmpp.connect("bob", "phone")
    await other.ask("set", E("enable", CARBONS))
    before = len(bob.raw)
    await alice.here(E("status", CLIENT_NS, {}, "only for you"), to=bob.jid)
    await alice.here(E("status", CLIENT_NS, {}, "for all of you"), to=bare("bob"))
    await alice.message(bob.jid, "headline", type="headline")
    answer = await alice.ask("get", E("query", "jabber:iq:version"), bob.jid)
    assert answer.get("type") == "error"
    assert len(bob.raw) == before
    bob.reading = True
    await xmpp.settle()
    bob.heard()
    await alice.here(E("status", CLIENT_NS, {}, "again"), to=bob.jid)
    assert len(bob.heard("presence")) == 1


async def test_no_carbons_are_sent_to_who_does_not_take_them(xmpp: Scene) -> None:
    alice, bob = await crowded(xmpp)
    await bob.ask("set", E("enable", CARBONS))
    phone = await xmpp.online("bob", "phone")
    await phone.ask("set", E("enable", CARBONS))
    for number in range(20):
        await alice.message(phone.jid, f"{number} {LONG}")
    assert len(numbers(phone)) == 20
    assert len(bob.raw) < 8


async def taking(client: Client, most: list[int], taken: list[bytes]) -> None:
    """Read now and then."""
    while True:
        for _ in range(5):
            await asyncio.sleep(0)
        most.append(client.pending())
        taken += client.raw
        client.raw = []


async def test_a_client_that_comes_is_shown_its_contacts_as_it_takes_them(xmpp: Scene) -> None:
    await xmpp.node("xmpp-1", max_outbound=MOST)
    names = [f"p{number}" for number in range(30)]
    await xmpp.people("bob", *names)
    for name in names:
        await xmpp.roster("bob", name, Subscription.BOTH)
        await xmpp.roster(name, "bob", Subscription.BOTH)
        there = await xmpp.connect(name)
        await there.here(E("status", CLIENT_NS, {}, LONG))
    bob = await xmpp.connect("bob")
    bob.reading = False
    most: list[int] = []
    taken: list[bytes] = []
    reading = asyncio.ensure_future(taking(bob, most, taken))
    await bob.here()
    reading.cancel()
    assert max(most) < MOST // 3
    bob.raw = [*taken, *bob.raw]
    shown = {each.get("from").partition("@")[0] for each in bob.heard("presence")}
    assert shown == {"bob", *names}


@pytest.mark.parametrize("managed", [False, True])
async def test_nobody_is_shut_out_by_what_waits_for_them(tmp_path: Path, managed: bool) -> None:
    """More waits than may be on its way to one client at once."""
    bound = b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
    async with running(tmp_path, max_outbound=MOST) as server:  # type: ignore[arg-type]
        async with RawClient(server.where(direct=True), direct=True) as alice:
            await alice.log_in()
            for number in range(12):
                body = b"%d %s" % (number, b"x" * 20_000)
                alice.send(b"<message to='bob@example.org' type='chat'><body>%s</body></message>" % body)
            await alice.ask(b"<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>", b"id='p'")
        async with RawClient(server.where(direct=True), direct=True) as bob:
            await bob.features()
            await bob.ask(auth(b"\0bob\0secret"), b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            await bob.features()
            await bob.ask(bound, b"</iq>")
            if managed:
                await bob.ask(b"<enable xmlns='urn:xmpp:sm:3'/>", b"<enabled xmlns='urn:xmpp:sm:3'/>")
            bob.send(b"<presence/>")
            got = b""
            for number in range(12):
                got += await bob.until(b"<body>%d " % number)
                got += await bob.until(b"</message>")
                if managed:
                    stanzas = got.count(b"</message>") + got.count(b"<presence")
                    bob.send(b"<a xmlns='urn:xmpp:sm:3' h='%d'/>" % stanzas)
