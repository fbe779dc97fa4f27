"""sip/writing.py: what phones are sent in place of, and beside, plain text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.errors import Condition
from presence.files import SharedFile
from presence.messages import Report
from presence.ports import Deliver
from sip.bodies import Content, understand
from sip.bodies.file import CONTENT_TYPE as FILE
from sip.bodies.file import write_file
from tests.sip.house import ALICE, BOB, CAROL, House, open_house
from tests.support.inbox import PATIENCE
from tests.support.waiting import until

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


URL = "https://example.org/cat.png"
CAT = SharedFile(URL, "cat.png", 123_456, "image/png")


async def test_a_phones_file_is_its_link_and_more(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        assert (await phone.message(HER, write_file(CAT), content_type=FILE)).status == 200
        (heard,) = await house.heard()
        assert (heard.bodies[0].text, heard.file) == (URL, CAT)


async def test_a_phone_that_takes_files_is_sent_one_and_one_that_refuses_it_the_link(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register(Accept=f"text/plain, {FILE}")
        await house.say(ALICE, BOB, URL, file=CAT)
        request = await phone.received("MESSAGE")
        assert request["Content-Type"] == FILE
        assert understand(Content(FILE, "utf-8", request.body)).file == CAT
        phone.answers["MESSAGE"] = (415, "Unsupported Media Type")
        await house.say(ALICE, BOB, URL, file=CAT)
        assert (await phone.received("MESSAGE"))["Content-Type"] == FILE
        phone.answers.pop("MESSAGE")
        await phone.hears(f"cat.png, 123 kB\n{URL}")
        await phone.register(Accept=f"text/plain, {FILE}")  # it says so every time
        await house.say(ALICE, BOB, URL, file=CAT)
        await phone.hears(f"cat.png, 123 kB\n{URL}")


@pytest.mark.parametrize(
    ("text", "file", "read"),
    [
        (URL, CAT, f"cat.png, 123 kB\n{URL}"),
        (URL, SharedFile(URL), URL),
        ("", SharedFile(URL, size=900), f"900 bytes\n{URL}"),
        (f"Look: {URL}", CAT, f"Look: {URL}"),
        ("My cat", CAT, f"My cat\ncat.png, 123 kB\n{URL}"),
    ],
)
async def test_other_phones_read_where_it_is(house: House, text: str, file: SharedFile, read: str) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await house.say(ALICE, BOB, text, file=file)
        assert (await phone.hears(read))["Content-Type"] == "text/plain;charset=utf-8"


async def test_what_is_said_beside_a_file_is_not_lost_on_a_phone_that_takes_files(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register(Accept=FILE)
        await house.say(ALICE, BOB, "My cat", file=CAT)
        await phone.hears(f"My cat\ncat.png, 123 kB\n{URL}")


async def test_who_wants_to_know_what_becomes_of_a_file_is_told(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register(Accept=f"message/cpim, {FILE}")
        await house.say(ALICE, BOB, URL, file=CAT, wants=(Report.DELIVERED,), origin_id="f1")
        request = await phone.received("MESSAGE")
        opened = understand(Content("message/cpim", "utf-8", request.body))
        assert (request["Content-Type"], opened.id, opened.file) == ("message/cpim", "f1", CAT)


async def test_a_phone_that_takes_everything_when_it_registers_has_not_named_files(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register(Accept="*/*")
        await house.say(ALICE, BOB, URL, file=CAT)
        await phone.hears(f"cat.png, 123 kB\n{URL}")


async def test_phones_learn_xmpp_addresses_where_there_is_room(house: House) -> None:
    """RFC 7081 §3.5: their own when they register, and whose XMPP client it is that writes."""
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        registered = await phone.register()
        assert registered["Call-Info"] == f"<xmpp:{BOB}>;purpose=impp"
        await house.say(ALICE, BOB, "short")
        assert (await phone.hears("short"))["Call-Info"] == f"<xmpp:{ALICE}>;purpose=impp"
        await house.say(ALICE, BOB, "x" * 700)
        assert (await phone.hears("x" * 700)).get("Call-Info") == ""


async def test_nobody_is_told_by_a_phone_what_its_xmpp_address_is(house: House) -> None:
    """RFC 7081 §3.5: such a claim is worth nothing until it is proven."""
    async with house.phone(CAROL) as phone, house.phone(BOB) as other:
        await phone.register()
        claim = "<xmpp:chief@example.org>;purpose=impp"
        registered = await other.register(Call_Info=claim)
        assert registered["Call-Info"] == f"<xmpp:{BOB}>;purpose=impp"
        await other.message(str(CAROL), "it is me", Call_Info=claim)
        assert (await phone.hears("it is me")).get("Call-Info") == ""


async def test_a_phone_that_does_not_know_utf_8_is_written_to_in_its_charset(tmp_path: Path) -> None:
    row = {"agents": ["tandem-test"], "charset": "iso-8859-1"}
    async with open_house(tmp_path, profiles=[row]) as house:
        await house.desk(ALICE)
        async with house.phone(BOB) as phone:
            await phone.register(User_Agent="Tandem-Test/1")
            await house.say(ALICE, BOB, "Gru\u0308ße – “5 €” 🎉")
            request = await phone.received("MESSAGE")
            assert request["Content-Type"] == "text/plain;charset=iso-8859-1"
            assert request.body == 'Grüße - "5 EUR" ?'.encode("latin-1")


def long_text(words: int) -> str:
    return " ".join(f"Wörter-{number}" for number in range(words))


async def test_a_long_text_goes_in_parts_to_a_phone_that_is_to_have_it_so(tmp_path: Path) -> None:
    row = {"agents": ["tandem-test"], "split_texts": True}
    async with open_house(tmp_path, profiles=[row]) as house:
        await house.desk(ALICE)
        async with house.phone(BOB) as phone:
            await phone.register(User_Agent="Tandem-Test/1")
            text = long_text(250)
            await house.say(ALICE, BOB, text, wants=(Report.DELIVERED,), origin_id="s1")
            await house.say(ALICE, BOB, "short")
            parts = [(await phone.received("MESSAGE")).text for _ in range(4)]
            assert [part[:6] for part in parts] == ["(1/4) ", "(2/4) ", "(3/4) ", "(4/4) "]
            assert "".join(part[6:] for part in parts) == text
            assert all(part.endswith(" ") for part in parts[:-1])  # no word is cut
            await phone.hears("short")

            async def nothing_waits() -> bool:
                return await house.waiting(BOB) == []

            await until("nothing waits", nothing_waits, PATIENCE)


async def test_what_a_phone_missed_of_a_long_text_comes_again_whole(tmp_path: Path) -> None:
    row = {"agents": ["tandem-test"], "split_texts": True}
    async with open_house(tmp_path, profiles=[row]) as house:
        await house.desk(ALICE)
        async with house.phone(BOB) as phone:
            await phone.register(User_Agent="Tandem-Test/1")
            phone.answers["MESSAGE"] = (480, "Temporarily Unavailable")
            await house.say(ALICE, BOB, long_text(120))
            await phone.received("MESSAGE")
            phone.answers.pop("MESSAGE")
            await phone.register(User_Agent="Tandem-Test/1")
            parts = [(await phone.received("MESSAGE")).text for _ in range(2)]
            assert "".join(part[6:] for part in parts) == long_text(120)


async def test_who_refuses_a_part_of_a_long_text_has_refused_all_of_it(tmp_path: Path) -> None:
    row = {"agents": ["tandem-test"], "split_texts": True}
    async with open_house(tmp_path, profiles=[row]) as house:
        await house.desk(ALICE)
        async with house.phone(BOB) as phone:
            await phone.register(User_Agent="Tandem-Test/1")
            phone.answers["MESSAGE"] = (488, "Not Acceptable Here")
            await house.say(ALICE, BOB, long_text(120))
            assert (await phone.received("MESSAGE")).text.startswith("(1/2) ")
            assert (await house.failure()).failure.condition is Condition.NOT_ACCEPTABLE
            phone.answers.pop("MESSAGE")
            await house.say(ALICE, BOB, "short")
            assert (await phone.received("MESSAGE")).text == "short"


async def test_a_text_that_would_take_too_many_parts_is_refused(tmp_path: Path) -> None:
    row = {"agents": ["tandem-test"], "split_texts": True}
    async with open_house(tmp_path, profiles=[row]) as house:
        await house.desk(ALICE)
        async with house.phone(BOB) as phone:
            await phone.register(User_Agent="Tandem-Test/1")
            await house.say(ALICE, BOB, long_text(2_000))
            assert (await house.failure()).failure.condition is Condition.POLICY_VIOLATION
