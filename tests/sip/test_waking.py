"""Phones that sleep are woken, and then given what waits for them (RFC 8599 §5)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from presence.messages import ChatState
from presence.model import Show
from presence.ports import CellWrite, Update
from sip.bindings import Binding, decode_bindings, encode_bindings
from sip.gruu import Sealer
from sip.push import BEFORE, Bell, Secrets, services
from sip.registrar import CELL, Registrar
from sip.runtime import Timer
from sip.settings import PushSettings, SipSettings
from sip.waking import AWAKE, BUCKET, Rung, Waker, Woken, dozes
from tests.sip.house import ALICE, BOB, House, Tally, open_house
from tests.support.inbox import PATIENCE
from tests.support.pushservice import PushService, push_service
from tests.support.sipclient import Phone
from tests.support.sipwire import SipMessage
from tests.support.waiting import until


@pytest.fixture
async def push(tmp_path: Path) -> AsyncIterator[PushService]:
    folder = tmp_path / "authority"
    folder.mkdir()
    async with push_service(folder) as opened:
        yield opened


@pytest.fixture
async def house(tmp_path: Path, push: PushService) -> AsyncIterator[House]:
    async with open_house(tmp_path, push=push.settings()) as opened:
        yield opened


def contact(push: PushService, name: str = "bobs-phone") -> str:
    prid = quote(push.uri(name), safe="")
    return f'<sip:bob@127.0.0.1;pn-provider=webpush;pn-prid={prid}>;+sip.instance="<urn:uuid:1>"'


async def register(phone: Phone, push: PushService, **options: Any) -> SipMessage:
    answer = await phone.register(contact=contact(push), **options)
    assert answer.status == 200, answer
    return answer


async def asleep(house: House) -> None:
    async def away() -> bool:
        tuples = (await house.seen(BOB)).tuples
        return bool(tuples) and tuples[0].show is Show.AWAY

    await until("bob's phone sleeps", away, PATIENCE)


# --- the whole way ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws"])
async def test_a_phone_whose_connection_ended_is_woken_and_given_the_message(
    house: House, push: PushService, transport: str
) -> None:
    async with house.phone(BOB, transport) as phone:
        answer = await register(phone, push)
        assert '+sip.pns="webpush";+sip.vapid="' in answer["Feature-Caps"]
        phone.close()
        await asleep(house)
        await house.say(ALICE, BOB, "wake up")
        pushed = await push.asked("bobs-phone")
        assert pushed.body == b""
        assert (pushed.headers["urgency"], pushed.headers["host"]) == ("high", f"localhost:{push.port}")
        assert 0 < int(pushed.headers["ttl"]) <= 600
        await phone.connect()
        await register(phone, push)
        await phone.hears("wake up")
        (shown,) = (await house.seen(BOB)).tuples
        assert (shown.open, shown.show) == (True, None)


async def test_what_comes_while_it_wakes_rings_no_second_time_and_keeps_its_order(
    house: House, push: PushService
) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await register(phone, push)
        phone.close()
        await asleep(house)
        spoken = ["one", "two", "three"]
        for text in spoken:
            await house.say(ALICE, BOB, text)
        await push.asked("bobs-phone")
        await phone.connect()
        await register(phone, push)
        await phone.hears("three")
        assert [r.text for r in phone.requests.matching(lambda r: r.method == "MESSAGE")] == spoken
        assert len(push.pushed.history) == 1


async def test_a_client_that_took_the_message_does_not_take_it_from_the_phone_that_wakes(
    house: House, push: PushService
) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await register(phone, push)
        phone.close()
        await asleep(house)
        await house.desk(BOB)
        await house.say(ALICE, BOB, "for both")
        await push.asked("bobs-phone")
        assert [m.bodies[0].text for m in await house.heard()] == ["for both"]
        await phone.connect()
        await register(phone, push)
        await phone.hears("for both")


async def test_what_a_phone_takes_need_not_be_understood_for_it_to_be_awake(
    house: House, push: PushService
) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await register(phone, push)
        phone.close()
        await asleep(house)
        await house.say(ALICE, BOB, "wake up")
        await push.asked("bobs-phone")
        await phone.connect()
        await register(phone, push, Accept="text/plain, nonsense")
        await phone.hears("wake up")


async def test_typing_wakes_nobody(house: House, push: PushService) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await register(phone, push)
        phone.close()
        await asleep(house)
        await house.say(ALICE, BOB, "", bodies=(), store=False, chat_state=ChatState.COMPOSING)
        await phone.connect()
        await register(phone, push)
        await house.say(ALICE, BOB, "and now")
        await phone.hears("and now")
        assert push.pushed.history == []


async def test_a_phone_that_is_silent_on_its_connection_is_woken(house: House, push: PushService) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await register(phone, push)
        phone.answers["MESSAGE"] = None
        await house.say(ALICE, BOB, "are you asleep?")
        await push.asked("bobs-phone")
        phone.close()
        phone.answers.clear()
        await phone.connect()
        await register(phone, push)
        await phone.hears("are you asleep?")


@pytest.mark.parametrize("status", [404, 410])
async def test_a_phone_its_service_knows_no_more_is_gone_and_the_message_waits(
    house: House, push: PushService, status: int
) -> None:
    push.status = status
    async with house.phone(BOB, "tcp") as phone:
        await register(phone, push)
        phone.close()
        await asleep(house)
        await house.say(ALICE, BOB, "anybody there?")
        await push.asked("bobs-phone")
        await house.until_seen(BOB, online=False)
        await house.say(ALICE, BOB, "nobody")
        await phone.connect()
        assert (await phone.register()).status == 200
        await phone.hears("anybody there?")
        await phone.hears("nobody")
        assert len(push.pushed.history) == 1


async def test_when_the_service_fails_the_message_waits_and_the_phone_may_come_by_itself(
    house: House, push: PushService
) -> None:
    push.status = 503
    push.headers = {"Retry-After": "600"}
    async with house.phone(BOB, "tcp") as phone:
        await register(phone, push)
        phone.close()
        await asleep(house)
        await house.say(ALICE, BOB, "first")
        await push.asked("bobs-phone")
        await house.say(ALICE, BOB, "second")
        await phone.connect()
        await register(phone, push)
        await phone.hears("second")
        assert len(push.pushed.history) == 1
        assert (await house.seen(BOB)).online


async def test_over_datagrams_a_phone_that_was_silent_for_a_while_is_woken_first(
    house: House, push: PushService
) -> None:
    async with house.phone(BOB, "udp") as phone:
        await register(phone, push)
        await house.say(ALICE, BOB, "just registered")
        await phone.hears("just registered")
        await house.stop()
        cell = await house.other.cell(BOB, CELL)
        earlier = [replace(b, refreshed=b.refreshed - AWAKE) for b in decode_bindings(cell.data)]
        write = CellWrite(name=CELL, expect=cell.version, data=encode_bindings(earlier))
        await house.other.publish(BOB, Update(cells=(write,)))
        await house.start(push=push.settings())
        await house.say(ALICE, BOB, "some time later")
        await push.asked("bobs-phone")
        assert phone.requests.untaken() == []
        await register(phone, push)
        await phone.hears("some time later")


async def test_a_phone_that_leaves_is_not_woken(house: House, push: PushService) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await register(phone, push)
        await register(phone, push, expires=0)
        await house.until_seen(BOB, online=False)
        await house.say(ALICE, BOB, "later")
    async with house.phone(BOB, "tcp") as again:
        await again.register()
        await again.hears("later")
        assert push.pushed.history == []


async def test_a_phone_that_slept_through_a_restart_is_woken(house: House, push: PushService) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await register(phone, push)
        await house.stop()
        phone.close()
        await house.start(push=push.settings())
        await asleep(house)
        await house.say(ALICE, BOB, "still there?")
        await push.asked("bobs-phone")
        await phone.connect()
        await register(phone, push)
        await phone.hears("still there?")


async def test_who_follows_registrations_does_not_learn_how_to_wake_the_phone(
    house: House, push: PushService
) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await register(phone, push)
        watch = await phone.subscribe(str(BOB), event="reg", Accept="application/reginfo+xml")
        document = (await watch.state("active")).text
        assert "<uri>sip:bob@127.0.0.1</uri>" in document
        assert "pn-" not in document


async def test_without_push_a_phone_that_offers_it_is_a_phone_like_any(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house, house.phone(BOB, "tcp") as phone:
        answer = await phone.register(contact="<sip:bob@127.0.0.1;pn-provider=fcm;pn-prid=a;pn-param=b>")
        assert (answer.status, answer.all("Feature-Caps")) == (200, [])
        asked = await phone.register(contact="<sip:bob@127.0.0.1;pn-provider=fcm>")
        assert asked.status == 555
        phone.close()
        await house.until_seen(BOB, online=False)


# --- when ---------------------------------------------------------------------------------------------------


class Clock:
    """Implements `sip.runtime.Runtime`; time stands still until it is moved."""

    def __init__(self) -> None:
        self.time = time.time()
        self.tasks: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        return self.time

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.add(asyncio.ensure_future(work))

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        raise NotImplementedError

    async def done(self) -> None:
        while self.tasks:
            tasks, self.tasks = self.tasks, set()
            await asyncio.gather(*tasks)


class Bench:
    """A waker by itself. `answers` with the last of what is in it, over and over."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.service = house.service("sip-9", "i1")
        self.clock = Clock()
        self.rung: list[Bell] = []
        self.answers = [Rung(201)]
        self.services = services(
            PushSettings(gateways={"acme": "https://push.example.org/"}), Secrets(gateway_token="t")
        )
        self.registrar = Registrar(
            SipSettings(), self.service, self.clock, Tally(), Sealer(b"secret"), self.services
        )
        self.waker = self.made()

    def made(self) -> Waker:
        return Waker(self.services, self._ring, self.registrar, self.service, self.clock, Tally())

    async def _ring(self, bell: Bell) -> Rung:
        self.rung.append(bell)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def register(self, expires: float = 600.0, **fields: Any) -> Binding:
        now = self.clock.now()
        given: dict[str, Any] = {
            "id": "phone-1",
            "contact": "sip:bob@192.0.2.1;pn-provider=acme;pn-prid=abc;pn-param=p",
            "flow": "udp [::]:5060 192.0.2.1 5060 0",
            "call_id": "c",
            "cseq": 1,
            "registered": now,
            "refreshed": now,
            "expires": now + expires,
            "wakes": True,
        }
        binding = Binding(**{**given, **fields})
        cell = await self.service.cell(BOB, CELL)
        write = CellWrite(name=CELL, expect=cell.version, data=encode_bindings([binding]))
        await self.service.publish(BOB, Update(cells=(write,)))
        return binding

    async def tidy(self) -> None:
        self.waker.tidy()
        await self.clock.done()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_house(tmp_path) as house:
        yield Bench(house)


async def test_a_phone_is_rung_once_and_then_left_alone_for_longer_and_longer(bench: Bench) -> None:
    phone = await bench.register(7200.0)
    began = bench.clock.time
    assert await bench.waker.wake(BOB, phone) is Woken.RUNG
    bench.clock.time = began + BUCKET - 1
    assert await bench.waker.wake(BOB, phone) is Woken.RUNG
    bench.clock.time = began + BUCKET + 1
    assert await bench.waker.wake(BOB, phone) is Woken.LATER
    assert len(bench.rung) == 1
    moments = []
    while bench.clock.time < began + 6000:
        before = len(bench.rung)
        await bench.waker.wake(BOB, phone)
        if len(bench.rung) > before:
            moments.append(bench.clock.time - began)
        bench.clock.time += 1
    assert moments == [60, 180, 420, 900, 1860, 3780]
    bench.waker.registered(BOB, phone)
    assert await bench.waker.wake(BOB, phone) is Woken.RUNG


async def test_a_phone_that_came_to_another_process_may_be_rung_again(bench: Bench) -> None:
    phone = await bench.register()
    await bench.waker.wake(BOB, phone)
    bench.clock.time += 5
    again = await bench.register()
    bench.clock.time += 1
    assert await bench.waker.wake(BOB, again) is Woken.RUNG
    assert len(bench.rung) == 2


async def test_one_account_makes_only_so_much_noise(bench: Bench) -> None:
    outcomes = []
    for number in range(40):
        phone = await bench.register(id=f"phone-{number}")
        outcomes.append(await bench.waker.wake(BOB, phone))
    assert (outcomes.count(Woken.RUNG), len(bench.rung)) == (30, 30)
    assert await bench.waker.wake(ALICE, phone) is Woken.RUNG
    bench.clock.time += 61
    assert await bench.waker.wake(BOB, phone) is Woken.RUNG


async def test_a_service_says_when_to_come_back(bench: Bench) -> None:
    phone = await bench.register()
    bench.answers = [Rung(429, retry_after=300.0), Rung(201)]
    assert await bench.waker.wake(BOB, phone) is Woken.LATER
    bench.clock.time += 299
    assert await bench.waker.wake(BOB, phone) is Woken.LATER
    bench.clock.time += 2
    assert await bench.waker.wake(BOB, phone) is Woken.RUNG


@pytest.mark.parametrize(
    ("contact", "expires", "wakes"),
    [
        ("sip:bob@192.0.2.1;pn-provider=acme;pn-prid=abc", 0.0, True),  # §5.5: it is over
        ("sip:bob@192.0.2.1;pn-provider=fcm;pn-prid=abc", 600.0, True),  # the settings have changed
        ("sip:bob@192.0.2.1", 600.0, True),
        ("sip:bob@192.0.2.1;pn-provider=acme;pn-prid=abc", 600.0, False),
    ],
)
async def test_who_cannot_be_rung_is_not(bench: Bench, contact: str, expires: float, wakes: bool) -> None:
    phone = await bench.register(expires, contact=contact, wakes=wakes)
    assert await bench.waker.wake(BOB, phone) is Woken.LATER
    assert bench.rung == []


async def test_a_phone_that_is_gone_is_not_woken_any_more_but_registered_where_it_is_awake(
    bench: Bench,
) -> None:
    phone = await bench.register()
    bench.answers = [Rung(410)]
    assert await bench.waker.wake(BOB, phone) is Woken.GONE
    (left,) = decode_bindings((await bench.service.cell(BOB, CELL)).data)
    assert left == replace(phone, wakes=False)


async def test_what_a_service_says_of_an_old_name_does_not_count_for_the_new_one(bench: Bench) -> None:
    phone = await bench.register()
    newer = await bench.register(contact=phone.contact.replace("abc", "def"))
    bench.answers = [Rung(410)]
    await bench.waker.wake(BOB, phone)
    assert decode_bindings((await bench.service.cell(BOB, CELL)).data) == (newer,)


async def test_a_phone_is_woken_before_its_registration_ends(bench: Bench) -> None:
    phone = await bench.register(600.0)
    bench.waker.registered(BOB, phone)
    bench.clock.time = phone.expires - BEFORE - 1
    await bench.tidy()
    assert bench.rung == []
    bench.clock.time = phone.expires - BEFORE
    await bench.tidy()
    assert len(bench.rung) == 1


async def test_a_phone_that_renewed_it_elsewhere_is_let_sleep(bench: Bench) -> None:
    phone = await bench.register(600.0)
    bench.waker.registered(BOB, phone)
    bench.clock.time = phone.expires - BEFORE
    renewed = await bench.register(600.0)
    await bench.tidy()
    assert bench.rung == []
    bench.clock.time = renewed.expires - BEFORE
    await bench.tidy()
    assert len(bench.rung) == 1


async def test_two_processes_do_not_wake_the_same_phone(bench: Bench) -> None:
    phone = await bench.register(600.0)
    bench.waker.registered(BOB, phone)
    bench.clock.time = phone.expires - BEFORE
    # Another process was first.
    assert await bench.house.service("sip-2", "x").claims(f"push:{BOB} phone-1", 60.0)
    await bench.tidy()
    assert bench.rung == []


async def test_the_next_process_of_that_name_wakes_whom_this_one_would(bench: Bench) -> None:
    phone = await bench.register(600.0, flow="tcp 192.0.2.9:5060 192.0.2.1 4000 7", owner="sip-9/i0")
    await bench.waker.keep(BOB, phone)
    bench.waker = bench.made()
    await bench.waker.resume()
    (kept,) = decode_bindings((await bench.service.cell(BOB, CELL)).data)
    assert (kept.asleep, kept.owner) == (bench.clock.time, "")
    bench.clock.time = phone.expires - BEFORE
    await bench.tidy()
    assert len(bench.rung) == 1
    # Nobody answered, and it is over: nothing is left of it.
    bench.clock.time = phone.expires + 60
    await bench.tidy()
    assert (len(bench.waker), await bench.service.records()) == (0, {})


def test_where_no_connection_shows_it_a_phone_is_awake_for_a_while(bench: Bench) -> None:
    now = 1000.0
    phone = Binding(
        id="p",
        contact="sip:a@b",
        flow="",
        call_id="c",
        cseq=1,
        registered=now,
        refreshed=now,
        expires=now + 600,
        wakes=True,
    )
    assert not dozes(phone, now + AWAKE)
    assert dozes(phone, now + AWAKE + 1)
    assert not dozes(replace(phone, wakes=False), now + AWAKE + 1)
