"""linphonec: registers, publishes, watches its friend, chats, reports what it got; over UDP and TCP."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.consoles import Linphone
from tests.interop.programs import need
from tests.support.stage import Stage

pytestmark = pytest.mark.interop

RECEIPTS = "urn:xmpp:receipts"


@pytest.fixture(autouse=True)
def _installed() -> None:
    need("linphonec")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_linphone_and_an_xmpp_client_see_each_other_and_chat(
    stage: Stage, tmp_path: Path, transport: str
) -> None:
    alice, bob = await stage.friends("alice", "bob")
    server = ("127.0.0.1", stage.tandem.sip_port)
    async with (
        stage.client(alice) as desk,
        Linphone(tmp_path / "linphone", bob, alice.address, server, transport) as phone,
    ):
        await desk.online(bob.address)
        await phone.shows(f"<sip:{alice.address}> is Online")
        desk.show("away", "Back soon")
        await phone.shows(f"<sip:{alice.address}> is Away")

        phone.type(f"chat sip:{alice.address} Hello from linphone")
        await desk.hears("Hello from linphone")
        desk.say(bob.address, "Hello linphone")
        await phone.shows("Message received from")
        await phone.shows(f"sip:{alice.address}")
        await phone.shows("Hello linphone")
        await desk.echo()
        # It reports on every text, unasked; nobody is told who did not ask.
        assert not desk.messages.matching(lambda m: m.xml.find(f"{{{RECEIPTS}}}received") is not None)
        desk.xmpp.send_raw(
            f"<message to='{bob.address}' type='chat' id='a1'><body>Got it?</body>"
            f"<request xmlns='{RECEIPTS}'/></message>"
        )
        receipt = await desk.messages.take(
            "the receipt", lambda m: m.xml.find(f"{{{RECEIPTS}}}received") is not None
        )
        assert receipt.xml.find(f"{{{RECEIPTS}}}received").get("id") == "a1"

        await phone.quit()
        await desk.offline(bob.address)
