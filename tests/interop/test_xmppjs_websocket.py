"""xmpp.js in Chromium: SASL2 over WebSocket, and its session resumed when the connection breaks (RFC 7395
§3.10)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.interop.browser import Page, browser, need_npm
from tests.interop.webclients import open_web_stage
from tests.support.stage import Person, Stage

pytestmark = pytest.mark.interop

AGENT = "0f3c2a0e-6f0c-4e31-9d0c-2d8f64f0c1b7"


@pytest.fixture(scope="module")
async def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with open_web_stage(tmp_path_factory.mktemp("tandem")) as stage:
        yield stage


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    need_npm("@xmpp/client")
    async with browser(tmp_path) as opened:
        await opened.open("xmppjs.html")
        yield opened


async def start(page: Page, stage: Stage, person: Person) -> str:
    """Returns the full JID."""
    local, _, domain = person.address.partition("@")
    service = f"wss://{stage.host}:{stage.tandem.xmpp_webs_port}/xmpp-websocket"
    options = {"service": service, "domain": domain, "username": local, "password": person.password}
    return str(await page.run("return await chat.start(...args)", options, AGENT))


async def test_it_logs_in_in_one_step_and_chats_with_a_phone(page: Page, stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob) as phone:
        await phone.register()
        await start(page, stage, alice)
        await page.run("await chat.show()")
        await page.run("await chat.say(...args)", bob.address, "hello phone")
        await phone.hears("hello phone")
        assert (await phone.message(alice.address, "hello web")).status == 200
        await page.until("chat.heard.find(m => m.body == 'hello web')")
        told = await page.run("return chat.wire.filter(e => e.way == 'in').map(e => e.xml)")
        assert "<bind2" not in told[0]
        assert "starttls" not in told[0]
        assert any('<bound xmlns="urn:xmpp:bind:0"' in xml for xml in told)
        await page.run("await chat.leave()")


async def test_a_broken_websocket_is_resumed_and_nothing_is_lost(page: Page, stage: Stage) -> None:
    alice, carol = await stage.friends("alice", "carol")
    async with stage.client(carol) as hers:
        jid = await start(page, stage, alice)
        await page.run("await chat.show()")
        await hers.online(alice.address)
        await page.run("chat.cut()")
        hers.say(alice.address, "while away")
        await page.until("chat.events.includes('resumed')")
        await page.until("chat.heard.find(m => m.body == 'while away')")
        assert await page.run("return chat.xmpp.jid.toString()") == jid
        assert not hers.presences.matching(lambda p: p.xml.get("type") == "unavailable")
