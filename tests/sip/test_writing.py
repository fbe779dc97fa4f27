"""sip/writing.py: what phones are sent in place of, and beside, plain text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.messages import Report
from presence.ports import Deliver
from tests.sip.house import ALICE, BOB, House, open_house

HER = "alice@example.org"
HTML = "text/html;charset=utf-8"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


async def test_a_phone_is_told_of_what_it_cannot_read_instead_of_ciphertext(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await house.say(ALICE, BOB, "?OTR:AAMC4A==", encrypted="OMEMO", wants=(Report.DELIVERED,))
        request = await phone.received("MESSAGE")
        assert b"encrypted with OMEMO" in request.body
        assert b"?OTR" not in request.body


async def test_nobody_is_told_that_a_phone_received_what_it_cannot_read(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        wish = {"wants": (Report.DELIVERED,), "sender_endpoint": "xmpp:desk"}
        await house.say(ALICE, BOB, "secret", encrypted="OMEMO", origin_id="s1", **wish)
        await phone.received("MESSAGE")
        await house.say(ALICE, BOB, "open", origin_id="s2", **wish)
        await phone.hears("open")
        reports: list[str] = []
        while not reports:
            arrived = [e.message for e in await house.bus.receive("xmpp-1", 1.0) if isinstance(e, Deliver)]
            reports += [message.about for message in arrived if message.report]
        assert reports == ["s2"]


async def test_what_a_phone_formats_arrives_with_its_words_and_its_safe_part(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        html = b"<html><body onload='x()'><b>Now</b>, <script>no</script>please</body></html>"
        assert (await phone.message(HER, html, content_type="text/html")).status == 200
        (heard,) = await house.heard()
        assert heard.bodies[0].text == "Now, please"
        assert heard.markup == "<strong>Now</strong>, please"


async def test_a_phone_that_accepts_html_gets_it_and_one_that_refuses_it_the_words(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await phone.message(HER, "hello", Accept="text/plain, text/html")
        await house.say(ALICE, BOB, "now", markup="<em>now</em>")
        request = await phone.received("MESSAGE")
        assert (request["Content-Type"], request.body) == (HTML, b"<html><body><em>now</em></body></html>")
        phone.answers["MESSAGE"] = (415, "Unsupported Media Type")
        await house.say(ALICE, BOB, "then", markup="<em>then</em>")
        assert (await phone.received("MESSAGE"))["Content-Type"] == HTML
        phone.answers.pop("MESSAGE")
        await phone.hears("then")
        await house.say(ALICE, BOB, "later", markup="<em>later</em>")
        await phone.hears("later")


async def test_a_phone_that_has_not_said_that_it_accepts_html_gets_the_words(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await house.say(ALICE, BOB, "now", markup="<em>now</em>")
        assert (await phone.hears("now"))["Content-Type"] == "text/plain;charset=utf-8"


async def test_a_phone_for_plain_text_only_gets_no_more_whatever_it_says(tmp_path: Path) -> None:
    row = {"agents": ["tandem-test"], "plain_text_only": True}
    async with open_house(tmp_path, profiles=[row]) as house:
        await house.desk(ALICE)
        async with house.phone(BOB) as phone:
            await phone.register(User_Agent="Tandem-Test/1")
            await phone.message(HER, "hello", Accept="text/plain, text/html")
            await house.say(ALICE, BOB, "now", markup="<em>now</em>")
            assert (await phone.hears("now"))["Content-Type"] == "text/plain;charset=utf-8"
