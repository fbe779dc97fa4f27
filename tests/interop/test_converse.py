"""Converse in Chromium, over WebSocket and BOSH: its user sees a SIP phone come and go, and chats with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.interop.browser import Page, browser, need_npm
from tests.interop.webclients import WAYS, open_web_stage, url
from tests.support.stage import Person, Stage

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
async def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with open_web_stage(tmp_path_factory.mktemp("tandem")) as stage:
        yield stage


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    need_npm("converse.js")
    async with browser(tmp_path) as opened:
        await opened.open("converse.html")
        yield opened


async def start(page: Page, stage: Stage, person: Person, way: str) -> None:
    setting = {"websocket": "websocket_url", "bosh": "bosh_service_url"}[way]
    options = {setting: url(stage, way), "jid": person.address, "password": person.password}
    await page.run("await chat.start(args[0])", options)


@pytest.mark.parametrize("way", list(WAYS))
async def test_its_user_sees_a_phone_and_chats_with_it(page: Page, stage: Stage, way: str) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob) as phone:
        await start(page, stage, alice, way)
        await page.until("chat.contact(args[0]) == 'This contact is offline'", bob.address)
        await phone.register()
        await page.until("chat.contact(args[0]) == 'This contact is online'", bob.address)
        watch = await phone.subscribe(alice.address)
        await watch.notified("she is there", lambda notify: "<basic>open" in notify.text.replace(" ", ""))
        await page.run("await chat.open(args[0])", bob.address)
        await page.until("document.querySelector('converse-chat textarea.chat-textarea')")
        await page.run("chat.say(args[0])", "hello phone <&>")
        await phone.hears("hello phone <&>")
        assert (await phone.message(alice.address, "hello web 👋")).status == 200
        await page.until("chat.messages().includes('hello web 👋')")
        assert "hello phone <&>" in await page.run("return chat.messages()")
        await phone.unregister()
        await page.until("chat.contact(args[0]) == 'This contact is offline'", bob.address)
