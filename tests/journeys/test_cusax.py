"""One person, two addresses: a phone is told the XMPP one, a chat client finds the SIP one (RFC 7081)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import FAST
from tests.support.stage import Stage, open_stage
from tests.support.tandem import Tandem

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    proxy = {"SIP__TRUSTED_PEERS": "192.0.2.1"}
    async with open_stage(Tandem(tmp_path_factory.mktemp("cusax"), **FAST, **proxy), "127.0.0.1") as opened:
        yield opened


async def test_each_side_learns_the_other_address(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice, plugins=("xep_0054",)) as desk, stage.phone(bob) as phone:
        assert (await phone.register())["Call-Info"] == f"<xmpp:{bob.address}>;purpose=impp"
        desk.say(bob.address, "call me")
        assert (await phone.hears("call me"))["Call-Info"] == f"<xmpp:{alice.address}>;purpose=impp"
        vcards = desk.xmpp.plugin["xep_0054"]
        found = await vcards.get_vcard(bob.address)
        assert [tel["NUMBER"] for tel in found["vcard_temp"]["telephone_numbers"]] == [f"sip:{bob.address}"]
        # What is written back is there once.
        mine = (await vcards.get_vcard(alice.address, local=False))["vcard_temp"]
        mine["FN"] = "Alice"
        await vcards.publish_vcard(mine)
        again = (await vcards.get_vcard(alice.address, local=False))["vcard_temp"]
        assert again["FN"] == "Alice"
        assert [tel["NUMBER"] for tel in again["telephone_numbers"]] == [f"sip:{alice.address}"]
