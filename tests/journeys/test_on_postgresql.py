"""All of it with accounts, rosters and archive in PostgreSQL (`store.url`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import FAST
from tests.support.postgres import Postgres
from tests.support.stage import Person, Stage, open_stage
from tests.support.tandem import DOMAIN, Tandem

pytestmark = pytest.mark.journey


@pytest.fixture
async def stage(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Stage]:
    url = await postgres.database()
    async with open_stage(Tandem(tmp_path / "tandem", **FAST, STORE__URL=url), "127.0.0.1") as stage:
        yield stage


async def test_people_log_in_at_both_doors_and_talk(stage: Stage) -> None:
    alice = Person(f"alice@{DOMAIN}", "made on the command line")
    await stage.tandem.command("user", "add", alice.address, stdin=f"{alice.password}\n")
    bob = await stage.person("bob")
    await stage.befriend(alice, bob)
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        assert (await phone.message(alice.address, "from the phone")).status == 200
        await desk.hears("from the phone")
        desk.say(bob.address, "from the desk")
        await phone.hears("from the desk")
        watch = await phone.subscribe(alice.address)
        await watch.state("active")
    assert await stage.tandem.healthy()
    assert not list((stage.tandem.directory / "state").glob("*.sqlite*"))
