"""A phone's app is suspended and its connection closed: a push service wakes it for a message (RFC 8599)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import FAST
from tests.support.pushservice import PRIVATE, PushService, push_service
from tests.support.sipclient import Phone
from tests.support.stage import Stage, open_stage
from tests.support.tandem import Tandem

pytestmark = pytest.mark.journey

ROUNDS = 8
"The kernel chooses the process for each connection."


@pytest.fixture
async def push(tmp_path: Path) -> AsyncIterator[PushService]:
    async with push_service(tmp_path) as opened:
        yield opened


def reaching(push: PushService) -> dict[str, str]:
    return {
        "SIP__PUSH__WEBPUSH": "true",
        "SIP__PUSH__AUTHORITIES": str(push.authorities),
        "SIP__PUSH__PRIVATE_NETWORKS": ",".join(PRIVATE),
    }


@pytest.fixture
async def stage(tmp_path: Path, push: PushService) -> AsyncIterator[Stage]:
    async with open_stage(Tandem(tmp_path / "tandem", **FAST, **reaching(push)), "127.0.0.1") as opened:
        yield opened


async def register(phone: Phone, push: PushService) -> None:
    prid = quote(push.uri("bobs-phone"), safe="")
    contact = f'<sip:bob@127.0.0.1;pn-provider=webpush;pn-prid={prid}>;+sip.instance="<urn:uuid:1>"'
    answer = await phone.register(contact=contact)
    assert answer.status == 200
    assert '+sip.pns="webpush"' in answer["Feature-Caps"]


@pytest.fixture
async def two_processes(tmp_path: Path, push: PushService) -> AsyncIterator[Stage]:
    tandem = Tandem(tmp_path / "tandem", PROCESSES__SIP="2", **FAST, **reaching(push))
    async with open_stage(tandem, "127.0.0.1") as opened:
        yield opened


async def test_it_is_away_is_woken_and_reads(stage: Stage, push: PushService) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob, "tcp") as phone:
        await register(phone, push)
        await desk.online(bob.address, show="")
        phone.close()
        await desk.online(bob.address, show="away")
        desk.say(bob.address, "are you asleep?")
        await push.asked("bobs-phone")
        await phone.connect()
        await register(phone, push)
        await phone.hears("are you asleep?")
        await desk.online(bob.address, show="")


async def test_it_slept_through_the_death_of_the_process_it_was_connected_to(
    stage: Stage, push: PushService
) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob, "tcp") as phone:
        await register(phone, push)
        await desk.online(bob.address, show="")
        stage.tandem.kill("sip")
        await desk.online(bob.address, show="away")
        desk.say(bob.address, "still with us?")
        await push.asked("bobs-phone")
        await phone.connect()
        await register(phone, push)
        await phone.hears("still with us?")


async def test_it_comes_back_to_whichever_process_it_is_given(
    two_processes: Stage, push: PushService
) -> None:
    alice, bob = await two_processes.friends("alice", "bob")
    async with two_processes.client(alice) as desk, two_processes.phone(bob, "tcp") as phone:
        await register(phone, push)
        for number in range(ROUNDS):
            await desk.online(bob.address, show="")
            phone.close()
            await desk.online(bob.address, show="away")
            desk.say(bob.address, f"round {number}")
            await push.asked("bobs-phone")
            await phone.connect()
            await register(phone, push)
            await phone.hears(f"round {number}")
