"""SIP.js in Chromium, over WebSocket: a phone in a browser and a slixmpp client see each other and chat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.interop.browser import Page, browser, need_npm
from tests.support.pidf import pidf
from tests.support.stage import Person, Stage

pytestmark = pytest.mark.interop


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    need_npm("sip.js")
    async with browser(tmp_path) as opened:
        await opened.open("sipjs.html")
        yield opened


INSTANCE = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"


async def login(
    page: Page, stage: Stage, person: Person, *, tls: bool = False, phone: str = "phone", reg_id: int = 0
) -> None:
    port = stage.tandem.sip_webs_port if tls else stage.tandem.sip_web_port
    server = f"{'wss' if tls else 'ws'}://{stage.host}:{port}/sip"
    await page.run(f"await {phone}.start(...args)", server, person.address, person.password)
    options = {"instanceId": INSTANCE, "regId": reg_id} if reg_id else {}
    registered = await page.run(f"return await {phone}.register(args[0])", options)
    assert registered["status"] == 200
    assert ".invalid" in registered["contacts"][0]


async def test_a_browser_phone_and_an_xmpp_client_see_each_other_and_chat(page: Page, stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk:
        await login(page, stage, bob)
        await desk.online(bob.address)

        assert await page.run("return await phone.subscribe(args[0])", alice.address) == "Subscribed"
        await page.until("phone.notified.find(n => n.state.startsWith('active') && n.body.includes('open'))")
        desk.show("dnd", "in a meeting")
        await page.until("phone.notified.find(n => n.body.includes('in a meeting'))")

        await page.run("await phone.publish(args[0])", pidf(bob.address, note="on the web"))
        await desk.online(bob.address, status="on the web")
        await page.until("phone.publisher.pubRequestEtag")
        await page.run("await phone.publish(args[0])", pidf(bob.address, show="away", note="for tea"))
        await desk.online(bob.address, show="away", status="for tea")

        assert await page.run("return await phone.say(...args)", alice.address, "Hello from the web ☎") == 200
        heard = await desk.hears("Hello from the web ☎", bob.address)
        desk.say(str(heard["from"]), "Hello browser <&>")
        said = await page.until("phone.heard.find(m => m.body == args[0])", "Hello browser <&>")
        assert said["from"] == alice.address
        assert ".invalid" in said["to"]

        assert await page.run("return await phone.unsubscribe()") == "Terminated"
        await page.run("return await phone.unpublish()")
        assert await page.run("return await phone.unregister()") == "Unregistered"
        await desk.offline(bob.address)


async def test_it_works_over_tls_and_a_closed_tab_is_gone(page: Page, stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk:
        await login(page, stage, bob, tls=True)
        await desk.online(bob.address)
        desk.say(bob.address, "x" * 30_000)
        await page.until("phone.heard.find(m => m.body.length == 30000)")
        await page.open("blank.html")
        await desk.offline(bob.address)
        desk.say(bob.address, "for later")
        await page.open("sipjs.html")
        await login(page, stage, bob, tls=True)
        await page.until("phone.heard.find(m => m.body == 'for later')")


async def test_two_connections_of_one_phone_and_its_gruu(page: Page, stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    gruu = f"sip:{bob.address};gr=urn:uuid:{INSTANCE}"
    async with stage.client(alice) as desk:
        await login(page, stage, bob, reg_id=1)
        await login(page, stage, bob, phone="other", reg_id=2)
        told = await page.run("return [phone, other].map(p => String(p.agent.contact.pubGruu))")
        assert told == [gruu, gruu]

        # It watches from its GRUU, and takes only what comes to where it really is.
        assert await page.run("return await phone.subscribe(args[0])", alice.address) == "Subscribed"
        assert await page.run("return phone.subscriber.dialog !== undefined")
        desk.show("away", "at lunch")
        await page.until("phone.notified.find(n => n.body.includes('at lunch'))")

        desk.say(bob.address, "once")
        await page.until("phone.heard.find(m => m.body == 'once')")
        await page.run("await phone.agent.transport.disconnect()")
        desk.say(bob.address, "by the other way")
        await page.until("other.heard.find(m => m.body == 'by the other way')")
        assert await page.run("return other.heard.map(m => m.body)") == ["by the other way"]
        await desk.echo()
        assert desk.presences.matching(lambda p: p["type"] == "unavailable") == []


async def test_a_wrong_password_is_refused(page: Page, stage: Stage) -> None:
    (bob,) = await stage.friends("bob")
    server = f"ws://{stage.host}:{stage.tandem.sip_web_port}/sip"
    await page.run("await phone.start(...args)", server, bob.address, "wrong")
    assert (await page.run("return await phone.register()"))["status"] == 401
