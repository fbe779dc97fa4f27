"""Journey 8: `kill -9` of any process under chat: all comes back by itself, no acknowledged message is lost,
no ghost stays longer than a lease."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from presence.ledger import OVERDUE_SECONDS
from tests.support.pidf import read_pidf
from tests.support.sipclient import Phone, SilentServer
from tests.support.stage import Person, Stage, open_stage
from tests.support.tandem import Tandem
from tests.support.waiting import until
from tests.support.xmppclient import Client, LoginFailed

pytestmark = pytest.mark.journey

LEASE = 30.0
"Seconds a ghost may stay."
SPOKEN = 15
"Acknowledged messages of each side before, and again after, the kill."


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A gateway to be hurt, not shared with other journeys."""
    async with open_stage(Tandem(tmp_path_factory.mktemp("hurt")), "127.0.0.1") as opened:
        yield opened


async def until_it_is_back(stage: Stage, role: str, killed: int) -> None:
    """The role has a new process and everything is healthy again."""

    async def back() -> bool:
        return stage.tandem.pids().get(role, killed) != killed and await stage.tandem.healthy()

    await until(f"{role} is back", back, LEASE)


async def logged_in_again(stage: Stage, person: Person) -> Client:
    """A login as clients do after a lost connection: again and again."""
    async with asyncio.timeout(LEASE):
        while True:
            client = stage.client(person)
            with suppress(LoginFailed, OSError):
                _, writer = await asyncio.open_connection(*client.server)  # somebody listens
                writer.close()
                await client.login(patience=5)
                return client
            await client.abort()
            await asyncio.sleep(0.05)


class ChattyClient:
    """Alice, who says numbered lines, logs in again when thrown out, and notes what was acknowledged.

    A line counts as acknowledged when a ping sent after it on the same stream is answered.
    """

    def __init__(self, stage: Stage, person: Person) -> None:
        self.stage = stage
        self.person = person
        self.acknowledged: list[str] = []
        self.clients: list[Client] = []

    async def talk(self, to: str) -> None:
        number = 0
        while True:
            client = await self.present()
            number += 1
            text = f"from alice {number}"
            id = client.say(to, text)
            if await client.answered(id):
                self.acknowledged.append(text)

    async def present(self) -> Client:
        """Her client; a new one where the last was thrown out."""
        if self.clients and self.clients[-1].disconnected.is_set():
            await self.clients[-1].abort()
        if not self.clients or self.clients[-1].disconnected.is_set():
            self.clients.append(await logged_in_again(self.stage, self.person))
        return self.clients[-1]

    def heard(self) -> list[str]:
        return [m["body"] for client in self.clients for m in client.messages.history if m["body"]]


class ChattyPhone:
    """Bob's phone, which says numbered lines; a 2xx acknowledges."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.acknowledged: list[str] = []

    async def talk(self, to: str) -> None:
        number = 0
        while True:
            number += 1
            text = f"from bob {number}"
            with suppress(SilentServer):
                if (await self.phone.message(to, text, patience=8)).status < 300:
                    self.acknowledged.append(text)
                else:
                    await asyncio.sleep(0.1)

    def heard(self) -> list[str]:
        return [r.text for r in self.phone.requests.history if r.method == "MESSAGE"]


async def reach(count: int, *lists: list[str]) -> None:
    await until(
        f"{count} acknowledged messages of each side",
        lambda: all(len(each) >= count for each in lists),
        2 * LEASE,
    )


@pytest.mark.parametrize("role", ["xmpp", "sip", "admin", "valkey"])
async def test_no_acknowledged_message_is_lost(stage: Stage, role: str) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob, "udp") as phone:
        await phone.register()
        client, talker = ChattyClient(stage, alice), ChattyPhone(phone)
        tasks = [
            asyncio.create_task(client.talk(bob.address)),
            asyncio.create_task(talker.talk(alice.address)),
        ]
        try:
            await reach(SPOKEN, client.acknowledged, talker.acknowledged)
            killed = stage.tandem.kill(role)
            before = max(len(client.acknowledged), len(talker.acknowledged))
            await reach(before + SPOKEN, client.acknowledged, talker.acknowledged)
            await until_it_is_back(stage, role, killed)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [o for o in outcomes if not isinstance(o, asyncio.CancelledError)] == []
        await client.present()

        def lost() -> list[str]:
            unheard_of_alice = set(client.acknowledged) - set(talker.heard())
            return sorted(unheard_of_alice | (set(talker.acknowledged) - set(client.heard())))

        with suppress(AssertionError):
            await until("all is heard", lambda: not lost(), LEASE)
        await client.clients[-1].close()
        assert lost() == []


async def test_no_ghost_of_a_client_whose_server_died(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob) as phone:
        await phone.register()
        desk = stage.client(alice)
        await desk.login()
        watch = await phone.subscribe(alice.address)
        await watch.notified("alice online", lambda n: any(t.open for t in read_pidf(n.body)))
        killed = stage.tandem.kill("xmpp")
        await desk.disconnected.wait()
        await desk.abort()
        await watch.notified(
            "alice gone", lambda n: not any(t.open for t in read_pidf(n.body)), patience=LEASE
        )
        await until_it_is_back(stage, "xmpp", killed)


async def test_no_ghost_of_a_phone_whose_server_died(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob, "tcp") as phone:
        await phone.register()
        await desk.online(bob.address)
        killed = stage.tandem.kill("sip")
        await desk.offline(bob.address, patience=LEASE)
        await until_it_is_back(stage, "sip", killed)


async def test_a_datagram_phones_registration_and_subscription_survive(
    stage: Stage,
) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob, "udp") as phone:
        await phone.register()
        await desk.online(bob.address)
        watch = await phone.subscribe(alice.address)
        await watch.state("active")
        killed = stage.tandem.kill("sip")
        await until_it_is_back(stage, "sip", killed)
        desk.show("away", "after the crash")
        await watch.notified(
            "alice away",
            lambda n: any("after the crash" in t.notes for t in read_pidf(n.body)),
            patience=LEASE,
        )
        desk.say(bob.address, "are you there?")
        await phone.hears("are you there?")
        assert [
            p for p in desk.presences.history if p["from"].bare == bob.address and p["type"] == "unavailable"
        ] == []


async def test_presence_is_right_again_after_the_bus_died(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob, "udp") as phone:
        await phone.register()
        await desk.online(bob.address)
        watch = await phone.subscribe(alice.address)
        await watch.state("active")
        killed = stage.tandem.kill("valkey")
        await until_it_is_back(stage, "valkey", killed)
        desk.show("dnd", "after the bus")
        await watch.notified(
            "alice busy", lambda n: any("after the bus" in t.notes for t in read_pidf(n.body)), patience=LEASE
        )
        await phone.unregister()
        await desk.offline(bob.address, patience=LEASE)


async def test_all_of_it_is_killed_and_started_again(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob, "udp") as phone:
        await phone.register()
        assert (await phone.message(alice.address, "before the fall")).status == 202
        await stage.tandem.kill_all()
        await stage.tandem.start()
        async with stage.client(alice) as desk:
            await desk.hears("before the fall")
            desk.say(bob.address, "after the fall")
            await phone.hears("after the fall")


async def test_what_is_said_while_the_phones_process_is_away_is_there_when_it_is_back(tmp_path: Path) -> None:
    """Not only when the phone registers anew, or when what is owed is looked through."""
    async with open_stage(Tandem(tmp_path), "127.0.0.1") as stage:
        alice, bob = await stage.friends("alice", "bob")
        async with stage.client(alice) as desk, stage.phone(bob, "udp") as phone:
            await phone.register()
            os.kill(stage.tandem.pids()["sip"], signal.SIGKILL)
            desk.say(bob.address, "are you there?")
            await phone.hears("are you there?", OVERDUE_SECONDS / 2)
