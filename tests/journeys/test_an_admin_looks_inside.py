"""What the admin sees of the journeys: who is here, who sees whom, the story, one message's whole way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.inbox import PATIENCE, Inbox
from tests.support.stage import Person, Stage
from tests.support.waiting import until

pytestmark = pytest.mark.journey

Hop = dict[str, Any]


@asynccontextmanager
async def tail(stage: Stage, of: Person) -> AsyncIterator[Inbox[Hop]]:
    """`tandem bus tail` of one address while something happens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "bus", "tail", "--address", of.address, "--all", "--json",
        cwd=stage.tandem.directory, env=stage.tandem.environment, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    hops: Inbox[Hop] = Inbox("bus tail")

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            hops.put(json.loads(line))

    reading = asyncio.create_task(read())
    try:
        yield hops
    finally:
        process.kill()
        await process.wait()
        await reading


@pytest.mark.parametrize("direction", ["from the phone", "to the phone"])
async def test_one_message_is_followed_across_both_protocols(stage: Stage, direction: str) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone, tail(stage, alice) as hops:
        await phone.register()
        if direction == "from the phone":
            await phone.message(alice.address, "follow me")
            await desk.hears("follow me")
        else:
            desk.say(bob.address, "follow me")
            await phone.hears("follow me")
        delivered = await hops.take("the delivery", lambda hop: "deliver" in hop["hop"])
        way = await stage.tandem.api(f"/api/trace/{delivered['trace']}")
        nodes = {hop["node"] for hop in way["entries"]}
        assert nodes >= {"sip-1", "xmpp-1"}
        assert "follow me" not in json.dumps(way), "the trace must not hold what people say"
        told = await stage.tandem.command("trace", delivered["trace"])
        assert "sip-1" in told
        assert "xmpp-1" in told


async def test_what_a_reload_cannot_change_is_told_at_whatever_level(stage: Stage) -> None:
    (stage.tandem.directory / "tandem.toml").write_text("[archive]\ndays = 5\n")
    os.kill(stage.tandem.supervisor, signal.SIGHUP)
    told = "level=warning node=xmpp-1 event=reloaded needs_restart=archive"
    await until("it is told", lambda: told in stage.tandem.logged(), PATIENCE)
    (stage.tandem.directory / "tandem.toml").unlink()


async def test_a_word_that_is_no_address_is_told(stage: Stage) -> None:
    for command in (("who-sees", "bob", "alice"), ("sessions", "bob"), ("presence", "show", "bob")):
        with pytest.raises(AssertionError, match="an address is written USER@DOMAIN, not bob"):
            await stage.tandem.command(*command)


async def test_presence_sessions_and_who_sees_tell_the_truth(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        await phone.subscribe(alice.address)
        await desk.shown("away", "Out for lunch")
        shown = await stage.tandem.command("presence", "show", alice.address)
        assert "Out for lunch" in shown
        assert "desk" in shown
        assert "desk" in await stage.tandem.command("sessions", alice.address)
        assert "sip-1" in await stage.tandem.command("sessions", bob.address)
        assert "active" in await stage.tandem.command("who-sees", bob.address, alice.address)


async def test_health_and_metrics_are_there(stage: Stage) -> None:
    assert await stage.tandem.healthy()
    metrics = await stage.tandem.metrics()
    assert "tandem_bus_up" in metrics
