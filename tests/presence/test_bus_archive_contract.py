"""presence/ports.py: what `Bus` promises about copies for other clients and about the way into the archive,
by the bus in memory and on a real Valkey alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from presence.address import Address
from presence.edge.codec import decode_message
from presence.edge.redis import RedisBus
from presence.errors import Condition, Refused
from presence.memory import MemoryBus
from presence.messages import Accepted, InstantMessage
from presence.ports import Bus, Copy, Deliver, Endpoint, Submission, Update
from tests.support.buses import ALICE, BOB, PHONE, Clock, endpoint, inbox, message, put

NOW = 1_800_000_000.0
LIMIT = 5


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture(params=["memory", "redis"])
async def bus(request: pytest.FixtureRequest, valkey: str, clock: Clock) -> AsyncIterator[Bus]:
    if request.param == "memory":
        yield MemoryBus(clock=clock, archive_limit=LIMIT)
        return
    async with RedisBus(valkey, clock=clock, archive_limit=LIMIT) as redis:
        await redis._call("FLUSHALL")
        yield redis


async def waiting(bus: Bus) -> list[str]:
    return [decode_message(each.message).id for each in await bus.unarchived(100, 0)]


# --- the way into the archive ------------------------------------------------------------------------


async def test_what_is_accepted_waits_for_the_archive_in_order_and_whole(bus: Bus) -> None:
    first, second = message("m2"), message("m1")
    await bus.submit(first, NOW)
    await bus.submit(second, NOW)
    entries = await bus.unarchived(10, 0)
    assert [decode_message(each.message) for each in entries] == [first, second]
    assert entries[0].position < entries[1].position


async def test_the_oldest_come_first_and_are_forgotten_when_told(bus: Bus) -> None:
    for name in ("m1", "m2", "m3"):
        await bus.submit(message(name), NOW)
    two = await bus.unarchived(2, 0)
    assert len(two) == 2
    await bus.forget_unarchived(two[-1].position)
    assert await waiting(bus) == ["m3"]


async def test_a_reader_is_woken_by_the_next_message(bus: Bus) -> None:
    reading = asyncio.ensure_future(bus.unarchived(10, 5))
    await asyncio.sleep(0)
    await bus.submit(message(), NOW)
    assert len(await reading) == 1


async def test_nothing_to_read_is_nothing(bus: Bus) -> None:
    assert await bus.unarchived(10, 0) == []
    assert await bus.unarchived(10, 0.01) == []


async def test_what_is_not_for_the_archive_does_not_wait_for_it(bus: Bus) -> None:
    await bus.submit(message(archived=False), NOW)
    assert await waiting(bus) == []


async def test_what_nobody_can_get_any_more_is_not_archived(bus: Bus) -> None:
    submission = await bus.submit(message(store=False), NOW)
    assert submission.accepted is Accepted.DROPPED
    assert await waiting(bus) == []
    await put(bus, NOW, PHONE)
    await bus.submit(message("m2", store=False), NOW)
    assert await waiting(bus) == ["m2"]


async def test_a_repetition_is_archived_once(bus: Bus) -> None:
    await bus.submit(message("m1"), NOW, "branch")
    again = await bus.submit(message("m2"), NOW, "branch")
    assert again.accepted is Accepted.DUPLICATE
    assert await waiting(bus) == ["m1"]


async def test_when_the_archive_does_not_keep_up_nothing_more_is_accepted_for_it(bus: Bus) -> None:
    for number in range(LIMIT):
        await bus.submit(message(f"m{number}"), NOW)
    with pytest.raises(Refused) as refused:
        await bus.submit(message("one more"), NOW)
    assert refused.value.condition is Condition.RESOURCE_CONSTRAINT
    await bus.submit(message("not for it", archived=False), NOW)
    await bus.forget_unarchived((await bus.unarchived(1, 0))[0].position)
    await bus.submit(message("one more"), NOW)
    assert (await waiting(bus))[-1] == "one more"


async def test_a_lease_has_one_holder(bus: Bus) -> None:
    assert await bus.lease("archiver", "admin-1/a", 60)
    assert await bus.lease("archiver", "admin-1/a", 60)
    assert not await bus.lease("archiver", "xmpp-1/a", 60)
    assert await bus.lease("something else", "xmpp-1/a", 60)


# --- copies ------------------------------------------------------------------------------------------


DESK = endpoint("xmpp:desk")
SOFA = endpoint("xmpp:sofa", node="xmpp-2", owner="xmpp-2/a")
QUIET = endpoint("xmpp:quiet", eligible=False)


def said(**fields: object) -> InstantMessage:
    """Bob at his desk to Alice."""
    return msgspec.structs.replace(
        message(copied=True, sender_endpoint="xmpp:desk"),
        **fields,
    )


async def copies(bus: Bus, *nodes: str) -> list[tuple[str, tuple[str, ...], bool]]:
    """Node, endpoints, and whether it was sent, of each copy that came."""
    return [
        (node, each.endpoints, each.sent)
        for node in nodes or ("xmpp-1", "xmpp-2", "sip-1")
        for each in await inbox(bus, node)
        if isinstance(each, Copy)
    ]


async def at(bus: Bus, who: object, *endpoints: Endpoint) -> None:
    await bus.commit(who, Update(put_endpoints=endpoints), NOW)  # type: ignore[arg-type]


async def test_the_senders_other_clients_get_a_copy_wherever_they_are(bus: Bus) -> None:
    await at(bus, BOB, DESK, SOFA, QUIET, PHONE)
    sent = said()
    await bus.submit(sent, NOW)
    for node, names in (("xmpp-1", ("xmpp:quiet",)), ("xmpp-2", ("xmpp:sofa",))):
        assert await inbox(bus, node) == [Copy(message=sent, endpoints=names, sent=True)]
    assert await inbox(bus, "sip-1") == []


async def test_a_phones_message_is_copied_to_all_its_users_clients(bus: Bus) -> None:
    await at(bus, BOB, DESK, PHONE)
    await bus.submit(said(sender_endpoint="sip:phone"), NOW)
    assert await copies(bus) == [("xmpp-1", ("xmpp:desk",), True)]


async def test_a_recipients_clients_that_were_not_addressed_get_a_copy(bus: Bus) -> None:
    await at(bus, ALICE, DESK, SOFA, PHONE)
    await bus.submit(said(recipient_endpoint="xmpp:desk"), NOW)
    assert await copies(bus) == [("xmpp-2", ("xmpp:sofa",), False)]


async def test_who_gets_the_message_itself_gets_no_copy(bus: Bus) -> None:
    await at(bus, ALICE, DESK, SOFA, QUIET)
    await bus.submit(said(), NOW)
    assert await copies(bus) == [("xmpp-1", ("xmpp:quiet",), False)]


async def test_a_message_to_oneself_is_copied_to_nobody_who_gets_it_or_sent_it(bus: Bus) -> None:
    await at(bus, BOB, DESK, SOFA, QUIET)
    await bus.submit(said(recipient=BOB, recipient_endpoint="xmpp:sofa"), NOW)
    assert await copies(bus) == [("xmpp-1", ("xmpp:quiet",), False)]


async def test_private_messages_are_not_copied(bus: Bus) -> None:
    await at(bus, BOB, DESK, SOFA)
    await at(bus, ALICE, DESK, SOFA)
    await bus.submit(said(recipient_endpoint="xmpp:desk", copied=False), NOW)
    assert await copies(bus) == []


async def test_what_is_dropped_is_still_copied_to_its_senders_clients(bus: Bus) -> None:
    await at(bus, BOB, DESK, SOFA)
    await bus.submit(said(store=False), NOW)
    assert await copies(bus) == [("xmpp-2", ("xmpp:sofa",), True)]


async def test_a_repetition_is_copied_once(bus: Bus) -> None:
    await at(bus, BOB, DESK, SOFA)
    await bus.submit(said(), NOW, "branch")
    await bus.submit(said(id="m2"), NOW, "branch")
    assert len(await copies(bus)) == 1


async def test_copies_are_never_owed(bus: Bus) -> None:
    await at(bus, BOB, DESK, SOFA)
    await bus.submit(said(), NOW)
    await copies(bus)
    await bus.maintain(NOW + 3600)
    assert await copies(bus) == []


# --- through somebody else's endpoints -----------------------------------------------------------------

SERVICE = Address("", "irc.example.org")
THERE = Address("carol", SERVICE.domain)


async def test_what_goes_through_another_is_delivered_archived_and_copied_as_ever(bus: Bus) -> None:
    await at(bus, SERVICE, endpoint("xmpp:", node="xmpp-3", owner="xmpp-3/a"))
    await at(bus, BOB, DESK, SOFA)
    sent = said(recipient=THERE, recipient_endpoint="xmpp:nick", store=False)
    assert await bus.submit(sent, NOW, "", SERVICE) == Submission(Accepted.LIVE, ("xmpp:",))
    assert await inbox(bus, "xmpp-3") == [Deliver(message=sent, endpoints=("xmpp:",))]
    assert await copies(bus) == [("xmpp-2", ("xmpp:sofa",), True)]
    assert await waiting(bus) == [sent.id]


async def test_what_could_go_through_nobody_is_heard_of_by_nobody(bus: Bus) -> None:
    await at(bus, BOB, DESK, SOFA)
    await at(bus, THERE, DESK)  # whose endpoints are not asked for
    sent = said(recipient=THERE, store=False)
    assert await bus.submit(sent, NOW, "branch", SERVICE) == Submission(Accepted.DROPPED)
    again = said(id="m2", recipient=THERE, store=False)
    assert await bus.submit(again, NOW, "branch", SERVICE) == Submission(Accepted.DUPLICATE)
    assert await copies(bus) == []
    assert await inbox(bus, "xmpp-1") == []
    assert await waiting(bus) == []
