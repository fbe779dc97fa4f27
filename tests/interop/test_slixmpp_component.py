"""slixmpp as a component (XEP-0114): a bot that serves a domain of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from slixmpp import ComponentXMPP
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.support.inbox import PATIENCE, Inbox
from tests.support.ports import free_port
from tests.support.stage import Stage, open_stage
from tests.support.tandem import DOMAIN, Tandem

pytestmark = pytest.mark.interop

BOTS = f"bots.{DOMAIN}"
BOT = f"parrot@{BOTS}"
ERRORS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
SECRET = "polly wants a cracker"


class Bot:
    """What it hears is in its inboxes; what is said to it, it says again."""

    def __init__(self, port: int, secret: str = SECRET) -> None:
        make: Any = ComponentXMPP  # whose annotations are too partial to check against
        self.xmpp = make(BOTS, secret, "127.0.0.1", port)
        self.xmpp.register_plugin("xep_0030")
        self.xmpp.register_plugin("xep_0199")
        self.xmpp.auto_authorize = None
        self.xmpp.auto_subscribe = False
        self.presences: Inbox[Any] = Inbox("the bot (presence)")
        self.messages: Inbox[Any] = Inbox("the bot (messages)")
        every = MatchXPath("{jabber:component:accept}presence")
        self.xmpp.register_handler(Callback("every presence", every, self.presences.put))
        self.xmpp.add_event_handler("message", self._message)
        self.connected = asyncio.Event()
        self.gone = asyncio.Event()
        self.xmpp.add_event_handler("session_start", lambda _: self.connected.set())
        self.xmpp.add_event_handler("disconnected", lambda _: self.gone.set())

    def _message(self, stanza: Any) -> None:
        self.messages.put(stanza)
        if stanza["type"] == "chat":
            self.xmpp.send_message(mto=stanza["from"], mbody=stanza["body"], mtype="chat", mfrom=stanza["to"])

    async def saw(self, kind: str, sender: str) -> Any:
        return await self.presences.take(
            f"{kind} from {sender}", lambda s: s["type"] == kind and s["from"].bare == sender
        )


@asynccontextmanager
async def bots(folder: Path, **settings: str) -> AsyncIterator[tuple[Stage, int]]:
    port = free_port()
    component = json.dumps([{"domain": BOTS, "secret": SECRET}])
    tandem = Tandem(
        folder, XMPP__COMPONENTS=component, XMPP__LISTEN_COMPONENTS=f"127.0.0.1:{port}", **settings
    )
    async with open_stage(tandem, "127.0.0.1") as stage:
        yield stage, port


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Bot]:
    bot = Bot(port)
    bot.xmpp.connect()
    async with asyncio.timeout(PATIENCE):
        await bot.connected.wait()
    try:
        yield bot
    finally:
        await bot.xmpp.disconnect()


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stage, int]]:
    async with bots(tmp_path_factory.mktemp("bots")) as made:
        yield made


async def test_people_and_a_bot_talk_and_discover_each_other(served: tuple[Stage, int]) -> None:
    stage, port = served
    (alice,) = await stage.friends("alice")
    async with connected(port) as bot, stage.client(alice, plugins=("xep_0030", "xep_0199")) as desk:
        desk.say(BOT, "hello, <Polly> & friends")
        await desk.hears("hello, <Polly> & friends")
        assert (await bot.messages.take("her words", lambda m: bool(m["body"])))["from"].bare == alice.address
        assert await desk.xmpp.plugin["xep_0199"].ping(BOTS) < PATIENCE
        items = await desk.xmpp.plugin["xep_0030"].get_items(jid=DOMAIN)
        assert BOTS in {str(item[0]) for item in items["disco_items"]["items"]}
        info = await bot.xmpp.plugin["xep_0030"].get_info(jid=DOMAIN, ifrom=BOT)
        assert ("server", "im") in {identity[:2] for identity in info["disco_info"]["identities"]}


async def test_a_bot_reaches_phones(served: tuple[Stage, int]) -> None:
    stage, port = served
    (bob,) = await stage.friends("bob")
    async with connected(port) as bot, stage.phone(bob) as phone:
        await phone.register()
        bot.xmpp.send_message(mto=bob.address, mbody="Bell!", mtype="chat", mfrom=BOT)
        await phone.hears("Bell!")


async def test_a_phone_talks_with_a_bot_and_all_of_it_is_in_the_archive(served: tuple[Stage, int]) -> None:
    stage, port = served
    (carol,) = await stage.friends("carol")
    async with stage.phone(carol) as phone, stage.client(carol, plugins=("xep_0313", "xep_0359")) as desk:
        await phone.register()
        assert (await phone.message(BOT, "anybody?")).status == 504
        async with connected(port):
            assert (await phone.message(BOT, "Pretty Polly")).status == 202
            await phone.hears("Pretty Polly")
            desk.say(BOT, "and from my desk")
            await desk.hears("and from my desk")
        found = desk.xmpp.plugin["xep_0313"].iterate(with_jid=BOT)
        kept = [each["mam_result"]["forwarded"]["stanza"] async for each in found]
        assert [(str(each["from"].bare), each["body"]) for each in kept] == [
            (carol.address, "Pretty Polly"),
            (BOT, "Pretty Polly"),
            (carol.address, "and from my desk"),
            (BOT, "and from my desk"),
        ]


async def test_subscriptions_and_presence_go_both_ways(served: tuple[Stage, int]) -> None:
    stage, port = served
    (alice,) = await stage.friends("alice")
    async with connected(port) as bot:
        async with stage.client(alice) as desk:
            desk.xmpp.send_presence(pto=BOT, ptype="subscribe")
            await bot.saw("subscribe", alice.address)
            bot.xmpp.roster[BOT][alice.address].authorize()  # it answers probes by what it knows
            bot.xmpp.send_presence(pto=alice.address, pfrom=BOT, pstatus="on my perch")
            await desk.online(BOT)
            bot.xmpp.send_presence(pto=alice.address, pfrom=BOT, ptype="subscribe")
            await desk.presences.take("the bot's request", lambda s: s["type"] == "subscribe")
            desk.xmpp.send_presence(pto=BOT, ptype="subscribed")
            await bot.saw("subscribed", alice.address)
            await bot.saw("available", alice.address)
            assert desk.xmpp.client_roster[BOT]["subscription"] == "both"
            desk.xmpp.send_presence(pshow="dnd")
            seen = await bot.presences.take("her presence", lambda s: s["type"] == "dnd")
            assert seen["from"].full == desk.full
        await bot.saw("unavailable", alice.address)
        async with stage.client(alice) as desk:
            await bot.saw("probe", alice.address)
            await bot.saw("available", alice.address)
            await desk.xmpp.del_roster_item(BOT)
            await bot.saw("unsubscribe", alice.address)
            await bot.saw("unsubscribed", alice.address)


async def test_what_a_bot_may_not_do_is_refused(served: tuple[Stage, int]) -> None:
    stage, port = served
    (alice,) = await stage.friends("alice")
    async with connected(port) as bot:
        refused: Inbox[Any] = Inbox("refusals")

        async def condition() -> str:
            # slixmpp's own reading of errors is set to one namespace for all streams of a process.
            stanza = await refused.take("an error", lambda _: True)
            tags = [str(each.tag) for each in stanza.xml.iter()]
            return next(tag.removeprefix(ERRORS) for tag in tags if tag.startswith(ERRORS))

        bot.xmpp.add_event_handler("message_error", refused.put)
        bot.xmpp.send_message(mto=f"nobody@{DOMAIN}", mbody="?", mtype="chat", mfrom=BOT)
        assert await condition() == "service-unavailable"
        bot.xmpp.send_message(mto="a@elsewhere.example", mbody="?", mtype="chat", mfrom=BOT)
        assert await condition() == "remote-server-not-found"
        bot.gone.clear()
        bot.xmpp.send_raw(
            f"<message from='{alice.address}' to='{alice.address}' type='chat'><body>I am me</body></message>"
        )
        async with asyncio.timeout(PATIENCE):
            await bot.gone.wait()


async def test_without_the_secret_and_without_the_bot_nothing_is_carried(served: tuple[Stage, int]) -> None:
    stage, port = served
    (alice,) = await stage.friends("alice")
    stranger = Bot(port, "not the secret")
    stranger.xmpp.connect()
    async with asyncio.timeout(PATIENCE):
        await stranger.gone.wait()
    assert not stranger.connected.is_set()
    async with stage.client(alice) as desk:
        assert await desk.bounced(desk.say(BOT, "anybody?")) == "remote-server-timeout"


async def test_a_bot_at_one_process_serves_the_people_of_all(tmp_path: Path) -> None:
    async with bots(tmp_path, PROCESSES__XMPP="2") as (stage, port), connected(port):
        people = await stage.friends(*(f"alice{n}" for n in range(6)))
        for person in people:  # the kernel spreads them over both processes
            async with stage.client(person) as desk:
                desk.say(BOT, f"hello from {person.address}")
                await desk.hears(f"hello from {person.address}")
