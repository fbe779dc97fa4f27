"""Strophe.js in Chromium, over WebSocket (RFC 7395) and BOSH (XEP-0206): a web page and a SIP phone see each
other and chat."""

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
    async with open_web_stage(tmp_path_factory.mktemp("tandem"), PROCESSES__XMPP="2") as stage:
        yield stage


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    need_npm("strophe.js")
    async with browser(tmp_path) as opened:
        await opened.open("strophe.html")
        yield opened


async def log_in(page: Page, stage: Stage, person: Person, way: str) -> str:
    """Returns the full JID."""
    connect = "return await chat.connect(...args)"
    return str(await page.run(connect, url(stage, way), person.address, person.password))


@pytest.mark.parametrize("way", list(WAYS))
async def test_a_page_and_a_phone_see_each_other_and_chat(page: Page, stage: Stage, way: str) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob) as phone:
        await phone.register()
        jid = await log_in(page, stage, alice, way)
        assert jid.startswith(f"{alice.address}/")
        assert await page.run("return await chat.roster()") == [bob.address]
        await page.run("chat.show('', 'on the web')")
        seen = await page.until(
            "chat.presences.find(p => p.from.startsWith(args[0]) && !p.type)", bob.address
        )
        assert seen["from"].partition("/")[0] == bob.address
        watch = await phone.subscribe(alice.address)
        await watch.notified("on the web", lambda notify: "on the web" in notify.text)

        for text in ("Hello <phone> & all", "grüße 👩‍👩‍👧‍👦"):
            await page.run("chat.say(...args)", bob.address, text)
            await phone.hears(text)
            assert (await phone.message(alice.address, f"{text}, too")).status == 200
            await page.until("chat.heard.find(m => m.body == args[0])", f"{text}, too")

        await page.run("chat.show('away', 'for tea')")
        await watch.notified("for tea", lambda notify: "for tea" in notify.text)
        await phone.unregister()
        await page.until(
            "chat.presences.find(p => p.type == 'unavailable' && p.from.startsWith(args[0]))", bob.address
        )
        await page.run("await chat.leave()")
        await watch.notified("she left", lambda notify: "<basic>closed" in notify.text.replace(" ", ""))


@pytest.mark.parametrize("way", list(WAYS))
async def test_many_messages_arrive_once_and_in_order(page: Page, stage: Stage, way: str) -> None:
    alice, carol = await stage.friends("alice", "carol")
    lines = [f"line {number}" for number in range(50)]
    async with stage.client(carol) as desk:
        await log_in(page, stage, alice, way)
        await page.run("chat.show('', '')")
        await desk.online(alice.address)
        await page.run("args[1].forEach(text => chat.say(args[0], text))", carol.address, lines)
        await desk.hears(lines[-1])
        assert [m["body"] for m in desk.messages.history if m["body"]] == lines
        for line in lines:
            desk.say(alice.address, line)
        await page.until("chat.heard.some(m => m.body == args[0])", lines[-1])
        assert await page.run("return chat.heard.map(m => m.body)") == lines


@pytest.mark.parametrize("way", list(WAYS))
async def test_a_wrong_password_is_told(page: Page, stage: Stage, way: str) -> None:
    (alice,) = await stage.friends("alice")
    with pytest.raises(AssertionError, match="AUTHFAIL"):
        await log_in(page, stage, Person(alice.address, "wrong"), way)


@pytest.mark.parametrize("way", list(WAYS))
async def test_what_came_while_the_page_was_closed_waits(page: Page, stage: Stage, way: str) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob) as phone:
        await phone.register()
        assert (await phone.message(alice.address, "for later")).status == 202
        await log_in(page, stage, alice, way)
        await page.run("chat.show('', '')")
        found = await page.until("chat.heard.find(m => m.body == args[0])", "for later")
        assert found["delayed"]
