"""baresip: registers, publishes, watches its contact, chats; over UDP, TCP and IPv6."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.programs import Baresip, need
from tests.support.stage import Person, Stage
from tests.support.waiting import until

pytestmark = pytest.mark.interop


@pytest.fixture(autouse=True)
def _installed() -> None:
    need("baresip", "tmux")


def phone(
    stage: Stage,
    tmp_path: Path,
    person: Person,
    *friends: Person,
    transport: str = "udp",
    host: str = "127.0.0.1",
) -> Baresip:
    server = f"sip:{host}:{stage.tandem.sip_port};transport={transport}"
    return Baresip(
        tmp_path / "baresip",
        f'<sip:{person.address}>;auth_pass={person.password};outbound="{server}";regint=60;pubint=60',
        tuple(f'"{friend.address}" <sip:{friend.address}>;presence=p2p' for friend in friends),
        listen=f"{host}:0",
    )


@pytest.mark.parametrize(
    ("transport", "where"), [("udp", "127.0.0.1"), ("tcp", "127.0.0.1"), ("udp", "[::1]")]
)
async def test_baresip_and_an_xmpp_client_see_each_other_and_chat(
    stage: Stage, tmp_path: Path, transport: str, where: str
) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with (
        stage.client(alice) as desk,
        phone(stage, tmp_path, bob, alice, transport=transport, host=where) as baresip,
    ):
        await desk.online(bob.address)

        async def sees() -> bool:
            contacts = await baresip.command("contacts")
            return "Online" in contacts

        await until("baresip shows alice online", sees, 10)

        desk.say(bob.address, "Hello baresip")
        await baresip.shows("Hello baresip")

        await baresip.command("message", "Hello from baresip")
        heard = await desk.hears("Hello from baresip")
        assert heard["from"].bare == bob.address
        await baresip.quit()
        await desk.offline(bob.address)
