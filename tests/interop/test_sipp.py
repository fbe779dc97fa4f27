"""SIPp: registers, publishes, subscribes, sends and receives messages by the scenarios in `sipp/`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.interop.programs import need, sipp
from tests.support.ports import free_port
from tests.support.stage import Person, Stage
from tests.support.tandem import DOMAIN

pytestmark = pytest.mark.interop

SCENARIOS = Path(__file__).with_name("sipp")


async def play(
    stage: Stage, tmp_path: Path, scenario: str, person: Person, *options: str, **keys: str
) -> None:
    user = person.address.partition("@")[0]
    await sipp(
        tmp_path,
        SCENARIOS / f"{scenario}.xml",
        (stage.host, stage.tandem.sip_port),
        keys={"user": user, "domain": DOMAIN, **keys},
        options=("-au", user, "-ap", person.password, *options),
    )


@pytest.fixture(autouse=True)
def _installed() -> None:
    need("sipp")


@pytest.mark.parametrize("transport", ["u1", "t1"])
async def test_sipp_registers_and_is_seen(stage: Stage, tmp_path: Path, transport: str) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk:
        await play(stage, tmp_path, "register", bob, "-t", transport)
        await desk.online(bob.address)


async def test_sipp_publishes_and_is_seen(stage: Stage, tmp_path: Path) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk:
        await play(stage, tmp_path, "publish", bob, note="Load testing")
        await desk.online(bob.address, status="Load testing")


async def test_sipp_subscribes_and_sees(stage: Stage, tmp_path: Path) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk:
        await desk.shown("away", "Seen by SIPp")
        await play(stage, tmp_path, "subscribe", bob, peer=alice.address, note="Seen by SIPp")


async def test_sipp_sends_a_message(stage: Stage, tmp_path: Path) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk:
        await play(stage, tmp_path, "message", bob, peer=alice.address, text="Hello from SIPp")
        heard = await desk.messages.take("SIPp's message", lambda m: m["body"].strip() == "Hello from SIPp")
        assert heard["from"].bare == bob.address


async def test_sipp_receives_a_message(stage: Stage, tmp_path: Path) -> None:
    alice, bob = await stage.friends("alice", "bob")
    port = str(free_port())
    async with stage.client(alice) as desk:
        await play(stage, tmp_path, "register", bob, "-p", port)
        await desk.online(bob.address)
        waiting = asyncio.create_task(play(stage, tmp_path, "receive", bob, "-p", port, text="Hello SIPp"))
        desk.say(bob.address, "Hello SIPp")  # repeated by the server until SIPp listens
        await waiting
