"""A push service written with slixmpp, a component of ours (XEP-0114): a SIP phone's message wakes a client
that sleeps (XEP-0357)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from xml.etree import ElementTree

import pytest
from slixmpp import ComponentXMPP
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.conftest import FAST
from tests.support.inbox import PATIENCE, Inbox
from tests.support.ports import free_port
from tests.support.stage import Stage, open_stage
from tests.support.tandem import DOMAIN, Tandem
from tests.support.waiting import until

pytestmark = pytest.mark.interop

PUSH = f"push.{DOMAIN}"
SECRET = "ring the bell"
PUBSUB = "{http://jabber.org/protocol/pubsub}"


class PushService:
    """Answers what is published, as told; what it was is in `notices`."""

    def __init__(self, port: int) -> None:
        make: Any = ComponentXMPP  # whose annotations are too partial to check against
        self.xmpp = make(PUSH, SECRET, "127.0.0.1", port)
        self.notices: Inbox[Any] = Inbox("the push service")
        self.refuses = False
        every = MatchXPath(f"{{jabber:component:accept}}iq/{PUBSUB}pubsub")
        self.xmpp.register_handler(Callback("published", every, self._published))
        self.connected = asyncio.Event()
        self.xmpp.add_event_handler("session_start", lambda _: self.connected.set())

    def _published(self, iq: Any) -> None:
        self.notices.put(iq)
        if self.refuses:
            answer = iq.reply()
            answer["type"] = "error"
            answer["error"]["type"] = "cancel"
            answer["error"]["condition"] = "item-not-found"
            answer.send()
        else:
            iq.reply(clear=True).send()

    async def woken(self, node: str) -> Any:
        return await self.notices.take(
            f"a notification for {node}", lambda iq: iq.xml.find(f".//{PUBSUB}publish").get("node") == node
        )


@pytest.fixture(scope="module")
async def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    tandem = Tandem(
        tmp_path_factory.mktemp("tandem"),
        **FAST,
        PROCESSES__XMPP="2",
        XMPP__COMPONENTS=json.dumps([{"domain": PUSH, "secret": SECRET}]),
        XMPP__LISTEN_COMPONENTS=f"127.0.0.1:{free_port()}",
        XMPP__PUSH__INTERVAL="0",
    )
    async with open_stage(tandem, "127.0.0.1") as stage:
        yield stage


@asynccontextmanager
async def service(stage: Stage) -> AsyncIterator[PushService]:
    port = int(stage.tandem.environment["TANDEM_XMPP__LISTEN_COMPONENTS"].rpartition(":")[2])
    made = PushService(port)
    made.xmpp.connect()
    async with asyncio.timeout(PATIENCE):
        await made.connected.wait()
    try:
        yield made
    finally:
        await made.xmpp.disconnect()


async def enable(desk: Any, node: str) -> None:
    iq = desk.xmpp.make_iq_set()
    iq.xml.append(_element(f"<enable xmlns='urn:xmpp:push:0' jid='{PUSH}' node='{node}'/>"))
    await iq.send()


def _element(text: str) -> Any:
    return ElementTree.fromstring(text)


async def test_a_phones_message_wakes_a_client_that_is_gone(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with service(stage) as push, stage.phone(bob) as phone:
        async with stage.client(alice) as desk:
            await enable(desk, "gone")
        await phone.register()
        assert (await phone.message(alice.address, "are you there?")).status == 202
        notice = await push.woken("gone")
        assert notice["from"] == alice.address
        assert "are you there?" not in str(notice)
        assert "<value>1</value>" in str(notice)
        async with stage.client(alice) as desk:
            await desk.hears("are you there?")


async def test_a_client_whose_connection_broke_is_woken(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with service(stage) as push, stage.phone(bob) as phone:
        await phone.register()
        async with stage.client(alice, plugins=("xep_0198",)) as desk:
            await enable(desk, "away")
            await desk.abort()
            await phone.message(alice.address, "still there?")
            await push.woken("away")


async def test_a_service_that_refuses_is_left_alone(stage: Stage) -> None:
    alice, bob, carol = await stage.friends("alice", "bob", "carol")
    async with service(stage) as push, stage.phone(bob) as phone:
        async with stage.client(alice) as desk, stage.client(carol) as other:
            await enable(desk, "refused")
            await enable(other, "kept")
        await phone.register()
        push.refuses = True
        await phone.message(alice.address, "one")
        await push.woken("refused")
        push.refuses = False
        await until("it is left alone", lambda: "push_disabled" in stage.tandem.log.read_text(), PATIENCE)
        await phone.message(alice.address, "two")
        await phone.message(carol.address, "three")
        await push.woken("kept")
        assert len(push.notices.matching(lambda iq: 'node="refused"' in str(iq))) == 1
