"""Typing and reports between phones and the rest (RFC 3994, RFC 5438), as phones live them."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from presence.errors import Condition
from presence.messages import ChatState, Delivery, InstantMessage, Report
from presence.ports import Deliver
from sip.bodies import Content, understand
from sip.bodies.cpim import write_cpim
from sip.bodies.imdn import write_imdn
from sip.bodies.iscomposing import write_is_composing
from tests.sip.house import ALICE, BOB, House, open_house
from tests.support.sipclient import Phone

HER = "alice@example.org"
TYPING = "application/im-iscomposing+xml"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


def envelope(text: str, *wants: Report, name: str = "m1") -> bytes:
    return write_cpim(
        sender=f"sip:{BOB}",
        recipient=f"sip:{HER}",
        sent="2026-01-01T00:00:00Z",
        media="text/plain",
        data=text.encode(),
        message_id=name,
        wants=wants,
    )


async def notify(house: House, **fields: object) -> None:
    await house.say(ALICE, BOB, "", **{"bodies": (), "store": False, **fields})


async def knows_typing(phone: Phone) -> None:
    typing = write_is_composing(ChatState.COMPOSING)
    assert (await phone.message(HER, typing, content_type=TYPING)).status in (200, 202)


@pytest.mark.parametrize("compressed", [False, True])
async def test_who_types_on_a_phone_is_seen_typing(house: House, compressed: bool) -> None:
    await house.desk(ALICE)
    data = write_is_composing(ChatState.COMPOSING)
    extra: dict[str, Any] = {"Content_Encoding": "deflate"} if compressed else {}
    async with house.phone(BOB) as phone:
        await phone.register()
        body = zlib.compress(data) if compressed else data
        assert (await phone.message(HER, body, content_type=TYPING, **extra)).status == 200
        (heard,) = await house.heard()
        assert (heard.chat_state, heard.bodies, heard.store) == (ChatState.COMPOSING, (), False)
        await phone.message(HER, "done")
        (heard,) = await house.heard()
        assert heard.chat_state is ChatState.ACTIVE


async def test_a_bomb_is_413_and_nonsense_400(house: House) -> None:
    async with house.phone(BOB) as phone:
        bomb = zlib.compress(b" " * 1_000_000)
        assert (await phone.message(HER, bomb, Content_Encoding="deflate")).status == 413
        assert (await phone.message(HER, b"nonsense", Content_Encoding="deflate")).status == 400
        gzip = await phone.message(HER, b"x", Content_Encoding="gzip")
        assert (gzip.status, gzip["Accept-Encoding"]) == (415, "identity, deflate")


async def test_a_phone_that_knows_typing_is_told_and_others_are_not(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await notify(house, chat_state=ChatState.COMPOSING)
        await knows_typing(phone)
        await notify(house, chat_state=ChatState.COMPOSING)
        await notify(house, chat_state=ChatState.PAUSED)
        await notify(house, chat_state=ChatState.INACTIVE)
        await house.say(ALICE, BOB, "done")
        await phone.hears("done")
        kinds = [r["Content-Type"] for r in phone.requests.history if r.method == "MESSAGE"]
        assert kinds == [TYPING, TYPING, "text/plain;charset=utf-8"]
        states = [b"<state>active" in r.body for r in phone.requests.history if r["Content-Type"] == TYPING]
        assert states == [True, False]


async def test_a_phone_that_refuses_a_notice_hears_text_only_and_nobody_a_failure(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await knows_typing(phone)
        phone.answers["MESSAGE"] = (415, "Unsupported Media Type")
        await notify(house, chat_state=ChatState.COMPOSING)
        await phone.received("MESSAGE")
        phone.answers.pop("MESSAGE")
        await house.say(ALICE, BOB, "text")
        await phone.hears("text")
        await notify(house, chat_state=ChatState.COMPOSING)
        await house.say(ALICE, BOB, "more text")
        await phone.hears("more text")
        kinds = [r["Content-Type"] for r in phone.requests.history]
        assert kinds.count(TYPING) == 1


async def test_reports_a_phone_asks_for_cross_both_ways_once(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        wish = envelope("hi", Report.DELIVERED, Report.DISPLAYED)
        assert (await phone.message(HER, wish, content_type="message/cpim")).status == 200
        (heard,) = await house.heard()
        assert (heard.origin_id, heard.wants) == ("m1", (Report.DELIVERED, Report.DISPLAYED))
        await notify(house, report=Report.DELIVERED, about="m1")
        request = await phone.received("MESSAGE")
        assert request["Content-Type"] == "message/cpim"
        opened = understand(Content("message/cpim", "utf-8", request.body))
        assert (opened.report, opened.about, opened.wants) == (Report.DELIVERED, "m1", ())
        assert b"<datetime>2026-01-01T00:00:00Z</datetime>" in request.body


async def test_a_phones_report_is_told_to_who_asked(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await phone.message(HER, envelope("I know envelopes"), content_type="message/cpim")
        await house.heard()
        await house.say(ALICE, BOB, "read me", origin_id="s1", wants=(Report.DISPLAYED,))
        request = await phone.received("MESSAGE")
        opened = understand(Content("message/cpim", "utf-8", request.body))
        assert (opened.text, opened.id, opened.wants) == ("read me", "s1", (Report.DISPLAYED,))
        report = write_imdn(Report.DISPLAYED, "s1", "2026-01-01T00:00:00Z", f"sip:{BOB}")
        await phone.message(HER, report, content_type="message/imdn+xml")
        (heard,) = await house.heard()
        assert (heard.report, heard.about, heard.wants) == (Report.DISPLAYED, "s1", ())


async def test_a_phone_that_refuses_envelopes_gets_the_text(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await phone.message(HER, envelope("I know envelopes"), content_type="message/cpim")
        phone.answers["MESSAGE"] = (415, "Unsupported Media Type")
        await house.say(ALICE, BOB, "floor", origin_id="s1", wants=(Report.DISPLAYED,))
        await phone.received("MESSAGE")
        phone.answers.pop("MESSAGE")
        await house.say(ALICE, BOB, "second", origin_id="s2", wants=(Report.DISPLAYED,))
        assert (await phone.received("MESSAGE"))["Content-Type"] == "text/plain;charset=utf-8"


async def test_the_200_of_a_phone_without_reports_is_one(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await house.say(ALICE, BOB, "hi", origin_id="s1", wants=(Report.DELIVERED,))
        await phone.hears("hi")
        reports: list[InstantMessage] = []
        while not reports:
            arrived = [e.message for e in await house.bus.receive("xmpp-1", 1.0) if isinstance(e, Deliver)]
            reports = [message for message in arrived if message.report]
        assert [(r.report, r.about, r.recipient_endpoint) for r in reports] == [
            (Report.DELIVERED, "s1", "xmpp:desk")
        ]


async def test_a_failure_after_the_200_is_told_to_a_phone_that_asked(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        wish = envelope("hi", Report.FAILED)
        assert (await phone.message(HER, wish, content_type="message/cpim")).status == 200
        (heard,) = [e.message for e in house.bus.drain("xmpp-1") if isinstance(e, Deliver)]
        assert heard.wants == ()
        await house.other.settle(heard, "xmpp:desk", Delivery.REFUSED, condition=Condition.NOT_ACCEPTABLE)
        request = await phone.received("MESSAGE")
        opened = understand(Content("message/cpim", "utf-8", request.body))
        assert (opened.report, opened.about) == (Report.FAILED, "m1")


@pytest.mark.parametrize(
    ("report", "wants", "told"),
    [
        (Report.DISPLAYED, (Report.DELIVERED, Report.DISPLAYED), ["a1"]),
        (Report.DISPLAYED, (), []),
        (Report.DELIVERED, (Report.DELIVERED, Report.DISPLAYED), ["a1"]),  # once: by its 200
        (Report.DELIVERED, (), []),
    ],
)
async def test_a_phone_that_reports_unasked_and_by_call_id_is_understood(
    house: House, report: Report, wants: tuple[Report, ...], told: list[str]
) -> None:
    """Linphone does: the sender knows the message by another name, if it wants to know at all."""
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await house.say(ALICE, BOB, "hi", origin_id="a1", wants=wants)
        got = await phone.hears("hi")
        data = write_imdn(report, got["Call-ID"], "2026-01-01T00:00:00Z", f"sip:{BOB}")
        assert (await phone.message(HER, data, content_type="message/imdn+xml")).status == 200
        assert [each.about for each in await house.heard() if each.report is report] == told
