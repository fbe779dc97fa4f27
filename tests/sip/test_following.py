"""Registrations and calls that another server knows of, as presence of people here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from presence.messages import InstantMessage
from presence.model import Person
from presence.ports import AccountChanged
from tests.sip.house import BOB, House, open_house
from tests.sip.test_views import contact, dialogs, reginfo
from tests.support.inbox import Inbox
from tests.support.sipwire import SipMessage, parameter, parse

ON_THE_PHONE = Person(activities=("on-the-phone",))
MEDIA = {"reg": "application/reginfo+xml", "dialog": "application/dialog-info+xml"}


class Registrar(asyncio.DatagramProtocol):
    """Another server: accepts subscriptions, and notifies when the test says so."""

    def __init__(self) -> None:
        self.heard: Inbox[SipMessage] = Inbox("the other registrar")
        self.answers: list[int] = []
        "Statuses of the next answers; 200 after them."
        self.subscribed: dict[str, SipMessage] = {}
        self.peer: Any = None
        self.cseq = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = parse(data)
        if message.method == "SUBSCRIBE" and not message.is_response:
            self.peer = addr
            status = self.answers.pop(0) if self.answers else 200
            self._answer(message, status, addr)
            if status == 200:
                self.subscribed[message["Event"]] = message
        self.heard.put(message)

    def _answer(self, request: SipMessage, status: int, addr: Any) -> None:
        tag = "" if ";tag=" in request["To"] else ";tag=theirs"
        headers = [(name, request[name]) for name in ("Via", "From", "Call-ID", "CSeq")]
        headers += [("To", request["To"] + tag), ("Expires", request["Expires"])]
        headers += [("Contact", f"<sip:127.0.0.1:{self.port}>")]
        self.transport.sendto(SipMessage(f"SIP/2.0 {status} X", headers).encode(), addr)

    def notify(self, event: str, body: bytes, state: str = "active;expires=600") -> None:
        asked = self.subscribed[event]
        self.cseq += 1
        headers = [
            ("Via", f"SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{secrets.token_hex(4)}"),
            ("From", asked["To"].partition(";tag=")[0] + ";tag=theirs"),
            ("To", asked["From"]),
            ("Call-ID", asked["Call-ID"]),
            ("CSeq", f"{self.cseq} NOTIFY"),
            ("Contact", f"<sip:127.0.0.1:{self.port}>"),
            ("Event", event),
            ("Subscription-State", state),
            ("Content-Type", MEDIA[event]),
        ]
        target = asked["Contact"].strip("<>")
        self.transport.sendto(SipMessage(f"NOTIFY {target} SIP/2.0", headers, body).encode(), self.peer)

    async def answered(self, status: int) -> None:
        await self.heard.take(f"a {status}", lambda m: m.is_response and m.status == status)

    async def asked(self, event: str) -> SipMessage:
        return await self.heard.take(
            f"a SUBSCRIBE for {event}", lambda m: not m.is_response and m["Event"] == event
        )


@asynccontextmanager
async def following(folder: Path, **settings: Any) -> AsyncIterator[tuple[House, Registrar]]:
    loop = asyncio.get_running_loop()
    transport, registrar = await loop.create_datagram_endpoint(Registrar, local_addr=("127.0.0.1", 0))
    follow = {"server": f"sip:127.0.0.1:{registrar.port}", "addresses": (str(BOB),), **settings}
    try:
        async with open_house(folder, follow=(follow,)) as house:
            yield house, registrar
    finally:
        transport.close()


async def until_person(house: House, wanted: Person | None) -> None:
    await house.other.watch([BOB])
    async with asyncio.timeout(30):
        while (await house.seen(BOB)).person != wanted:
            await house.bus.receive("xmpp-1", 0.05)


async def test_phones_registered_elsewhere_are_there_until_they_are_not(tmp_path: Path) -> None:
    async with following(tmp_path) as (house, registrar):
        asked = await registrar.asked("reg")
        assert asked.uri == f"sip:{BOB}"
        assert asked["Accept"] == MEDIA["reg"]
        registrar.notify("reg", reginfo(0, "full", contact("one"), contact("two")))
        await registrar.answered(200)
        seen = await house.until_seen(BOB, online=True)
        assert len(seen.tuples) == 2
        for number, name in enumerate(("one", "two"), start=1):
            gone = contact(name, "terminated", "expired")
            registrar.notify("reg", reginfo(number, "partial", gone))
        await house.until_seen(BOB, online=False)


async def test_calls_elsewhere_put_him_on_the_phone_and_no_longer(tmp_path: Path) -> None:
    async with following(tmp_path, events=("dialog",)) as (house, registrar):
        await registrar.asked("dialog")
        registrar.notify("dialog", dialogs(0, "full", a="early"))
        await until_person(house, Person(ringing=True))
        registrar.notify("dialog", dialogs(1, "partial", a="confirmed"))
        await until_person(house, ON_THE_PHONE)
        registrar.notify("dialog", dialogs(2, "partial", a="terminated"))
        await until_person(house, None)


async def test_another_process_passes_on_what_the_server_says(tmp_path: Path) -> None:
    async with following(tmp_path, events=("dialog",)) as (house, registrar):
        await registrar.asked("dialog")
        settings = {"follow": house.door._settings.follow} if house.door is not None else {}
        async with house.second(**settings) as other:
            registrar.peer = ("127.0.0.1", other.ports["udp"])
            registrar.notify("dialog", dialogs(0, "full", a="confirmed"))
            await registrar.answered(200)
            await until_person(house, ON_THE_PHONE)
            # Something is missing: all of it is asked for.
            registrar.notify("dialog", dialogs(7, "partial", b="early"))
            await registrar.answered(200)
            assert (await registrar.asked("dialog"))["To"].endswith("tag=theirs")
            registrar.subscribed["dialog"] = SipMessage(
                "", [*registrar.subscribed["dialog"].headers, ("Call-ID", "forged.0123456789abcdef")][::-1]
            )
            registrar.notify("dialog", dialogs(8, "full"))
            await registrar.answered(481)


async def test_what_was_lost_between_two_documents_is_asked_for(tmp_path: Path) -> None:
    async with following(tmp_path) as (_, registrar):
        first = await registrar.asked("reg")
        registrar.notify("reg", reginfo(0, "full"))
        registrar.notify("reg", reginfo(5, "partial", contact("one")))
        again = await registrar.asked("reg")
        assert again["Call-ID"] == first["Call-ID"]
        assert parameter(again["To"], "tag") == "theirs"


async def test_an_end_is_followed_by_a_new_beginning_that_forgets_what_is_gone(tmp_path: Path) -> None:
    async with following(tmp_path) as (house, registrar):
        first = await registrar.asked("reg")
        registrar.notify("reg", reginfo(0, "full", contact("one")))
        await house.until_seen(BOB, online=True)
        registrar.notify("reg", b"", "terminated;reason=deactivated")
        again = await registrar.asked("reg")
        assert again["Call-ID"] != first["Call-ID"]
        registrar.cseq = 0
        registrar.notify("reg", reginfo(0, "full"))
        await house.until_seen(BOB, online=False)


async def test_the_next_process_takes_it_up_and_drops_what_ended_meanwhile(tmp_path: Path) -> None:
    async with following(tmp_path) as (house, registrar):
        await registrar.asked("reg")
        registrar.notify("reg", reginfo(0, "full", contact("one")))
        await house.until_seen(BOB, online=True)
        follow = {"server": f"sip:127.0.0.1:{registrar.port}", "addresses": (str(BOB),)}
        await house.stop()
        await house.bus.lease("follower", "sip-1/i1", 0)
        await house.start(follow=(follow,))
        await registrar.asked("reg")
        assert (await house.seen(BOB)).online
        registrar.notify("reg", reginfo(0, "full"))
        await house.until_seen(BOB, online=False)


async def test_strangers_documents_are_refused_and_change_nothing(tmp_path: Path) -> None:
    async with following(tmp_path) as (house, registrar):
        await registrar.asked("reg")
        asked = registrar.subscribed["reg"]
        registrar.subscribed["dialog"] = asked
        registrar.notify("dialog", dialogs(0, "full", a="confirmed"))
        await registrar.answered(489)
        forged = SipMessage(asked.start, [(n, v) for n, v in asked.headers if n != "Call-ID"])
        registrar.subscribed["reg"] = SipMessage(forged.start, [*forged.headers, ("Call-ID", "guessed")])
        registrar.notify("reg", reginfo(0, "full", contact("one")))
        await registrar.answered(481)
        registrar.subscribed["reg"] = asked
        registrar.notify("reg", b"<broken")
        await registrar.answered(400)
        assert not (await house.seen(BOB)).online


async def test_somebody_whose_account_is_gone_is_nobody_there(tmp_path: Path) -> None:
    async with following(tmp_path) as (house, registrar):
        await registrar.asked("reg")
        registrar.notify("reg", reginfo(0, "full", contact("one")))
        await house.until_seen(BOB, online=True)
        await house.bus.broadcast(AccountChanged(address=BOB, gone=True))
        await house.until_seen(BOB, online=False)


async def test_one_process_follows_at_a_time(tmp_path: Path) -> None:
    async with following(tmp_path) as (house, registrar):
        await registrar.asked("reg")
        assert not await house.other.lease("follower", 40)


async def test_calls_elsewhere_that_nobody_answers_are_missed(tmp_path: Path) -> None:
    async with following(tmp_path, events=("dialog",)) as (house, registrar):
        await house.accounts.seen_on_xmpp(BOB)
        await house.desk(BOB)
        await registrar.asked("dialog")
        for version, state in enumerate(("early", "terminated")):
            registrar.notify("dialog", received(version, state))
            await registrar.answered(200)
        notice = await until_heard(house)
        assert notice.bodies[0].text == "Missed call from sip:+4930123@pbx.example"


def received(version: int, state: str) -> bytes:
    return (
        f'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{version}" state="partial"'
        f' entity="sip:{BOB}"><dialog id="a" call-id="a1" local-tag="l" direction="recipient">'
        f"<state>{state}</state><remote><identity>sip:+4930123@pbx.example</identity></remote>"
        "</dialog></dialog-info>"
    ).encode()


async def until_heard(house: House) -> InstantMessage:
    async with asyncio.timeout(30):
        while True:
            for message in await house.heard():
                return message
            await asyncio.sleep(0.1)
