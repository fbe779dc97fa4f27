"""How many requests somebody may send."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import pytest

from sip.edge.stream import Connection
from sip.limits import BURST, Rate, Rates
from sip.settings import SipSettings
from tests.sip.house import ALICE, BOB, Tally, open_house
from tests.support.inbox import PATIENCE
from tests.support.waiting import until


def test_some_at_once_then_a_steady_rate() -> None:
    rate = Rate(2.0)
    now = 1000.0
    taken = sum(rate.wait("a", now) == 0.0 for _ in range(100))
    assert taken == 2 * BURST + 1
    wait = rate.wait("a", now)
    assert 0 < wait <= 0.5
    assert rate.wait("a", now + wait) == 0.0
    assert rate.wait("a", now + wait) > 0.0
    assert rate.wait("b", now) == 0.0


def test_who_is_turned_away_waits_no_longer_for_trying() -> None:
    rate = Rate(1.0)
    for _ in range(200):
        rate.wait("a", 0.0)
    assert rate.wait("a", 1.0) == 0.0


def test_no_limit() -> None:
    rate = Rate(0.0)
    assert all(rate.wait("a", 0.0) == 0.0 for _ in range(1000))
    assert not len(rate)


def test_the_table_is_bounded_and_forgets_the_idle_first() -> None:
    rate = Rate(1.0, capacity=10)
    for _ in range(50):
        rate.wait("busy", 0.0)
    for number in range(9):
        rate.wait(f"idle {number}", 0.0)
    for number in range(9):
        rate.wait(f"new {number}", 5.0)
    assert len(rate) == 10
    assert rate.wait("busy", 5.0) == 0.0
    for number in range(100):
        rate.wait(f"flood {number}", 5.0)
    assert len(rate) == 10


async def test_an_address_that_is_too_fast_hears_503_and_when_to_come_again(tmp_path: Path) -> None:
    async with (
        open_house(tmp_path, requests_per_address=0.5, unlimited=()) as house,
        house.phone(BOB, "tcp") as phone,
    ):
        heard = [await phone.request("OPTIONS", "sip:example.org", authenticate=False) for _ in range(8)]
        assert [response.status for response in heard] == [200] * 6 + [503] * 2
        assert 1 <= int(heard[-1]["Retry-After"]) <= 2
        assert house.metrics.counts["sip_limited_total:address"] == 2


async def test_an_account_that_is_too_fast_hears_480_wherever_its_phones_are(tmp_path: Path) -> None:
    async with open_house(tmp_path, requests_per_account=0.5, unlimited=()) as house:
        await house.befriend(ALICE, BOB)
        await house.desk(ALICE)
        async with house.phone(BOB, host="127.0.0.1") as one, house.phone(BOB, host="::1") as other:
            heard = [await phone.message("alice@example.org", "hi") for phone in (one, other) * 4]
            assert [response.status for response in heard] == [200] * 6 + [480] * 2
            assert heard[-1]["Retry-After"]
            assert house.metrics.counts["sip_limited_total:account"] == 2
        async with house.phone(ALICE) as hers:
            assert (await hers.register()).status == 200


async def test_this_machine_is_not_limited_at_first(tmp_path: Path) -> None:
    async with open_house(tmp_path, requests_per_address=0.5) as house, house.phone(BOB) as phone:
        for _ in range(20):
            assert (await phone.request("OPTIONS", "sip:example.org", authenticate=False)).status == 200


async def test_a_connection_on_which_too_much_comes_is_not_read_for_a_while(tmp_path: Path) -> None:
    """Broken ones and keep-alives, too: nobody works without an end at what is only refused."""
    async with (
        open_house(tmp_path, requests_per_address=1.0, unlimited=()) as house,
        house.phone(BOB, "tcp") as phone,
    ):
        assert house.door is not None
        listener = house.door._listener
        assert listener is not None
        await until("the connection is there", lambda: len(listener.connections()) == 1, PATIENCE)
        ((_, connection),) = listener.connections()
        assert isinstance(connection, Connection)
        phone.send_bytes(b"OPTIONS\r\nContent-Length: 0\r\n\r\n" * 60 + b"\r\n\r\n" * 60)
        await until("it is held", lambda: connection._held is not None, PATIENCE)
        assert house.metrics.counts["sip_limited_total:messages"] == 1
        assert connection._transport is not None
        assert not connection._transport.is_reading()
        # a request that ends meanwhile does not let it go on
        for _ in range(64):
            connection.began()
        for _ in range(64):
            connection.ended()
        assert not connection._transport.is_reading()
        await until("it is read again", connection._transport.is_reading, PATIENCE)


def test_what_was_read_counts_and_what_is_over_is_waited_for() -> None:
    rates = Rates(SipSettings(requests_per_address=1.0), Tally())
    assert rates.reading("192.0.2.1", 50, 0.0) == 0
    assert rates.reading("192.0.2.1", 10, 0.0) == 2
    assert rates.reading("192.0.2.1", 10, 2.0) == 2
    assert rates.reading("192.0.2.2", 10, 2.0) == 0
    assert rates.reading("127.0.0.1", 10_000, 2.0) == 0
    assert Rates(SipSettings(requests_per_address=0), Tally()).reading("192.0.2.1", 10_000, 2.0) == 0


async def test_what_is_long_counts_as_several(tmp_path: Path) -> None:
    async with (
        open_house(tmp_path, requests_per_account=1.0, unlimited=()) as house,
        house.phone(BOB, "tcp") as phone,
    ):
        heard = [(await phone.message("alice@example.org", "x" * 40_000)).status for _ in range(4)]
        assert heard == [202, 202, 480, 480]


def datagram(method: str, branch: int, *, extra: str = "", to: str = "") -> bytes:
    return (
        f"{method} sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bK{branch}\r\n"
        f"From: <sip:bob@example.org>;tag=1\r\nTo: <sip:bob@example.org>{to}\r\nCall-ID: c\r\n"
        f"CSeq: 1 {method}\r\n{extra}\r\n"
    ).encode()


@pytest.mark.parametrize(
    "datagrams",
    [
        pytest.param([datagram("OPTIONS", number) for number in range(40)], id="who asks what is served"),
        pytest.param([datagram("REGISTER", number) for number in range(40)], id="who is challenged"),
        pytest.param([datagram("SUBSCRIBE", 1)] * 40, id="who repeats"),
        pytest.param([datagram("CANCEL", number) for number in range(40)], id="who cancels nothing"),
        pytest.param([datagram("OPTIONS", 1, extra="Content-Length: 99\r\n")] * 40, id="what is broken"),
    ],
)
async def test_a_forged_sender_is_answered_a_few_times_and_then_not_at_all(
    tmp_path: Path, datagrams: list[bytes]
) -> None:
    """One at once and a tenth of a second's worth of twenty; nothing that is larger, and no refusals."""
    async with open_house(tmp_path, requests_per_address=1.0, unlimited=()) as house:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
            victim.connect(("127.0.0.1", house.ports["udp"]))
            victim.setblocking(False)
            for each in datagrams:
                victim.send(each)
            await until(
                "the last ones are not answered",
                lambda: house.metrics.counts.get("sip_limited_total:datagrams", 0) >= 37,
                PATIENCE,
            )
            answers = []
            with suppress(BlockingIOError):
                while True:
                    answers.append(victim.recv(65_536))
    assert 1 <= len(answers) <= 3


async def test_who_has_answered_a_challenge_there_has_the_whole_rate(tmp_path: Path) -> None:
    async with (
        open_house(tmp_path, requests_per_address=1.0, unlimited=()) as house,
        house.phone(BOB) as phone,
    ):
        assert (await phone.register()).status == 200
        heard = [
            (await phone.request("OPTIONS", "sip:example.org", authenticate=False)).status for _ in range(14)
        ]
        # then it hears that it is too fast, and after that nothing
        assert heard[:9] == [200] * 9
        assert heard[-1] == 503


def test_whoever_answers_from_there_answers_for_an_hour() -> None:
    rates = Rates(SipSettings(requests_per_address=1.0), Tally())
    assert sum(rates.answers("192.0.2.1", 0.0) for _ in range(100)) == 3
    rates.known("192.0.2.1", 0.0)
    assert sum(rates.answers("192.0.2.1", 0.0) for _ in range(100)) == 21
    assert sum(rates.answers("192.0.2.1", 3599.0) for _ in range(100)) == 21
    assert sum(rates.answers("192.0.2.1", 3601.0) for _ in range(100)) == 3
    assert all(rates.answers("127.0.0.1", 0.0) for _ in range(100))
