"""Two SIP processes on the same ports: a subscription is where its phone is, and outlives a kill."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.conftest import FAST
from tests.support.sipwire import SipMessage
from tests.support.stage import Stage, open_stage
from tests.support.tandem import Tandem
from tests.support.waiting import until

pytestmark = pytest.mark.journey

ROUNDS = 12
"Connections: the kernel chooses the process for each, so that all reach the same once in two thousand times."


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    tandem = Tandem(tmp_path_factory.mktemp("processes"), PROCESSES__SIP="2", **FAST)
    async with open_stage(tandem, "127.0.0.1") as opened:
        yield opened


async def holder(stage: Stage, watcher: str) -> str:
    """The process that has somebody's subscription, when the former one has let go of it."""
    found: list[str] = []

    async def one() -> bool:
        answer = await stage.tandem.api("/api/sessions", address=watcher)
        found[:] = [session["node"] for session in answer["sessions"] if session["kind"] == "sip dialog"]
        return len(found) == 1

    await until("one process has it", one, 10)
    return found[0]


def says(note: str, notify: SipMessage) -> bool:
    return note in notify.text


async def test_a_subscription_follows_its_phone(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob, "tcp") as phone:
        watch = await phone.subscribe(alice.address)
        await watch.state("active")
        seen = set()
        for number in range(ROUNDS):
            phone.close()
            await phone.connect()
            assert (await watch.refresh()).status == 200
            note = f"round {number}"
            desk.show("away", note)
            await watch.notified(note, partial(says, note))
            seen.add(await holder(stage, bob.address))
        assert seen == {"sip-1", "sip-2"}
        assert (await watch.end()).status == 200
        await watch.state("terminated")


async def test_a_subscription_outlives_its_process(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob, "tcp") as phone:
        watch = await phone.subscribe(alice.address)
        await watch.state("active")
        os.kill(stage.tandem.pid_of(await holder(stage, bob.address)), signal.SIGKILL)
        await until("the phone has noticed", lambda: not phone.connected, 10)
        await phone.connect()
        assert (await watch.refresh()).status == 200
        desk.show("away", "after the crash")
        await watch.notified("after the crash", lambda n: "after the crash" in n.text)


async def test_a_phone_that_only_registers_anew_is_notified_where_it_is(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob, "tcp") as phone:
        await phone.register()
        watch = await phone.subscribe(alice.address)
        await watch.state("active")
        seen = set()
        for number in range(ROUNDS):
            phone.close()
            await phone.connect()
            await phone.register()
            note = f"registration {number}"
            desk.show("away", note)
            await watch.notified(note, partial(says, note))
            seen.add(await holder(stage, bob.address))
        assert seen == {"sip-1", "sip-2"}
