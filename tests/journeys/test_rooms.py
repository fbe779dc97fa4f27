"""A room over two XMPP processes: all hear the same in the same order, and no ghost of a killed one stays."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from tests.support.stage import Person, Stage, open_stage
from tests.support.tandem import DOMAIN, Tandem
from tests.support.waiting import until
from tests.support.xmppclient import Client

pytestmark = pytest.mark.journey

LEASE = 30.0
"Seconds a ghost may stay."
LINES = 40
PLUGINS = ("xep_0045", "xep_0199", "xep_0198")


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A gateway with two XMPP processes, to be hurt."""
    tandem = Tandem(
        tmp_path_factory.mktemp("rooms"), PROCESSES__XMPP="2", ROOMS__RATE="1000", ROOMS__BURST="1000"
    )
    async with open_stage(tandem, "127.0.0.1") as opened:
        yield opened


async def node_of(stage: Stage, client: Client) -> str:
    """The process that has the client."""
    answer = await stage.tandem.api("/api/sessions", address=client.jid)
    resource = client.full.partition("/")[2]
    return next(str(s["node"]) for s in answer["sessions"] if s.get("resource") == resource)


async def elsewhere(stage: Stage, person: Person, node: str) -> Client:
    """A client of theirs at another process: the kernel spreads connections over both."""
    for number in range(40):
        client = stage.client(person, f"desk-{number}", plugins=PLUGINS)
        await client.login()
        if await node_of(stage, client) != node:
            return client
        await client.close()
    raise AssertionError("all connections came to one process")


async def enter(client: Client, room: str, nick: str) -> None:
    await client.xmpp.plugin["xep_0045"].join_muc_wait(room, nick, timeout=20)


async def made(client: Client, room: str, **chosen: Any) -> None:
    """A room with the client in it as `ali`, open for all."""
    await enter(client, room, "ali")
    rooms = client.xmpp.plugin["xep_0045"]
    form = await rooms.get_room_config(room)
    form["type"] = "submit"
    for name, value in chosen.items():
        form.get_fields()[f"muc#roomconfig_{name}"]["value"] = value
    await rooms.set_room_config(room, form)


def said(client: Client, room: str) -> list[str]:
    """What was said in the room, as the client heard it."""
    heard = client.messages.history
    return [m["body"] for m in heard if m["type"] == "groupchat" and m["from"].bare == room and m["body"]]


async def test_everybody_hears_the_same_in_the_same_order(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = f"order@rooms.{DOMAIN}"
    async with stage.client(alice, plugins=PLUGINS) as hers:
        his = await elsewhere(stage, bob, await node_of(stage, hers))
        await made(hers, room)
        await enter(his, room, "bob")
        for number in range(LINES):
            hers.say(room, f"alice {number}", kind="groupchat")
            his.say(room, f"bob {number}", kind="groupchat")
        await until(
            "all is heard by both",
            lambda: min(len(said(hers, room)), len(said(his, room))) >= 2 * LINES,
            LEASE,
        )
        assert said(hers, room) == said(his, room)
        for name in ("alice", "bob"):
            mine = [text for text in said(hers, room) if text.startswith(name)]
            assert mine == [f"{name} {number}" for number in range(LINES)]
        await his.close()


async def test_no_ghost_of_an_occupant_whose_process_was_killed(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = f"ghosts@rooms.{DOMAIN}"
    async with stage.client(alice, plugins=PLUGINS) as hers:
        his = await elsewhere(stage, bob, await node_of(stage, hers))
        await made(hers, room)
        await enter(his, room, "bob")
        await hers.presences.take("bob enters", lambda p: p["from"].full == f"{room}/bob")
        node = await node_of(stage, his)
        os.kill(stage.tandem.pid_of(node), signal.SIGKILL)
        left = await hers.presences.take(
            "bob leaves",
            lambda p: p["from"].full == f"{room}/bob" and p["type"] == "unavailable",
            patience=LEASE,
        )
        assert 333 in left["muc"]["status_codes"]
        await his.abort()
        await until("all is well", stage.tandem.healthy, LEASE)
        again = await elsewhere(stage, bob, await node_of(stage, hers))
        await enter(again, room, "bob")
        again.say(room, "back", kind="groupchat")
        await hers.messages.take("bob speaks", lambda m: m["body"] == "back")
        await again.close()


async def test_what_was_acknowledged_in_a_room_survives_the_whole_gateway(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = f"lasting@rooms.{DOMAIN}"
    hers = stage.client(alice, plugins=PLUGINS)
    await hers.login()
    await made(hers, room, persistentroom=True, roomname="Lasting")
    for number in range(10):
        hers.say(room, f"line {number}", kind="groupchat")
    await hers.xmpp.plugin["xep_0199"].ping(f"{room}/ali")  # answered behind what was said before
    await until("she heard herself", lambda: len(said(hers, room)) == 10, LEASE)
    await stage.tandem.kill_all()
    with suppress(TimeoutError):
        async with asyncio.timeout(LEASE):
            await hers.disconnected.wait()
    await hers.abort()
    await stage.tandem.start()
    async with stage.client(bob, plugins=PLUGINS) as his:
        rooms = his.xmpp.plugin["xep_0045"]
        own, _, occupants, history = await rooms.join_muc_wait(room, "bob", timeout=20)
        assert 201 not in own["muc"]["status_codes"]
        assert [each["muc"]["nick"] for each in occupants] == ["bob"]
        assert [each["body"] for each in history] == [f"line {number}" for number in range(10)]


async def test_an_operator_looks_into_rooms_and_ends_one(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = f"operated@rooms.{DOMAIN}"
    async with stage.client(alice, plugins=PLUGINS) as hers:
        await made(hers, room, roomname="Operated", publicroom=False)
        assert f"{room}  " in await stage.tandem.command("rooms", "list")
        shown = await stage.tandem.command("rooms", "show", room)
        assert "Operated" in shown
        assert alice.address in shown
        await stage.tandem.command("rooms", "grant", room, bob.address, "owner")
        granted = json.loads(await stage.tandem.command("rooms", "show", "--json", room))
        assert {"address": bob.address, "affiliation": "owner", "nick": ""} in granted["affiliations"]
        await stage.tandem.command("rooms", "destroy", room, "--yes", "--reason", "cleaned up")
        gone = await hers.presences.take("the end", lambda p: p["type"] == "unavailable")
        assert gone["muc"]["destroy"]["reason"] == "cleaned up"
        assert room not in await stage.tandem.command("rooms", "list")


async def test_a_room_goes_on_when_the_bus_was_killed(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = f"outage@rooms.{DOMAIN}"
    async with stage.client(alice, plugins=PLUGINS) as hers:
        his = await elsewhere(stage, bob, await node_of(stage, hers))
        await made(hers, room)
        await enter(his, room, "bob")
        stage.tandem.kill("valkey")
        his.say(room, "through the outage", kind="groupchat")
        await hers.messages.take("his line", lambda m: m["body"] == "through the outage", patience=LEASE)
        await until("all is well", stage.tandem.healthy, LEASE)
        hers.say(room, "and after it", kind="groupchat")
        for client in (his, hers):
            await client.messages.take("her line", lambda m: m["body"] == "and after it", patience=LEASE)
        assert said(hers, room) == said(his, room) == ["through the outage", "and after it"]
        await his.close()
