"""twinkle-console: registers, publishes, chats; over UDP and TCP. Its buddies are in its window only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.consoles import Twinkle
from tests.interop.programs import need
from tests.support.stage import Stage

pytestmark = pytest.mark.interop


@pytest.fixture(autouse=True)
def _installed() -> None:
    need("twinkle-console")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_twinkle_is_seen_and_chats(stage: Stage, tmp_path: Path, transport: str) -> None:
    alice, bob = await stage.friends("alice", "bob")
    server = ("127.0.0.1", stage.tandem.sip_port)
    async with (
        stage.client(alice) as desk,
        Twinkle(tmp_path / "twinkle", bob, server, transport) as phone,
    ):
        await phone.shows("registration succeeded")
        await desk.online(bob.address)

        phone.type("presence -b offline")
        await desk.offline(bob.address)
        phone.type("presence -b online")
        await desk.online(bob.address)

        phone.type(f'message {alice.address} "Hello from twinkle"')
        await desk.hears("Hello from twinkle")
        desk.say(bob.address, "Hello twinkle")
        await phone.shows("Hello twinkle")

        await phone.quit()
        await desk.offline(bob.address)
