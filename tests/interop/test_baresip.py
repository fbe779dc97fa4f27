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

        await until("baresip shows alice online", sees, 30)

        desk.say(bob.address, "Hello baresip")
        await baresip.shows("Hello baresip")

        await baresip.command("message", "Hello from baresip")
        heard = await desk.hears("Hello from baresip")
        assert heard["from"].bare == bob.address
        await baresip.quit()
        await desk.offline(bob.address)


async def test_two_connections_of_one_baresip_are_one_phone(stage: Stage, tmp_path: Path) -> None:
    alice, bob = await stage.friends("alice", "bob")
    server = f"sip:127.0.0.1:{stage.tandem.sip_port};transport="
    account = (
        f"<sip:{bob.address}>;auth_pass={bob.password};regint=60;pubint=0;sipnat=outbound"
        f';outbound="{server}tcp";outbound2="{server}udp"'
    )
    async with (
        stage.client(alice) as desk,
        Baresip(tmp_path / "baresip", account, modules=("uuid",)) as baresip,
    ):
        seen = await desk.online(bob.address)

        async def both() -> bool:
            answer = await stage.tandem.api("/api/sessions", address=bob.address)
            ways = [each["transport"] for each in answer["sessions"] if each["kind"] == "sip binding"]
            return sorted(ways) == ["tcp", "udp"]

        await until("both flows are registered", both, 30)
        desk.say(bob.address, "Once to both")
        screen = await baresip.shows("Once to both")
        desk.say(bob.address, "And once more")
        screen = await baresip.shows("And once more")
        assert screen.count("Once to both") == 1
        assert {p["from"] for p in desk.presences.matching(lambda p: p["from"].bare == bob.address)} == {
            seen["from"]
        }
        await baresip.quit()
        await desk.offline(bob.address)
