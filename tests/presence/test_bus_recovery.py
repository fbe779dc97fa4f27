"""presence/edge/: the bus on Valkey loses its server, its connection, or a node, and goes on by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.edge.embedded import Durability, EmbeddedValkey
from presence.edge.link import Command
from presence.edge.redis import RedisBus
from presence.errors import Unavailable
from presence.messages import Accepted, Delivery
from presence.ports import Deliver, Relay, Settled, Update
from tests.support.buses import ALICE, LAPTOP, PHONE, delivered, endpoint, inbox, message, put, shown, source
from tests.support.waiting import until

NOW = 1_800_000_000.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    """A supervised Valkey of the test's own, to be killed."""
    valkey = EmbeddedValkey(tmp_path, durability=Durability.EVERYSEC, lowest_pause=0.05)
    async with valkey:
        supervision = asyncio.create_task(valkey.run())
        yield valkey
        supervision.cancel()
        await asyncio.gather(supervision, return_exceptions=True)


@pytest.fixture
async def bus(server: EmbeddedValkey) -> AsyncIterator[RedisBus]:
    async with RedisBus(server.url, pending_limit=1_000_000, sender_limit=1_000_000, patience=8) as bus:
        yield bus


def kill(server: EmbeddedValkey) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


async def test_kill_9_under_load_keeps_every_accepted_message_and_accepts_each_once(
    server: EmbeddedValkey, bus: RedisBus
) -> None:
    await put(bus, NOW, LAPTOP)
    kills, submitters, each = 3, 20, 250
    accepted: list[str] = []
    received: list[str] = []

    async def submit(number: int) -> None:
        for count in range(each):
            name = f"m-{number}-{count}"
            submission = await bus.submit(message(name), NOW)
            assert submission.accepted is Accepted.LIVE
            accepted.append(name)

    async def receive() -> None:
        while len(received) < submitters * each:
            envelopes = await bus.receive("xmpp-1", 5)
            received.extend(e.message.id for e in envelopes if isinstance(e, Deliver))

    async with asyncio.TaskGroup() as group:
        group.create_task(receive())
        for number in range(submitters):
            group.create_task(submit(number))
        for number in range(1, kills + 1):
            part = number * submitters * each // (kills + 1)
            await until("part of it is accepted", lambda part=part: len(accepted) >= part, 30, 0.001)  # type: ignore[misc]
            kill(server)
    assert len(accepted) == len(set(accepted)) == submitters * each
    pending = (await bus.inspect(ALICE, NOW))["pending"]
    assert {waiting["id"] for waiting in pending} == set(accepted)
    assert sorted(received) == sorted(accepted)


async def test_commands_wait_for_a_server_that_comes_back(server: EmbeddedValkey, bus: RedisBus) -> None:
    kill(server)
    committed = await bus.commit(ALICE, Update(put_sources=(source(),)), NOW)
    assert (await bus.snapshots([ALICE], NOW)) == [committed.snapshot]


async def test_a_repeated_conditional_commit_is_not_its_own_conflict(bus: RedisBus) -> None:
    """The connection broke after the script ran and before its answer came: the same words go out again."""
    await bus.commit(ALICE, Update(put_sources=(source(tag="1"),)), NOW)
    words = bus._commit_words(ALICE, Update(put_sources=(source(tag="2", note="new", expect="1"),)), NOW)
    first = await bus._call(*words, "t:link:x", 7, "0")
    assert first[1] == 1
    again = await bus._call(*words, "t:link:x", 7, "1")
    assert (int(again[0]), *again[1:]) == (int(first[0]), *first[1:])


async def test_a_repeated_submission_of_a_message_already_taken_is_not_delivered_again(bus: RedisBus) -> None:
    await put(bus, NOW, LAPTOP)
    command = bus._link._queue
    submitting = asyncio.create_task(bus.submit(message(), NOW))
    await asyncio.sleep(0)
    (sent,) = command
    await submitting
    await bus.settle(ALICE, "m1", "xmpp:laptop", Delivery.DELIVERED, NOW)
    assert await delivered(bus, "xmpp-1") == [("m1", ("xmpp:laptop",), False)]
    answer = asyncio.get_running_loop().create_future()
    repeated = Command(sent.data, answer, sent.deadline + 9, True, True)
    bus._link._queue.append(repeated.repeated())
    await bus.ping()
    assert (await answer)[0].startswith(b"L")
    assert await inbox(bus, "xmpp-1") == []


async def test_a_repeated_settlement_tells_the_failure_again(bus: RedisBus) -> None:
    await put(bus, NOW, PHONE)
    await bus.submit(message(), NOW)
    tokens, bus._tokens = bus._tokens, iter(["same"] * 2)  # type: ignore[assignment]
    first = await bus.settle(ALICE, "m1", "sip:phone", Delivery.REFUSED, NOW)
    again = await bus.settle(ALICE, "m1", "sip:phone", Delivery.REFUSED, NOW)
    bus._tokens = tokens
    assert first == again == Settled(done=True, failed=message())


async def test_functions_that_the_server_forgot_are_loaded_again(bus: RedisBus) -> None:
    await bus._call("FUNCTION", "FLUSH")
    assert (await bus.submit(message(), NOW)).accepted is Accepted.STORED


async def test_a_killed_connection_comes_back_and_callers_do_not_notice(
    server: EmbeddedValkey, bus: RedisBus
) -> None:
    async with RedisBus(server.url) as other, asyncio.TaskGroup() as group:
        for number in range(500):
            group.create_task(bus.submit(message(f"m{number}"), NOW))
            if number % 100 == 50:
                await other._call("CLIENT", "KILL", "TYPE", "normal")
    assert len((await bus.inspect(ALICE, NOW))["pending"]) == 500


async def test_order_of_callers_is_kept_over_a_reconnection(server: EmbeddedValkey, bus: RedisBus) -> None:
    await put(bus, NOW, LAPTOP)
    submissions = [asyncio.ensure_future(bus.submit(message(f"m{number:03}"), NOW)) for number in range(300)]
    await asyncio.sleep(0)
    kill(server)
    await asyncio.gather(*submissions)
    names = [waiting["id"] for waiting in (await bus.inspect(ALICE, NOW))["pending"]]
    assert names == sorted(names)
    assert len(names) == 300


async def test_receiving_goes_on_after_a_restart(server: EmbeddedValkey, bus: RedisBus) -> None:
    await put(bus, NOW, LAPTOP)
    receiving = asyncio.create_task(bus.receive("xmpp-1", 8))
    await bus.ping()
    kill(server)
    await bus.submit(message(), NOW)
    assert [e.message.id for e in await receiving if isinstance(e, Deliver)] == ["m1"]


async def test_a_relay_that_was_on_its_way_is_not_sent_twice(server: EmbeddedValkey, bus: RedisBus) -> None:
    await put(bus, NOW, LAPTOP)
    relay = Relay(address=ALICE, endpoint="", kind=LAPTOP.kind, payload=b"<iq/>")
    os.kill(server.pid or 0, signal.SIGSTOP)
    sending = asyncio.create_task(bus.relay(relay))
    await asyncio.sleep(0.05)
    kill(server)
    with pytest.raises(Unavailable):
        await sending
    assert len(await inbox(bus, "xmpp-1")) <= 1


async def test_without_a_server_callers_hear_unavailable_within_their_patience(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as url:
        bus = await RedisBus.connect(url, patience=0.3)
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable):
            await bus.submit(message(), NOW)
    await bus.close()
    with pytest.raises(Unavailable):
        await bus.ping()


async def test_a_server_that_hangs_is_given_up(server: EmbeddedValkey) -> None:
    bus = await RedisBus.connect(server.url, patience=0.5)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable):
                await bus.ping()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    async with asyncio.timeout(30):
        while True:
            try:
                assert await bus.ping() >= 0
                break
            except Unavailable:
                continue
    await bus.close()


async def test_connecting_to_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"nothing\.sock"):
        await RedisBus.connect(f"unix://{tmp_path}/nothing.sock", patience=0.1)


async def test_a_dead_node_is_swept_by_another_process(server: EmbeddedValkey, bus: RedisBus) -> None:
    """Alice's session dies with its node; her message goes to the phone that came later."""
    async with RedisBus(server.url) as other:
        await other.commit(ALICE, Update(put_sources=(source(),), put_endpoints=(LAPTOP,)), NOW)
        await other.watch("xmpp-1", [ALICE], NOW)
    await bus.watch("sip-1", [ALICE], NOW)
    await bus.submit(message(), NOW)
    await put(bus, NOW, PHONE)
    assert await bus.sweep("xmpp-1", None, NOW + 11) == 1
    envelopes = await inbox(bus, "sip-1")
    assert shown(envelopes) == [("alice@example.org", [])]
    assert [(e.message.id, e.endpoints) for e in envelopes if isinstance(e, Deliver)] == [
        ("m1", ("sip:phone",))
    ]
    assert (await bus.inspect(ALICE, NOW))["interest"] == ["sip-1"]


async def test_sweeping_many_addresses_finds_them_all(bus: RedisBus) -> None:
    people = [type(ALICE)(f"user{number}", "example.org") for number in range(450)]
    await asyncio.gather(*(put(bus, NOW, LAPTOP, address=person) for person in people))
    await bus.watch("xmpp-1", people, NOW)
    assert await bus.sweep("xmpp-1", None, NOW) == 450
    assert await bus._call("KEYS", "t:node:xmpp-1:*") == []


async def test_steady_traffic_of_many_processes_does_not_put_off_what_is_overdue(
    server: EmbeddedValkey,
) -> None:
    for number in range(5):
        async with RedisBus(server.url) as process:  # which knows no mark yet
            await put(process, NOW, LAPTOP)
            await process.submit(message(f"m{number}"), NOW + number * 6)
    async with RedisBus(server.url) as bus:
        assert await bus.maintain(NOW + 29) == 0
        assert await bus.maintain(NOW + 30) == 1


async def test_two_processes_share_one_bus(server: EmbeddedValkey, bus: RedisBus) -> None:
    async with RedisBus(server.url, name="sip-1") as sip:
        await put(sip, NOW, PHONE, endpoint("xmpp:laptop"))
        await bus.submit(message(), NOW)
        assert await delivered(sip, "sip-1") == [("m1", ("sip:phone",), False)]


async def test_an_inbox_nobody_reads_stays_bounded(server: EmbeddedValkey) -> None:
    async with RedisBus(server.url, inbox_limit=200, pending_limit=10_000, sender_limit=10_000) as bus:
        await put(bus, NOW, LAPTOP)
        await asyncio.gather(*(bus.submit(message(f"m{number}"), NOW) for number in range(2000)))
        assert await bus._call("XLEN", "t:inbox:xmpp-1") <= 400
        assert await bus.maintain(NOW + 31) == 1  # what was trimmed is driven again


async def test_what_was_read_is_trimmed(bus: RedisBus) -> None:
    await put(bus, NOW, LAPTOP)
    await asyncio.gather(*(bus.submit(message(f"m{number}"), NOW) for number in range(300)))
    assert len(await bus.receive("xmpp-1", 1)) == 300
    await bus.receive("xmpp-1", 0)
    assert await bus._call("XLEN", "t:inbox:xmpp-1") == 0


async def test_an_envelope_nobody_understands_is_skipped(bus: RedisBus) -> None:
    await put(bus, NOW, LAPTOP)
    await bus._call("XADD", "t:inbox:xmpp-1", "*", "1", b"\xc1broken")
    await bus._call("XADD", "t:inbox:xmpp-1", "*", "99", b"\x80")
    await bus.submit(message(), NOW)
    assert await delivered(bus, "xmpp-1") == [("m1", ("xmpp:laptop",), False)]


async def test_time_is_the_callers_so_old_clocks_and_new_ones_agree(bus: RedisBus) -> None:
    now = time.time()
    await put(bus, now, endpoint(expires=now + 5))
    assert (await bus.submit(message(), now + 4)).accepted is Accepted.LIVE
    assert (await bus.submit(message("m2"), now + 6)).accepted is Accepted.STORED
