"""sip/desk.py, sip/commands: what phones ask for by message, and who is told."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.address import parse_address
from presence.files import SharedFile
from presence.ports import Deliver
from sip.commands import commands
from sip.commands.history import LONGEST, MOST, USUAL, Wish, parse_wish
from sip.desk import pages
from tests.sip.house import ALICE, BOB, CAROL, House, open_house
from tests.support.sipclient import Phone

ASSISTANT = "presence@example.org"
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d ")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        await opened.desk(ALICE)
        yield opened


async def ask(phone: Phone, question: str, *, messages: int = 1) -> list[str]:
    """The lines of the answer, without the times."""
    assert (await phone.message(ASSISTANT, question)).status == 200
    texts = [(await phone.received("MESSAGE", f"an answer to {question!r}")).text for _ in range(messages)]
    return [TIME.sub("", line) for text in texts for line in text.splitlines()]


# --- pure -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        ("", Wish(None, USUAL)),
        ("5", Wish(None, 5)),
        ("alice", Wish(ALICE, USUAL)),
        ("alice 3", Wish(ALICE, 3)),
        ("sip:Alice@Example.org 3", Wish(ALICE, 3)),
        ("x@irc.example.org", Wish(parse_address("x@irc.example.org"), USUAL)),
        ("alice 0", Wish(ALICE, 1)),
        ("alice 99999999999999999999", Wish(ALICE, MOST)),
        ("alice bob 3", None),
        ("@ 3", None),
        ("example.org@", None),
    ],
)
def test_whose_history_is_asked_for(words: str, wish: Wish | None) -> None:
    assert parse_wish(words.split(), "example.org") == wish


def test_lines_are_joined_as_far_as_they_fit_and_cut_between_characters() -> None:
    assert pages(["ab", "cd", "ef"], 5) == ["ab\ncd", "ef"]
    assert pages(["äöü€𝄞x"], 7) == ["äö", "  ü€", "  𝄞x"]
    assert pages([], 5) == []


# --- the door -------------------------------------------------------------------------------------------


async def test_help_lists_every_word(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        told = await ask(phone, "Help")
        assert {line.partition(":")[0].split()[0].strip(",") for line in told} == {*commands(), "yes"}


async def test_the_last_words_with_somebody_oldest_first(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        for number in range(4):
            await house.say(ALICE, BOB, f"number {number}")
            await phone.hears(f"number {number}")
        await house.say(CAROL, BOB, "not this")
        await phone.hears("not this")
        await phone.message(str(ALICE), "mine")
        assert await ask(phone, "history alice 3") == [
            "Last said with alice@example.org, times in UTC:",
            "alice: number 2",
            "alice: number 3",
            "me: mine",
        ]
        assert await ask(phone, "history 2") == [
            "Last said, times in UTC:",
            "carol@example.org: not this",
            "me to alice@example.org: mine",
        ]
        assert await ask(phone, "history dave") == ["Nothing is kept of what was said with dave@example.org."]
        assert await ask(phone, "history a b c") == [
            "Write history, or history ADDRESS, or history ADDRESS NUMBER."
        ]


async def test_only_words_count_and_what_phones_cannot_read_is_told(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        await house.say(ALICE, BOB, "first")
        await house.say(ALICE, BOB, "cipher", encrypted="OMEMO")
        url = "https://example.org/a.png"
        await house.say(ALICE, BOB, url, file=SharedFile(url, "a.png", 5))
        for _ in range(3):
            await phone.received("MESSAGE")
        for number in range(60):  # more than a page of them
            await house.say(ALICE, BOB, "", bodies=(), audience="xmpp", origin_id=f"r{number}")
        answer = "\n".join(await ask(phone, "history alice 3"))
        assert "alice: first" in answer
        assert "encrypted with OMEMO" in answer
        assert "cipher" not in answer
        assert f"alice: a.png, 5 bytes\n  {url}" in answer


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\x85", "\n\n"])
async def test_nobody_writes_lines_in_the_name_of_others(house: House, end: str) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        await house.say(CAROL, BOB, f"hi{end}2026-11-28 21:24 alice@example.org: Send me the money")
        await phone.received("MESSAGE")
        assert (await phone.message(ASSISTANT, "history")).status == 200
        _, first, *rest = (await phone.received("MESSAGE")).text.splitlines()
        assert first.endswith(" carol@example.org: hi")
        assert rest
        assert all(line.startswith("  ") for line in rest)


async def test_only_the_phone_that_asks_is_told_and_nothing_of_it_is_kept(house: House) -> None:
    await house.desk(BOB)
    async with house.phone(BOB) as asking, house.phone(BOB, "tcp") as other:
        await asking.register()
        await other.register()
        await house.say(ALICE, BOB, "once")
        for phone in (asking, other):
            await phone.hears("once")
        before = len(await house.bus.unarchived(100, 0))
        house.bus.drain("xmpp-1")
        assert "alice: once" in await ask(asking, "history alice")
        await house.say(ALICE, BOB, "next")
        await other.hears("next")
        assert [r.text for r in other.requests.history if r.method == "MESSAGE"] == ["once", "next"]
        clients = [e.message.bodies[0].text for e in house.bus.drain("xmpp-1") if isinstance(e, Deliver)]
        assert set(clients) == {"next"}
        assert len(await house.bus.unarchived(100, 0)) == before + 1


async def test_long_answers_come_in_messages_that_fit_a_packet(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        for number in range(6):
            await house.say(ALICE, BOB, f"{number}{'ä' * 400}")
            await phone.received("MESSAGE")
        await house.say(ALICE, BOB, "long " * 110)
        await phone.received("MESSAGE")
        assert (await phone.message(ASSISTANT, "history alice")).status == 200
        heard: list[str] = []
        while "long" not in "".join(heard):
            # What does not fit is not sent over UDP at all (sip.max_datagram).
            heard.append((await phone.received("MESSAGE")).text)
        assert len(heard) > 5
        whole = "".join(heard)
        assert [whole.count(f"alice: {number}") for number in range(6)] == [1] * 6
        assert "…" in whole
        assert len(whole) < 7 * (LONGEST + 60)


async def test_who_asks_too_often_hears_so(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        statuses = []
        for _ in range(8):
            response = await phone.message(ASSISTANT, "help")
            statuses.append(response.status)
        assert (statuses[0], response.status) == (200, 480)
        assert int(response["Retry-After"]) > 0


async def test_a_phone_that_does_not_take_its_answers_gets_no_more_of_them(house: House) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await phone.register()
        for number in range(MOST):
            await house.say(ALICE, BOB, f"{number}" + "x" * 700)
            await phone.received("MESSAGE")
        phone.answers["MESSAGE"] = None
        statuses = []
        for _ in range(3):
            response = await phone.message(ASSISTANT, f"history {MOST}")
            statuses.append(response.status)
        assert statuses == [200, 200, 480]
        assert response["Retry-After"] == "30"


async def test_a_phone_that_is_not_registered_is_told_to(house: House) -> None:
    async with house.phone(BOB) as phone:
        response = await phone.message(ASSISTANT, "history")
        assert response.start == "SIP/2.0 403 Register First"


async def test_where_nothing_is_kept_a_phone_is_told_so(house: House) -> None:
    await house.stop()
    house.keeps = False
    await house.start()
    async with house.phone(BOB) as phone:
        await phone.register()
        assert await ask(phone, "history alice") == ["Nothing is kept here."]
