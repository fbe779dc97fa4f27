"""libpurple's SIP account, as in Pidgin and BitlBee: registers, publishes, watches, chats."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.interop.lines import program
from tests.interop.programs import need
from tests.support.stage import Stage
from tests.support.waiting import until

pytestmark = pytest.mark.interop


@pytest.fixture(autouse=True)
def _installed() -> None:
    need("/usr/lib/*/libpurple.so.0")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_libpurple_and_an_xmpp_client_see_each_other_and_chat(
    stage: Stage, tmp_path: Path, transport: str
) -> None:
    alice, bob = await stage.friends("alice", "bob")
    port = str(stage.tandem.sip_port)
    async with (
        stage.client(alice) as desk,
        program("libpurple", bob.address, bob.password, port, transport, str(tmp_path)) as phone,
    ):
        await phone.tells("registered")
        await desk.online(bob.address)
        phone.do("watch", alice.address)
        await phone.tells("buddy", online=True)

        phone.do("message", alice.address, "Hello from libpurple")
        await desk.hears("Hello from libpurple")
        desk.say(bob.address, "Hello libpurple")

        def heard() -> bool:
            # On a stream it reads one message at a time: what came with it waits for the next bytes.
            desk.show(status=f"Nudge {next(numbers)}")
            return bool(phone.told.matching(lambda told: told.get("body") == "Hello libpurple"))

        numbers = itertools.count()
        await until("libpurple heard her", heard, 30, pause=0.5)

        if transport == "udp":
            await desk.close()
            await phone.tells("buddy", online=False)
        phone.do("quit")
