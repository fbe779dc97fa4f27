"""A phone follows its user's whole buddy list with one subscription, without any client-side list."""

from __future__ import annotations

import pytest

from tests.support.stage import Stage
from tests.support.tandem import DOMAIN

pytestmark = pytest.mark.journey


async def test_one_subscription_shows_every_buddy(stage: Stage) -> None:
    alice, bob, carol = await stage.friends("alice", "bob", "carol")
    async with stage.client(alice) as desk, stage.phone(carol) as other, stage.phone(bob, "tcp") as phone:
        await phone.register()
        watch = await phone.subscribe(
            f"buddies@{DOMAIN}", Supported="eventlist", Accept="multipart/related, application/rlmi+xml"
        )
        first = await watch.state("active")
        assert 'fullState="true"' in first.text
        assert alice.address in first.text
        assert carol.address in first.text
        desk.show("away", "Out for lunch")
        await watch.notified("alice away", lambda n: "Out for lunch" in n.text)
        await other.register()
        await watch.notified("carol there", lambda n: carol.address in n.text and "open" in n.text)
