"""Journey 10: one history for phone and clients: what is said on either is in archive and carbons."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.stage import Stage, open_stage
from tests.support.tandem import DOMAIN, Tandem
from tests.support.waiting import until
from tests.support.xmppclient import Client, Stanza

pytestmark = pytest.mark.journey

PLUGINS = ("xep_0280", "xep_0313", "xep_0359", "xep_0441")


async def history(client: Client, **asked: object) -> list[tuple[str, str, str]]:
    """Sender, text and id of what is in the client's archive, by pages of two."""
    found = []
    async for result in client.xmpp.plugin["xep_0313"].iterate(rsm={"max": 2}, **asked):
        message = result["mam_result"]["forwarded"]["stanza"]
        found.append((str(message["from"].bare), str(message["body"]), str(result["mam_result"]["id"])))
    return found


class Carbons:
    """The carbons one client gets."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def enable(self) -> None:
        await self.client.xmpp.plugin["xep_0280"].enable()

    async def hears(self, kind: str, body: str) -> Stanza:
        """The message in a carbon of that kind, `sent` or `received`."""
        name = f"carbon_{kind}"
        carbon = await self.client.messages.take(
            f"a carbon of {body!r}", lambda m: name in m and m[name]["body"] == body
        )
        return carbon[name]


async def test_what_is_said_on_a_phone_is_in_the_carbons_and_in_both_archives(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with (
        stage.client(alice, plugins=PLUGINS) as desk,
        stage.client(bob, "laptop", plugins=PLUGINS) as laptop,
        stage.phone(bob) as phone,
    ):
        await phone.register()
        carbons = Carbons(laptop)
        await carbons.enable()
        assert (await phone.message(alice.address, "from the desk phone")).status == 200
        heard = await desk.hears("from the desk phone")
        copied = await carbons.hears("sent", "from the desk phone")
        assert copied["to"].bare == alice.address
        archived = heard["stanza_id"]["id"]
        assert str(heard["stanza_id"]["by"]) == alice.address
        assert copied["stanza_id"]["id"] == archived
        assert str(copied["stanza_id"]["by"]) == bob.address
        for client in (desk, laptop):
            assert await history(client) == [(bob.address, "from the desk phone", archived)]


async def test_what_a_phone_hears_its_users_clients_have_too(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice, plugins=PLUGINS) as desk, stage.phone(bob) as phone:
        await phone.register()
        desk.say(bob.address, "to the phone alone")
        await phone.hears("to the phone alone")
        async with stage.client(bob, "laptop", plugins=PLUGINS) as laptop:
            ((sender, text, _),) = await history(laptop)
            assert (sender, text) == (alice.address, "to the phone alone")


async def test_each_of_her_clients_sees_both_sides_of_every_conversation(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with (
        stage.client(alice, "desk", plugins=PLUGINS) as desk,
        stage.client(alice, "mobile", plugins=PLUGINS) as mobile,
        stage.client(bob) as his,
    ):
        carbons = Carbons(mobile)
        await carbons.enable()
        desk.say(bob.address, "I am at my desk")
        assert (await carbons.hears("sent", "I am at my desk"))["from"] == desk.full
        his.say(desk.full, "I see")
        assert (await carbons.hears("received", "I see"))["to"] == desk.full
        texts = [text for _, text, _ in await history(mobile)]
        assert texts == ["I am at my desk", "I see"]


async def test_a_new_client_pages_through_a_long_conversation(stage: Stage) -> None:
    alice, bob, carol = await stage.friends("alice", "bob", "carol")
    async with stage.client(alice) as desk, stage.client(carol) as hers, stage.phone(bob) as phone:
        await phone.register()
        for number in range(4):
            desk.say(bob.address, f"line {number}")
            await phone.hears(f"line {number}")
            await phone.message(alice.address, f"answer {number}")
        desk.say(carol.address, "something else")
        await hers.hears("something else")
        async with stage.client(alice, "new", plugins=PLUGINS) as new:
            expected = [word for n in range(4) for word in (f"line {n}", f"answer {n}")]
            assert [text for _, text, _ in await history(new, with_jid=bob.address)] == expected
            backwards = [text for _, text, _ in await history(new, with_jid=bob.address, reverse=True)]
            assert sorted(backwards) == sorted(expected)
            assert len(await history(new)) == 9
            metadata = await new.xmpp.plugin["xep_0313"].get_archive_metadata()
            assert metadata["mam_metadata"]["start"]["id"]


async def test_what_she_wants_not_kept_is_not_kept(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice, plugins=PLUGINS) as desk, stage.client(bob, plugins=PLUGINS) as his:
        wishes = desk.xmpp.plugin["xep_0441"]
        await wishes.set_preferences(default="always", never=[bob.address])
        desk.say(bob.address, "between us")
        await his.hears("between us")
        assert await history(desk) == []
        assert [text for _, text, _ in await history(his)] == ["between us"]


@pytest.fixture
async def doomed(tmp_path: Path) -> AsyncIterator[Stage]:
    """A gateway of one's own, to be killed."""
    async with open_stage(Tandem(tmp_path / "tandem"), "127.0.0.1") as stage:
        yield stage


async def test_what_was_accepted_is_in_the_archive_after_everything_was_killed(doomed: Stage) -> None:
    alice, bob = await doomed.friends("alice", "bob")
    spoken = [f"line {number}" for number in range(50)]
    async with doomed.phone(bob) as phone:
        for text in spoken:
            assert (await phone.message(alice.address, text)).status == 202
    await doomed.tandem.kill_all()
    await doomed.tandem.start()
    async with doomed.client(alice, plugins=PLUGINS) as desk:
        assert [text for _, text, _ in await history(desk)] == spoken


async def test_the_history_is_whole_while_its_writer_is_killed_again_and_again(doomed: Stage) -> None:
    alice, bob = await doomed.friends("alice", "bob")
    async with doomed.client(alice, plugins=PLUGINS) as desk, doomed.phone(bob) as phone:
        await phone.register()
        for number in range(3):
            killed = doomed.tandem.kill("admin")
            desk.say(bob.address, f"line {number}")
            await phone.hears(f"line {number}")
            assert [text for _, text, _ in await history(desk)] == [f"line {n}" for n in range(number + 1)]

            async def back(killed: int = killed) -> bool:
                return doomed.tandem.pids().get("admin", killed) != killed

            await until("admin is back", back, 30)


async def test_a_phone_asks_for_what_was_said_before_it_was_there(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with (
        stage.client(alice) as desk,
        stage.client(bob, "laptop", plugins=PLUGINS) as laptop,
        stage.phone(bob) as phone,
    ):
        await desk.online(bob.address)
        desk.say(bob.address, "before the phone")
        await laptop.hears("before the phone")
        laptop.say(alice.address, "from the laptop")
        await desk.hears("from the laptop")
        kept = await history(laptop)
        await phone.register()
        assert (await phone.message(f"presence@{DOMAIN}", f"history {alice.address} 10")).status == 200
        answer = await phone.received("MESSAGE", "the history")
        title, *lines = answer.text.splitlines()
        assert title == f"Last said with {alice.address}, times in UTC:"
        said = [(alice.address.partition("@")[0], "before the phone"), ("me", "from the laptop")]
        assert [line[17:] for line in lines] == [f"{who}: {text}" for who, text in said]
        await laptop.echo()
        assert await history(laptop) == kept
        assert not laptop.messages.matching(lambda m: "Last said" in m["body"])
