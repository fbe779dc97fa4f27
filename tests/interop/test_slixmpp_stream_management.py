"""slixmpp's XEP-0198: acknowledgements, and sessions that go on after the connection broke."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.inbox import PATIENCE, Inbox
from tests.support.stage import Person, Stage, open_stage
from tests.support.tandem import Tandem
from tests.support.waiting import until
from tests.support.xmppclient import Client

pytestmark = pytest.mark.interop

PLUGINS = ("xep_0198", "xep_0199", "xep_0203")


async def managed(stage: Stage, person: Person) -> Client:
    client: Client = stage.client(person, plugins=PLUGINS)
    enabled = asyncio.Event()
    client.xmpp.add_event_handler("sm_enabled", lambda _: enabled.set())
    await client.login()
    async with asyncio.timeout(PATIENCE):
        await enabled.wait()
    return client


async def cut(client: Client) -> None:
    """The network goes away without a word."""
    client.disconnected.clear()
    client.xmpp.transport.abort()
    async with asyncio.timeout(PATIENCE):
        await client.disconnected.wait()


async def resume(client: Client) -> None:
    resumed = asyncio.Event()
    client.xmpp.add_event_handler("session_resumed", lambda _: resumed.set(), disposable=True)
    client.xmpp.connect(*client.server)
    async with asyncio.timeout(PATIENCE):
        await resumed.wait()


async def test_a_session_goes_on_where_it_was_and_nobody_saw_it_leave(stage: Stage) -> None:
    alice, carol = await stage.friends("alice", "carol")
    async with stage.client(carol) as hers:
        desk = await managed(stage, alice)
        await hers.online(alice.address)
        await desk.online(carol.address)
        hers.say(alice.address, "seen")
        await desk.hears("seen")
        for round in range(3):
            await cut(desk)
            hers.say(alice.address, f"while away {round}")
            await hers.echo()
            await resume(desk)
            late = await desk.hears(f"while away {round}")
            assert late.xml.find("{urn:xmpp:delay}delay") is not None
            desk.say(carol.address, f"back {round}")
            await hers.hears(f"back {round}")
        assert [m["body"] for m in desk.messages.history if m["body"]] == [
            "seen", "while away 0", "while away 1", "while away 2",
        ]  # fmt: skip
        assert not hers.presences.matching(lambda p: p.xml.get("type") == "unavailable")
        await desk.close()
        await hers.offline(alice.address)


async def test_what_was_said_into_a_dead_connection_arrives_once(stage: Stage) -> None:
    alice, carol = await stage.friends("alice", "carol")
    async with stage.client(carol) as hers:
        desk = await managed(stage, alice)
        await cut(desk)
        texts = [f"unsent {n}" for n in range(5)]
        for text in texts:
            desk.say(carol.address, text)
        await resume(desk)
        await hers.hears(texts[-1])
        assert [m["body"] for m in hers.messages.history if m["body"]] == texts
        await desk.close()


async def test_after_kill_dash_nine_the_session_is_gone_and_no_message_is(tmp_path: Path) -> None:
    async with open_stage(Tandem(tmp_path), "127.0.0.1") as stage:
        alice, bob = await stage.friends("alice", "bob")
        async with stage.phone(bob) as phone:
            await phone.register()
            desk = await managed(stage, alice)
            await desk.online(bob.address)
            await cut(desk)
            for n in range(3):
                assert (await phone.message(alice.address, f"while away {n}")).status < 300
            killed = stage.tandem.kill("xmpp")
            await until("xmpp is back", lambda: stage.tandem.pids().get("xmpp", killed) != killed, 30)
            await until("xmpp listens", lambda: stage.tandem.listens(stage.tandem.xmpp_port), 30)
            await until("all is well", stage.tandem.healthy, 30)
            failed: Inbox[str] = Inbox("failed resumptions")
            started = asyncio.Event()
            desk.xmpp.add_event_handler("sm_failed", lambda s: failed.put(s.xml[0].tag.partition("}")[2]))
            desk.xmpp.add_event_handler("session_start", lambda _: started.set())
            desk.xmpp.connect(*desk.server)
            assert await failed.take("an error", lambda _: True) == "item-not-found"
            async with asyncio.timeout(PATIENCE):
                await started.wait()
            desk.xmpp.send_presence()
            for n in range(3):
                await desk.hears(f"while away {n}")
            await desk.close()
