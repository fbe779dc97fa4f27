"""Instant messages both ways (RFC 3428, RFC 7572)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from presence.address import Address
from presence.errors import Condition
from presence.memory import MemoryBus
from presence.messages import ChatState, InstantMessage, Kind, Report
from presence.model import Text
from presence.ports import Deliver
from presence.subscriptions import Act
from sip.bindings import Binding
from sip.bodies.iscomposing import CONTENT_TYPE as TYPING
from sip.bodies.iscomposing import write_is_composing
from sip.bodies.text import decode_text
from sip.errors import ProtocolError
from sip.flow import Flow
from sip.message import Request, serialise
from sip.outgoing import build_message
from sip.pager import _dedup
from sip.profiles import DEFAULT, profile_of
from sip.registrar import Located
from sip.uri import parse_uri
from tests.sip.house import ALICE, BOB, CAROL, NEIGHBOUR, House, open_house
from tests.support.sipwire import SipMessage

HER = "alice@example.org"
NOW = 1_800_000_000.0
TYPING_NOTICE = write_is_composing(ChatState.COMPOSING)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


# --- pure -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("grüße 🎉".encode(), "utf-8", "grüße 🎉"),
        ("grüße".encode("latin-1"), "iso-8859-1", "grüße"),
        ("grüße".encode("latin-1"), "utf-8", "grüße"),
        (b"a\r\nb\n", "us-ascii", "a\nb\n"),
        (b"a\0b", "utf-8", "ab"),
        ("\ufeffgrüße".encode(), "utf-8", "grüße"),
        ("grüße €".encode("utf-16be"), "iso-10646-ucs-2", "grüße €"),
        ("grüße €".encode("utf-16be"), "utf-16", "grüße €"),
        ("grüße €".encode("utf-16"), "ucs-2", "grüße €"),
        ("zażółć".encode("iso-8859-2"), "iso-8859-2", "zażółć"),
        ("“5 €”".encode("cp1252"), "cp1252", "“5 €”"),
        ("привіт".encode("koi8-u"), "koi8-u", "привіт"),
    ],
)
def test_text_in_many_charsets(body: bytes, charset: str, text: str) -> None:
    assert decode_text(body, charset) == text


@pytest.mark.parametrize("charset", ["rot13", "zlib", "unknown-8", "idna"])
def test_a_charset_nobody_knows_is_415(charset: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode_text(b"x", charset)
    assert refused.value.status == 415


def located(agent: str = "", path: tuple[str, ...] = ()) -> Located:
    flow = Flow("udp", "[::]:5060", "192.0.2.1", 5060)
    binding = Binding(
        id="phone-1", contact="sip:bob@192.0.2.1", flow=str(flow), call_id="c", cseq=1,
        registered=NOW, refreshed=NOW, expires=NOW + 60, agent=agent, path=path,
    )  # fmt: skip
    return Located(binding, flow)


def message(**fields: object) -> InstantMessage:
    given: dict[str, object] = {
        "id": "m1", "trace": "t1", "sender": ALICE, "recipient": BOB, "created": NOW - 60,
        "bodies": (Text("hi", "de"),), "sender_tuple": "desk", "thread": "thread-1",
    } | fields  # fmt: skip
    return InstantMessage(**given)  # type: ignore[arg-type]


def test_table_1_of_rfc_7572() -> None:
    request = build_message(
        message(subjects=(Text("What\nelse"),), expires=NOW + 30), located(), NOW, DEFAULT
    )
    wire = serialise(request).decode()
    assert wire.startswith("MESSAGE sip:bob@192.0.2.1 SIP/2.0\r\n")
    assert wire.split("From: ")[1].startswith("<sip:alice@example.org>;tag=")
    for line in (
        "To: <sip:bob@example.org>",
        "Call-ID: m1",
        "CSeq: 1 MESSAGE",
        "Date: Fri, 15 Jan 2027 07:59:00 GMT",
        "Expires: 30",
        "Subject: What else",
        "Content-Language: de",
        "Content-Type: text/plain;charset=utf-8",
    ):
        assert f"\r\n{line}\r\n" in wire


def test_a_gateway_gets_thread_and_resource_and_a_path_is_followed() -> None:
    request = build_message(message(), located("Tandem/0.1", ("<sip:p1;lr>",)), NOW, profile_of("Tandem/0.1"))
    assert request.call_id == "thread-1"
    assert str(request.from_.uri) == "sip:alice@example.org;gr=desk"
    assert request.headers.all("Route") == ["<sip:p1;lr>"]


# --- in -------------------------------------------------------------------------------------------


async def test_what_a_phone_says_arrives_with_everything_about_it(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        response = await phone.message(
            f"{HER};gr=desk", "Moin", Subject="Gruß", Content_Language="de", Expires="60"
        )
        assert response.status == 200
        (heard,) = await house.heard()
        assert (heard.sender, heard.recipient, heard.recipient_endpoint) == (BOB, ALICE, "xmpp:desk")
        assert heard.bodies == (Text("Moin", "de"),)
        assert heard.subjects == (Text("Gruß", "de"),)
        assert heard.kind is Kind.CHAT
        assert heard.thread == response["Call-ID"]
        assert heard.origin_id == response.branch
        assert heard.expires is not None
        assert 50 < heard.expires - heard.created <= 60
        assert heard.store


async def test_for_somebody_who_is_away_it_is_202_and_for_now_or_never_is_not_kept(house: House) -> None:
    async with house.phone(BOB) as phone:
        assert (await phone.message(HER, "never", Expires="0")).status == 202
        assert (await phone.message(HER, "later")).status == 202
        assert len(await house.waiting(ALICE)) == 1


async def test_a_stranger_does_not_learn_from_the_answer_who_is_there(house: House) -> None:
    """Alice shows carol nothing; bob sees her."""
    await house.befriend(ALICE, BOB)
    async with house.phone(CAROL) as stranger, house.phone(BOB) as friend:
        answers: dict[Address, list[int]] = {BOB: [], CAROL: []}
        for _ in range(2):
            for who, phone in ((CAROL, stranger), (BOB, friend)):
                answers[who] += [
                    (await phone.message(HER, "hello?")).status,
                    (await phone.message(HER, "now", Expires="0")).status,
                    (await phone.message(HER, TYPING_NOTICE, content_type=TYPING)).status,
                ]
            await house.desk(ALICE)
        assert answers[CAROL] == [202, 202, 200] * 2
        assert answers[BOB] == [202, 202, 200, 200, 200, 200]


async def test_nor_what_becomes_of_a_message_that_asks_for_a_report(house: House) -> None:
    """Bob has a phone, and is seen by nobody who has not asked."""
    house.policy = "ask"
    await house.stop()
    await house.start()
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await house.say(ALICE, BOB, "are you there?", origin_id="s1", wants=(Report.DELIVERED,))
        await phone.hears("are you there?")
        await house.befriend(ALICE, BOB)
        await house.say(ALICE, BOB, "and now?", origin_id="s2", wants=(Report.DELIVERED,))
        await phone.hears("and now?")
        reports: list[str] = []
        while not reports:
            arrived = [e.message for e in await house.bus.receive("xmpp-1", 1.0) if isinstance(e, Deliver)]
            reports = [message.about for message in arrived if message.report]
        assert reports == ["s2"]


THERE = Address("carol", NEIGHBOUR)
"Somebody of a component's domain."


async def test_a_components_people_are_reached_from_phones_and_reach_them(house: House) -> None:
    service = Address("", NEIGHBOUR)
    async with house.phone(BOB) as phone:
        await phone.register()
        refused = await phone.message(str(THERE), "anybody?")
        assert refused.status == 504
        assert await house.waiting(service) == await house.waiting(THERE) == []
        await house.desk(service, name="")
        accepted = await phone.message(f"{THERE};gr=nick", "Moin")
        assert accepted.status == 202  # it is with the component; whether carol is there only that knows
        (heard,) = [each.message for each in house.bus.drain("xmpp-1") if isinstance(each, Deliver)]
        assert (heard.sender, heard.recipient, heard.recipient_endpoint) == (BOB, THERE, "xmpp:nick")
        assert heard.bodies == (Text("Moin"),)
        await house.say(THERE, BOB, "Tach")
        request = await phone.hears("Tach")
        assert request["From"].startswith(f"<sip:{THERE}>")


async def test_an_address_within_an_address_crosses_to_a_component_and_back(house: House) -> None:
    """RFC 7247 §6: how gateways to other networks write who is there (XEP-0106 §2)."""
    await house.desk(Address("", NEIGHBOUR), name="")
    async with house.phone(BOB) as phone:
        await phone.register()
        uri = f"carol%40elsewhere.example@{NEIGHBOUR}"
        assert (await phone.message(uri, "Moin")).status == 202
        (heard,) = [each.message for each in house.bus.drain("xmpp-1") if isinstance(each, Deliver)]
        assert heard.recipient == Address("carol\\40elsewhere.example", NEIGHBOUR)
        await house.say(heard.recipient, BOB, "Tach")
        assert (await phone.hears("Tach"))["From"].startswith(f"<sip:{uri}>")


async def test_a_component_hears_that_its_message_is_on_a_phone(house: House) -> None:
    await house.desk(Address("", NEIGHBOUR), name="")
    await house.other.hear(THERE, BOB, Act.SUBSCRIBE)
    await house.other.act(BOB, THERE, Act.SUBSCRIBED)
    async with house.phone(BOB) as phone, asyncio.timeout(10):
        await phone.register()
        await house.say(THERE, BOB, "Tach", origin_id="o1", wants=(Report.DELIVERED,))
        await phone.hears("Tach")
        reports: list[tuple[Address, str]] = []
        while not reports:
            arrived = [e.message for e in await house.bus.receive("xmpp-1", 1.0) if isinstance(e, Deliver)]
            reports = [(each.recipient, each.about) for each in arrived if each.report]
        assert reports == [(THERE, "o1")]


async def test_a_phone_can_ask_a_components_domain_for_nothing_else(house: House) -> None:
    async with house.phone(BOB) as phone:
        assert (await phone.message("nobody@elsewhere.example", "?")).status == 404
        assert (await phone.message(NEIGHBOUR, "?")).status == 404
        assert (await phone.subscribe(str(THERE))).response.status == 404


async def test_who_fills_somebodys_queue_is_told_so(tmp_path: Path) -> None:
    async with open_house(tmp_path, bus=MemoryBus(sender_limit=2)) as house, house.phone(BOB) as phone:
        heard = [await phone.message(HER, f"line {number}") for number in range(4)]
        assert [each.status for each in heard] == [202] * 3 + [500]
        assert "too many of your messages wait for the recipient" in heard[-1].start


def test_no_two_messages_have_one_name() -> None:
    flow = Flow("udp", "[::]:5060", "192.0.2.1", 5060)

    def named(body: bytes = b"hi", fields: dict[str, str] | None = None) -> str:
        given = {"Call-ID": "c", "CSeq": "1 MESSAGE", "From": "<sip:bob@example.org>;tag=t"} | (fields or {})
        return _dedup(BOB, Request("MESSAGE", parse_uri(f"sip:{HER}"), list(given.items()), body), flow)

    assert named() == named(fields={"Via": "SIP/2.0/UDP 192.0.2.1"})
    long = "c" * 300
    names = [
        named(),
        named(b"plumless"),
        named(b"buckeroo"),  # has the CRC-32 of the one before
        named(fields={"Call-ID": "c 1"}),
        named(fields={"Call-ID": long + "1"}),
        named(fields={"Call-ID": long + "2"}),
        named(fields={"CSeq": "2 MESSAGE"}),
        named(fields={"From": "<sip:bob@example.org>;tag=u"}),
    ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("to", "kind", "extra", "status", "named"),
    [
        (HER, "image/png", {}, 415, "Accept"),
        (HER, "text/plain", {"Content_Encoding": "gzip"}, 415, "Accept-Encoding"),
        (HER, "text/plain;charset=klingon", {}, 415, "Accept"),
        ("nobody@example.org", "text/plain", {}, 404, "CSeq"),
        ("alice@elsewhere.example", "text/plain", {}, 404, "CSeq"),
        ("example.org", "text/plain", {}, 404, "CSeq"),
        (HER, "text/plain", {"Require": "foo, path"}, 420, "Unsupported"),
    ],
)
async def test_refusals(
    house: House, to: str, kind: str, extra: dict[str, Any], status: int, named: str
) -> None:
    async with house.phone(BOB) as phone:
        response = await phone.message(to, "x", content_type=kind, **extra)
        assert response.status == status
        assert response[named]


async def test_no_hops_left_is_483_and_sips_is_416(house: House) -> None:
    async with house.phone(BOB) as phone:
        assert (await phone.request("MESSAGE", f"sips:{HER}", [], b"x")).status == 416
        request = _raw(phone.local, "0")
        phone.send_bytes(request)
        options = await phone.request("OPTIONS", "sip:example.org")
        assert options.status == 200
        assert house.metrics.counts["sip_requests_total:MESSAGE:483"] == 1


def _raw(local: tuple[str, int], max_forwards: str) -> bytes:
    return (
        f"MESSAGE sip:{HER} SIP/2.0\r\nVia: SIP/2.0/UDP {local[0]}:{local[1]};branch=z9hG4bKx\r\n"
        f"From: <sip:bob@example.org>;tag=1\r\nTo: <sip:{HER}>\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\n"
        f"Max-Forwards: {max_forwards}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


# --- out ------------------------------------------------------------------------------------------


async def test_messages_go_out_one_at_a_time_and_in_order(house: House) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await phone.register()
        phone.answers["MESSAGE"] = None
        for number in range(5):
            await house.say(ALICE, BOB, f"line {number}")
        first = await phone.hears("line 0")
        await phone.request("OPTIONS", "sip:example.org")
        assert len([r for r in phone.requests.history if r.method == "MESSAGE"]) == 1
        phone.answers.pop("MESSAGE")
        phone.send_bytes(_ok(first))
        await phone.hears("line 4")
        arrived = [r for r in phone.requests.history if r.method == "MESSAGE"]
        assert [r.text for r in arrived] == [f"line {n}" for n in range(5)]
        assert len({r["Call-ID"] for r in arrived}) == 5


def _ok(request: SipMessage) -> bytes:
    copied = [(name, request[name]) for name in ("Via", "From", "Call-ID", "CSeq")]
    return SipMessage("SIP/2.0 200 OK", [*copied, ("To", request["To"] + ";tag=x")]).encode()


async def test_what_waited_arrives_at_register_with_its_own_time(house: House) -> None:
    await house.say(ALICE, BOB, "are you there?")
    (waiting,) = (await house.bus.inspect(BOB, NOW))["pending"]
    async with house.phone(BOB) as phone:
        await phone.register()
        heard = await phone.hears("are you there?")
        assert abs(parsedate_to_datetime(heard["Date"]).timestamp() - waiting["created"]) < 1.5
        await phone.register()
        assert await house.waiting(BOB) == []


@pytest.mark.parametrize(
    ("status", "condition"),
    [
        (415, Condition.NOT_ACCEPTABLE),
        (486, Condition.RECIPIENT_UNAVAILABLE),
        (603, Condition.RECIPIENT_UNAVAILABLE),
        (404, Condition.ITEM_NOT_FOUND),
        (407, Condition.INTERNAL),
        (302, Condition.REDIRECT),
    ],
)
async def test_a_refusal_is_told_to_the_sender(house: House, status: int, condition: Condition) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        phone.answers["MESSAGE"] = (status, "No")
        await house.say(ALICE, BOB, "hello?")
        failed = await house.failure()
        assert (failed.failure.condition, failed.failure.sender_endpoint) == (condition, "xmpp:desk")


@pytest.mark.parametrize("status", [408, 480, 503])
async def test_a_phone_that_cannot_now_gets_it_at_its_next_register(house: House, status: int) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        phone.answers["MESSAGE"] = (status, "Later")
        await house.say(ALICE, BOB, "hello?")
        await phone.hears("hello?")
        phone.answers.pop("MESSAGE")
        while "unreachable" not in (await house.waiting(BOB))[0].values():
            await phone.request("OPTIONS", "sip:example.org")
        await phone.register()
        await phone.hears("hello?")


async def test_a_broken_connection_keeps_the_message_for_the_next(house: House) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await phone.register()
        phone.answers["MESSAGE"] = None
        await house.say(ALICE, BOB, "hello?")
        await phone.hears("hello?")
        phone.close()
        await house.until_seen(BOB, online=False)
        phone.answers.pop("MESSAGE")
        await phone.connect()
        phone._answered.clear()
        await phone.register()
        await phone.hears("hello?")


async def test_a_long_text_takes_the_stream_or_is_refused_never_cut(house: House) -> None:
    await house.desk(ALICE)
    long = "long " * 400
    async with house.phone(BOB) as phone:
        await phone.register()
        await house.say(ALICE, BOB, long)
        assert (await house.failure()).failure.condition is Condition.POLICY_VIOLATION
        async with house.phone(BOB, "tcp") as other:
            await other.register()
            await house.say(ALICE, BOB, long)
            await other.hears(long)


async def test_after_a_restart_a_udp_phone_is_still_found(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        await house.stop()
        await house.say(ALICE, BOB, "while you were away")
        await house.start()
        await phone.hears("while you were away")


async def test_the_bus_repeats_itself_and_the_phone_hears_it_once(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        await house.say(ALICE, BOB, "once")
        await phone.hears("once")
        (endpoint,) = await house.bus.endpoints(BOB, 0.0)
        request = phone.requests.history[-1]
        again = message(id=request["Call-ID"], bodies=(Text("once"),))
        assert house.door is not None
        house.door.receive(Deliver(message=again, endpoints=(endpoint.id,)))
        await house.say(ALICE, BOB, "twice")
        await phone.hears("twice")
        assert [r.text for r in phone.requests.history if r.method == "MESSAGE"] == ["once", "twice"]
