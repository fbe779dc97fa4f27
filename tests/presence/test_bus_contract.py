"""presence/ports.py: what `Bus` promises, held by the bus in memory and by the bus on a real Valkey alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from presence.address import Address
from presence.edge.redis import RedisBus
from presence.errors import Condition, Conflict, Refused, StaleTag
from presence.memory import MemoryBus
from presence.messages import Accepted, Audience, Delivery, Failure
from presence.model import LastSeen, Text
from presence.ports import (
    AccountChanged,
    AuthorisationChanged,
    Bus,
    Cell,
    CellWrite,
    EndpointKind,
    Failed,
    Inquiry,
    PresenceChanged,
    RecordTaken,
    Relay,
    Settled,
    Submission,
    TraceEntry,
    Update,
)
from presence.subscriptions import RosterItem
from tests.support.buses import (
    ALICE,
    BOB,
    CAROL,
    LAPTOP,
    PHONE,
    Clock,
    delivered,
    endpoint,
    ids,
    inbox,
    message,
    node,
    put,
    shown,
    source,
)

PENDING_LIMIT = 5
NOW = 1_800_000_000.0


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture(params=["memory", "redis"])
async def bus(request: pytest.FixtureRequest, valkey: str, clock: Clock) -> AsyncIterator[Bus]:
    if request.param == "memory":
        yield MemoryBus(clock=clock, pending_limit=PENDING_LIMIT)
        return
    async with RedisBus(valkey, clock=clock, pending_limit=PENDING_LIMIT) as redis:
        await redis._call("FLUSHALL")
        yield redis


@pytest.fixture(params=["memory", "redis"])
async def crowded(request: pytest.FixtureRequest, valkey: str, clock: Clock) -> AsyncIterator[Bus]:
    """Two messages of one sender may wait, as soon as one of anybody's does."""
    if request.param == "memory":
        yield MemoryBus(clock=clock, pending_limit=8, sender_limit=2)
        return
    async with RedisBus(valkey, clock=clock, pending_limit=8, sender_limit=2) as redis:
        await redis._call("FLUSHALL")
        yield redis


def relayed(address: Address = ALICE, to: str = "", kind: EndpointKind = EndpointKind.XMPP) -> Relay:
    return Relay(address=address, endpoint=to, kind=kind, payload=b"<iq/>\xff")


FAILED = Failed(
    failure=Failure(
        message_id="m1",
        trace="t-m1",
        origin_id="o",
        sender=ALICE,
        sender_endpoint="xmpp:laptop",
        recipient=BOB,
        condition=Condition.SERVICE_UNAVAILABLE,
    )
)

# --- commit: sources ----------------------------------------------------------------------------


async def test_a_put_source_is_in_the_snapshot(bus: Bus) -> None:
    committed = await bus.commit(ALICE, Update(put_sources=(source("a"), source("b"))), NOW)
    assert committed.changed
    assert ids(committed.snapshot.sources) == ["a", "b"]
    assert await bus.snapshots([ALICE], NOW) == [committed.snapshot]
    assert committed.snapshot.version == committed.version > 0
    assert committed.snapshot.address == ALICE


async def test_nobody_has_an_empty_snapshot(bus: Bus) -> None:
    (snapshot,) = await bus.snapshots([CAROL], NOW)
    assert (snapshot.address, snapshot.version, snapshot.sources) == (CAROL, 0, ())
    assert snapshot.last_seen is None


async def test_snapshots_come_in_the_order_asked_for(bus: Bus) -> None:
    await bus.commit(BOB, Update(put_sources=(source("b"),)), NOW)
    found = await bus.snapshots([CAROL, BOB, ALICE], NOW)
    assert [snapshot.address for snapshot in found] == [CAROL, BOB, ALICE]
    assert await bus.snapshots([], NOW) == []


async def test_the_version_grows_with_each_change_even_of_an_earlier_clock(bus: Bus) -> None:
    first = await bus.commit(ALICE, Update(put_sources=(source(note="one"),)), NOW)
    second = await bus.commit(ALICE, Update(put_sources=(source(note="two"),)), NOW - 100)
    third = await bus.commit(ALICE, Update(drop_sources=("laptop",)), NOW)
    assert first.version < second.version < third.version


async def test_refreshing_a_lease_changes_nothing_others_see(bus: Bus) -> None:
    await bus.watch("sip-1", [ALICE], NOW)
    first = await bus.commit(ALICE, Update(put_sources=(source(expires=NOW + 10, tag="1"),)), NOW)
    await inbox(bus, "sip-1")
    again = await bus.commit(ALICE, Update(put_sources=(source(expires=NOW + 99, tag="2"),)), NOW + 5)
    assert not again.changed
    assert again.version == first.version
    assert await inbox(bus, "sip-1") == []
    assert ids((await bus.snapshots([ALICE], NOW + 50))[0].sources) == ["laptop"]


async def test_dropping_a_source_that_is_not_there_changes_nothing(bus: Bus) -> None:
    assert not (await bus.commit(ALICE, Update(drop_sources=("x",)), NOW)).changed


async def test_a_drop_and_a_put_in_one_update_replace(bus: Bus) -> None:
    await bus.commit(ALICE, Update(put_sources=(source("old"),)), NOW)
    update = Update(drop_sources=("old",), put_sources=(source("new"),))
    assert ids((await bus.commit(ALICE, update, NOW)).snapshot.sources) == ["new"]


async def test_an_expected_tag_lets_the_source_be_replaced(bus: Bus) -> None:
    await bus.commit(ALICE, Update(put_sources=(source(tag="1"),)), NOW)
    assert await bus.tag(ALICE, "laptop") == "1"
    await bus.commit(ALICE, Update(put_sources=(source(tag="2", expect="1"),)), NOW)
    assert await bus.tag(ALICE, "laptop") == "2"


@pytest.mark.parametrize("expect", ["1", "", "other"])
async def test_a_wrong_or_missing_tag_changes_nothing(bus: Bus, expect: str) -> None:
    update = Update(
        put_sources=(source("phone", tag="9", expect=expect),),
        put_endpoints=(LAPTOP,),
        cells=(CellWrite(name="c", expect=0, data=b"x"),),
    )
    with pytest.raises(StaleTag):
        await bus.commit(ALICE, update, NOW)
    assert (await bus.snapshots([ALICE], NOW))[0].sources == ()
    assert await bus.endpoints(ALICE, NOW) == []
    assert await bus.cell(ALICE, "c") == Cell(0, b"")


async def test_the_tag_of_an_expired_source_is_stale(bus: Bus, clock: Clock) -> None:
    await bus.commit(ALICE, Update(put_sources=(source(tag="1", expires=NOW + 10),)), NOW)
    clock.now = NOW + 10
    assert await bus.tag(ALICE, "laptop") is None
    with pytest.raises(StaleTag):
        await bus.commit(ALICE, Update(put_sources=(source(tag="2", expect="1"),)), NOW + 10)


async def test_a_tag_can_guard_a_drop(bus: Bus) -> None:
    await bus.commit(ALICE, Update(put_sources=(source(tag="1"),)), NOW)
    with pytest.raises(StaleTag):
        await bus.commit(ALICE, Update(drop_sources=("laptop",), expect_tags=(("laptop", "0"),)), NOW)
    dropped = await bus.commit(ALICE, Update(drop_sources=("laptop",), expect_tags=(("laptop", "1"),)), NOW)
    assert dropped.snapshot.sources == ()


async def test_there_is_no_tag_of_a_source_that_is_not_there(bus: Bus) -> None:
    assert await bus.tag(ALICE, "x") is None


async def test_dropping_a_source_drops_those_tied_to_it(bus: Bus) -> None:
    phone, published = source("reg"), source("pub", tied_to="reg")
    await bus.commit(ALICE, Update(put_sources=(phone, published, source("other"))), NOW)
    after = await bus.commit(ALICE, Update(drop_sources=("reg",)), NOW)
    assert ids(after.snapshot.sources) == ["other"]


async def test_the_expiry_of_a_source_takes_those_tied_to_it(bus: Bus) -> None:
    phone, published = source("reg", expires=NOW + 10), source("pub", tied_to="reg")
    await bus.commit(ALICE, Update(put_sources=(phone, published)), NOW)
    assert (await bus.snapshots([ALICE], NOW + 10))[0].sources == ()


async def test_expired_sources_are_left_out_before_anyone_maintains(bus: Bus) -> None:
    await bus.commit(ALICE, Update(put_sources=(source("a", expires=NOW + 10), source("b"))), NOW)
    assert ids((await bus.snapshots([ALICE], NOW + 9.9))[0].sources) == ["a", "b"]
    assert ids((await bus.snapshots([ALICE], NOW + 10))[0].sources) == ["b"]
    assert ids((await bus.commit(ALICE, Update(), NOW + 10)).snapshot.sources) == ["b"]


async def test_an_old_owner_does_not_end_its_successor(bus: Bus) -> None:
    await bus.commit(ALICE, Update(put_sources=(source(owner="xmpp-1/a/1"),), put_endpoints=(LAPTOP,)), NOW)
    new = endpoint(owner="xmpp-1/a/2")
    await bus.commit(ALICE, Update(put_sources=(source(owner="xmpp-1/a/2"),), put_endpoints=(new,)), NOW)
    drops = Update(drop_sources=("laptop",), drop_endpoints=("xmpp:laptop",), only_owner="xmpp-1/a/1")
    kept = await bus.commit(ALICE, drops, NOW)
    assert not kept.changed
    assert ids(kept.snapshot.sources) == ["laptop"]
    assert await bus.endpoints(ALICE, NOW) == [new]
    drops = Update(drop_sources=("laptop",), drop_endpoints=("xmpp:laptop",), only_owner="xmpp-1/a/2")
    assert (await bus.commit(ALICE, drops, NOW)).snapshot.sources == ()
    assert await bus.endpoints(ALICE, NOW) == []


async def test_the_farewell_is_kept_when_the_last_source_leaves(bus: Bus) -> None:
    farewell = LastSeen(NOW, (Text("Gone fishing", "en"),))
    await bus.commit(ALICE, Update(put_sources=(source("a"), source("b"))), NOW)
    one_left = await bus.commit(ALICE, Update(drop_sources=("a",), farewell=farewell), NOW)
    assert one_left.snapshot.last_seen is None
    none_left = await bus.commit(ALICE, Update(drop_sources=("b",), farewell=farewell), NOW)
    assert none_left.snapshot.last_seen == farewell
    back = await bus.commit(ALICE, Update(put_sources=(source(),)), NOW + 5)
    assert back.snapshot.last_seen == farewell


async def test_a_second_goodbye_does_not_replace_the_first(bus: Bus) -> None:
    await bus.commit(ALICE, Update(put_sources=(source(),)), NOW)
    await bus.commit(ALICE, Update(drop_sources=("laptop",)), NOW + 1)
    late = Update(drop_sources=("laptop",), farewell=LastSeen(NOW + 9))
    assert (await bus.commit(ALICE, late, NOW + 9)).snapshot.last_seen == LastSeen(NOW + 1)


# --- watching -----------------------------------------------------------------------------------


async def test_who_watches_gets_the_snapshot_now_and_each_new_one(bus: Bus) -> None:
    first = await bus.commit(ALICE, Update(put_sources=(source("a"),)), NOW)
    assert await bus.watch("sip-1", [BOB, ALICE], NOW) == [
        (await bus.snapshots([BOB], NOW))[0],
        first.snapshot,
    ]
    second = await bus.commit(ALICE, Update(put_sources=(source("b"),)), NOW, "trace-1")
    assert await inbox(bus, "sip-1") == [PresenceChanged(snapshot=second.snapshot, trace="trace-1")]
    assert await inbox(bus, "xmpp-1") == []


async def test_who_stopped_watching_gets_nothing(bus: Bus) -> None:
    await bus.watch("sip-1", [ALICE, BOB], NOW)
    await bus.unwatch("sip-1", [ALICE])
    for person in (ALICE, BOB):
        await bus.commit(person, Update(put_sources=(source(),)), NOW)
    assert shown(await inbox(bus, "sip-1")) == [("bob@example.org", ["laptop"])]


async def test_a_snapshot_of_many_sources_travels_whole(bus: Bus) -> None:
    await bus.watch("sip-1", [ALICE], NOW)
    many = tuple(source(f"s{n:03}", note="ü" * n) for n in range(40))
    committed = await bus.commit(ALICE, Update(put_sources=many), NOW)
    assert await inbox(bus, "sip-1") == [PresenceChanged(snapshot=committed.snapshot)]


async def test_the_farewell_travels_with_the_snapshot(bus: Bus) -> None:
    await bus.commit(ALICE, Update(put_sources=(source(),)), NOW)
    await bus.watch("sip-1", [ALICE], NOW)
    gone = await bus.commit(ALICE, Update(drop_sources=("laptop",), farewell=LastSeen(NOW)), NOW)
    assert gone.snapshot.last_seen == LastSeen(NOW)
    assert await inbox(bus, "sip-1") == [PresenceChanged(snapshot=gone.snapshot)]


# --- cells --------------------------------------------------------------------------------------


async def test_a_cell_is_written_when_nobody_wrote_in_between(bus: Bus) -> None:
    assert await bus.cell(ALICE, "bindings") == Cell(0, b"")
    for version, data in ((0, b"one"), (1, b"\xff" * 300), (2, b"three")):
        await bus.commit(ALICE, Update(cells=(CellWrite(name="bindings", expect=version, data=data),)), NOW)
        assert await bus.cell(ALICE, "bindings") == Cell(version + 1, data)


async def test_a_cell_written_in_between_is_a_conflict_and_changes_nothing(bus: Bus) -> None:
    await bus.commit(ALICE, Update(cells=(CellWrite(name="c", expect=0, data=b"1"),)), NOW)
    update = Update(cells=(CellWrite(name="c", expect=0, data=b"2"),), put_sources=(source(),))
    with pytest.raises(Conflict):
        await bus.commit(ALICE, update, NOW)
    assert await bus.cell(ALICE, "c") == Cell(1, b"1")
    assert (await bus.snapshots([ALICE], NOW))[0].sources == ()


async def test_empty_data_deletes_a_cell(bus: Bus) -> None:
    await bus.commit(ALICE, Update(cells=(CellWrite(name="c", expect=0, data=b"1"),)), NOW)
    await bus.commit(ALICE, Update(cells=(CellWrite(name="c", expect=1, data=b""),)), NOW)
    assert await bus.cell(ALICE, "c") == Cell(0, b"")


# --- endpoints ----------------------------------------------------------------------------------


async def test_endpoints_are_listed_while_they_live(bus: Bus) -> None:
    short = endpoint("sip:short", node="sip-1", owner="", expires=NOW + 10)
    away = endpoint("xmpp:away", eligible=False)
    await put(bus, NOW, short, LAPTOP, away)
    assert await bus.endpoints(ALICE, NOW) == [short, away, LAPTOP]
    assert await bus.endpoints(ALICE, NOW + 10) == [away, LAPTOP]
    await bus.commit(ALICE, Update(drop_endpoints=("xmpp:laptop",)), NOW + 10)
    assert await bus.endpoints(ALICE, NOW + 10) == [away]


# --- submitting ---------------------------------------------------------------------------------


async def test_a_message_goes_to_all_eligible_endpoints_one_envelope_for_each_node(bus: Bus) -> None:
    tablet, away = endpoint("xmpp:tablet"), endpoint("xmpp:away", eligible=False)
    await put(bus, NOW, LAPTOP, tablet, PHONE, away)
    submission = await bus.submit(message(), NOW)
    assert submission.accepted is Accepted.LIVE
    assert sorted(submission.endpoints) == ["sip:phone", "xmpp:laptop", "xmpp:tablet"]
    (deliver,) = await inbox(bus, "xmpp-1")
    assert deliver.message == message()  # type: ignore[union-attr]
    assert sorted(deliver.endpoints) == ["xmpp:laptop", "xmpp:tablet"]  # type: ignore[union-attr]
    assert not deliver.delayed  # type: ignore[union-attr]
    assert await delivered(bus, "sip-1") == [("m1", ("sip:phone",), False)]


async def test_without_endpoints_a_message_is_stored(bus: Bus) -> None:
    assert await bus.submit(message(), NOW) == Submission(Accepted.STORED)
    (waiting,) = (await bus.inspect(ALICE, NOW))["pending"]
    assert (waiting["id"], waiting["endpoints"]) == ("m1", {})


async def test_an_expired_endpoint_gets_nothing(bus: Bus) -> None:
    await put(bus, NOW, endpoint(expires=NOW + 10))
    assert await bus.submit(message(), NOW + 10) == Submission(Accepted.STORED)


async def test_a_message_to_one_endpoint_goes_there_only_eligible_or_not(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP, endpoint("xmpp:away", eligible=False))
    submission = await bus.submit(message(recipient_endpoint="xmpp:away"), NOW)
    assert submission == Submission(Accepted.LIVE, ("xmpp:away",))
    assert await delivered(bus, "xmpp-1") == [("m1", ("xmpp:away",), False)]


async def test_a_message_to_a_gone_endpoint_goes_to_all(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP, endpoint("xmpp:away", eligible=False))
    submission = await bus.submit(message(recipient_endpoint="xmpp:gone"), NOW)
    assert submission == Submission(Accepted.LIVE, ("xmpp:laptop",))


async def test_what_no_phone_can_show_is_not_for_phones(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP, PHONE)
    submission = await bus.submit(message(audience=Audience.XMPP), NOW)
    assert submission == Submission(Accepted.LIVE, ("xmpp:laptop",))
    assert await inbox(bus, "sip-1") == []


async def test_what_is_worthless_later_is_never_stored(bus: Bus) -> None:
    assert await bus.submit(message("s1", store=False), NOW) == Submission(Accepted.DROPPED)
    await put(bus, NOW, LAPTOP)
    assert await inbox(bus, "xmpp-1") == []
    assert await bus.submit(message("s2", store=False), NOW) == Submission(Accepted.LIVE, ("xmpp:laptop",))
    assert await delivered(bus, "xmpp-1") == [("s2", ("xmpp:laptop",), False)]
    assert (await bus.inspect(ALICE, NOW))["pending"] == []


async def test_a_retransmission_is_a_duplicate_for_64_seconds(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    await bus.submit(message("m1"), NOW, "z9hG4bK1")
    again = await bus.submit(message("m2"), NOW + 63, "z9hG4bK1")
    assert again == Submission(Accepted.DUPLICATE, ("xmpp:laptop",))
    assert (await bus.submit(message("m3"), NOW + 64, "z9hG4bK1")).accepted is Accepted.LIVE
    assert [name for name, _, _ in await delivered(bus, "xmpp-1")] == ["m1", "m3"]


async def test_dedup_names_are_those_of_one_recipient(bus: Bus) -> None:
    await bus.submit(message("m1"), NOW, "branch")
    assert (await bus.submit(message("m2", recipient=CAROL), NOW, "branch")).accepted is Accepted.STORED


async def test_submitting_the_same_message_again_answers_as_then(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    first = await bus.submit(message(), NOW)
    assert await bus.submit(message(), NOW + 1) == first
    assert await delivered(bus, "xmpp-1") == [("m1", ("xmpp:laptop",), False)]


async def test_a_full_queue_refuses(bus: Bus) -> None:
    for number in range(PENDING_LIMIT):
        await bus.submit(message(f"m{number}"), NOW)
    with pytest.raises(Refused) as refusal:
        await bus.submit(message("more"), NOW)
    assert refusal.value.condition is Condition.RESOURCE_CONSTRAINT
    await bus.submit(message("chat-state", store=False), NOW)
    await bus.submit(message("other", recipient=CAROL), NOW)


async def test_one_sender_cannot_fill_somebodys_queue(crowded: Bus) -> None:
    """One waits already, and so two more of each sender may."""
    await crowded.submit(message("m0"), NOW)
    for sender in (BOB, CAROL):
        for number in (1, 2):
            await crowded.submit(message(f"{sender.local}{number}", sender=sender), NOW)
        with pytest.raises(Refused, match="of your messages") as refusal:
            await crowded.submit(message(f"{sender.local}3", sender=sender), NOW)
        assert refusal.value.condition is Condition.RESOURCE_CONSTRAINT
        await crowded.submit(message(f"{sender.local}4", sender=sender, store=False), NOW)
    await put(crowded, NOW, LAPTOP)
    for name in ("bob1", "bob2", "carol1", "carol2"):
        await crowded.settle(ALICE, name, "xmpp:laptop", Delivery.DELIVERED, NOW)
    await crowded.commit(ALICE, Update(drop_endpoints=(LAPTOP.id,)), NOW)
    for number in (5, 6):
        await crowded.submit(message(f"bob{number}", sender=BOB), NOW)
    with pytest.raises(Refused, match="of your messages"):
        await crowded.submit(message("bob7", sender=BOB), NOW)


async def test_large_messages_are_weighed(bus: Bus) -> None:
    """2 MiB of one sender, 4 MiB of all; what was settled weighs nothing any more."""
    big = {"bodies": (Text("x" * 900_000),)}
    dave = Address("dave", "example.org")

    async def refuses(name: str, sender: Address) -> None:
        with pytest.raises(Refused, match="of your messages"):
            await bus.submit(message(name, sender=sender, **big), NOW)

    for sender in (BOB, CAROL):
        for number in (1, 2):
            await bus.submit(message(f"{sender.local}{number}", sender=sender, **big), NOW)
        await refuses(f"{sender.local}3", sender)
    await refuses("dave1", dave)
    await bus.submit(message("small", sender=dave), NOW)
    await put(bus, NOW, LAPTOP)
    for name in ("bob1", "carol1"):
        await bus.settle(ALICE, name, "xmpp:laptop", Delivery.DELIVERED, NOW)
    await bus.submit(message("dave2", sender=dave, **big), NOW)
    await bus.submit(message("carol4", sender=CAROL, **big), NOW)


async def test_nor_while_somebody_is_there_who_does_not_take_it(crowded: Bus) -> None:
    await put(crowded, NOW, LAPTOP)
    await crowded.submit(message("m0"), NOW)
    for number in range(4):
        await crowded.submit(message(f"bob{number}", sender=BOB), NOW)
    with pytest.raises(Refused, match="of your messages"):
        await crowded.submit(message("bob4", sender=BOB), NOW)
    await crowded.submit(message("carol", sender=CAROL), NOW)


async def test_who_is_talked_to_has_no_such_bound(crowded: Bus) -> None:
    await put(crowded, NOW, LAPTOP)
    for number in range(2 * PENDING_LIMIT):
        await crowded.submit(message(f"m{number}"), NOW)
        await crowded.settle(ALICE, f"m{number}", "xmpp:laptop", Delivery.DELIVERED, NOW)


async def test_what_has_expired_makes_room_in_a_full_queue(bus: Bus) -> None:
    for number in range(PENDING_LIMIT):
        await bus.submit(message(f"m{number}", expires=NOW + 10), NOW)
    assert (await bus.submit(message("more"), NOW + 10)).accepted is Accepted.STORED


# --- what waits ---------------------------------------------------------------------------------


async def test_an_eligible_endpoint_receives_what_waits_in_order_of_acceptance(bus: Bus) -> None:
    for name in ("z", "a", "m"):
        await bus.submit(message(name), NOW)
    await put(bus, NOW + 5, LAPTOP)
    assert await delivered(bus, "xmpp-1") == [(name, ("xmpp:laptop",), True) for name in ("z", "a", "m")]


async def test_an_endpoint_that_is_not_eligible_receives_nothing_that_waits(bus: Bus) -> None:
    await bus.submit(message(), NOW)
    await put(bus, NOW, endpoint(eligible=False))
    assert await inbox(bus, "xmpp-1") == []
    await put(bus, NOW, endpoint(eligible=True))
    assert await delivered(bus, "xmpp-1") == [("m1", ("xmpp:laptop",), True)]


async def test_a_message_past_its_expiry_is_never_delivered(bus: Bus) -> None:
    await bus.submit(message(expires=NOW + 10), NOW)
    await put(bus, NOW + 10, LAPTOP)
    assert await inbox(bus, "xmpp-1") == []
    assert (await bus.inspect(ALICE, NOW))["pending"] == []


async def test_what_waits_for_xmpp_is_not_given_to_a_phone(bus: Bus) -> None:
    await bus.submit(message(audience=Audience.XMPP), NOW)
    await put(bus, NOW, PHONE)
    assert await inbox(bus, "sip-1") == []
    await put(bus, NOW, LAPTOP)
    assert await delivered(bus, "xmpp-1") == [("m1", ("xmpp:laptop",), True)]


async def test_putting_an_endpoint_again_does_not_deliver_again(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    await bus.submit(message(), NOW)
    await delivered(bus, "xmpp-1")
    await put(bus, NOW + 1, endpoint(eligible=True))
    assert await inbox(bus, "xmpp-1") == []


async def test_a_message_in_flight_is_not_given_to_an_endpoint_that_appears(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    await bus.submit(message(), NOW)
    await put(bus, NOW, PHONE)
    assert await inbox(bus, "sip-1") == []


async def test_another_owner_of_the_same_endpoint_gets_what_was_owed(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    await bus.submit(message(), NOW)
    await delivered(bus, "xmpp-1")
    await put(bus, NOW, endpoint(node="xmpp-2", owner="xmpp-2/a"))
    assert await delivered(bus, "xmpp-2") == [("m1", ("xmpp:laptop",), True)]
    assert await bus.settle(ALICE, "m1", "xmpp:laptop", Delivery.DELIVERED, NOW) == Settled(done=True)


async def test_dropping_an_endpoint_makes_what_was_owed_to_it_wait(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    await bus.submit(message(), NOW)
    await delivered(bus, "xmpp-1")
    await bus.commit(ALICE, Update(drop_endpoints=("xmpp:laptop",)), NOW)
    await put(bus, NOW + 60, PHONE)
    assert await delivered(bus, "sip-1") == [("m1", ("sip:phone",), True)]


async def test_a_dropped_endpoints_message_goes_to_one_that_appeared_in_between(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    await bus.submit(message(), NOW)
    await put(bus, NOW, PHONE)
    await bus.commit(ALICE, Update(drop_endpoints=("xmpp:laptop",)), NOW)
    assert await delivered(bus, "sip-1") == [("m1", ("sip:phone",), True)]


async def test_a_message_to_one_endpoint_falls_back_when_that_ends(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP, PHONE)
    await bus.submit(message(recipient_endpoint="xmpp:laptop"), NOW)
    await bus.commit(ALICE, Update(drop_endpoints=("xmpp:laptop",)), NOW)
    assert await delivered(bus, "sip-1") == [("m1", ("sip:phone",), True)]


# --- settling -----------------------------------------------------------------------------------


async def test_delivered_everywhere_is_done(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP, PHONE)
    await bus.submit(message(), NOW)
    assert not (await bus.settle(ALICE, "m1", "xmpp:laptop", Delivery.DELIVERED, NOW)).done
    assert await bus.settle(ALICE, "m1", "sip:phone", Delivery.DELIVERED, NOW) == Settled(done=True)
    assert (await bus.inspect(ALICE, NOW))["pending"] == []


@pytest.mark.parametrize("other", [Delivery.REFUSED, Delivery.UNREACHABLE])
@pytest.mark.parametrize("first", ["xmpp:laptop", "sip:phone"])
async def test_delivered_anywhere_is_enough(bus: Bus, other: Delivery, first: str) -> None:
    await put(bus, NOW, LAPTOP, PHONE)
    await bus.submit(message(), NOW)
    outcome = {"xmpp:laptop": Delivery.DELIVERED, "sip:phone": other}
    await bus.settle(ALICE, "m1", first, outcome.pop(first), NOW)
    ((second, delivery),) = outcome.items()
    assert await bus.settle(ALICE, "m1", second, delivery, NOW) == Settled(done=True)
    await inbox(bus, "sip-1")
    await put(bus, NOW + 9, PHONE)
    assert await inbox(bus, "sip-1") == []


async def test_refused_by_all_is_a_failure_with_the_message(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP, PHONE)
    await bus.submit(message(), NOW)
    assert await bus.settle(ALICE, "m1", "xmpp:laptop", Delivery.REFUSED, NOW) == Settled(done=False)
    failed = await bus.settle(ALICE, "m1", "sip:phone", Delivery.REFUSED, NOW)
    assert failed == Settled(done=True, failed=message())
    assert await bus.settle(ALICE, "m1", "sip:phone", Delivery.REFUSED, NOW) == Settled(done=False)


async def test_silence_is_never_a_refusal(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP, PHONE)
    await bus.submit(message(), NOW)
    await bus.settle(ALICE, "m1", "sip:phone", Delivery.UNREACHABLE, NOW)
    assert await bus.settle(ALICE, "m1", "xmpp:laptop", Delivery.REFUSED, NOW) == Settled(done=False)
    assert len((await bus.inspect(ALICE, NOW))["pending"]) == 1


async def test_an_unreachable_endpoint_gets_the_message_when_it_comes_back(bus: Bus) -> None:
    await put(bus, NOW, PHONE)
    await bus.submit(message(), NOW)
    await delivered(bus, "sip-1")
    await bus.settle(ALICE, "m1", "sip:phone", Delivery.UNREACHABLE, NOW)
    assert await inbox(bus, "sip-1") == []
    await put(bus, NOW + 60, PHONE)
    assert await delivered(bus, "sip-1") == [("m1", ("sip:phone",), True)]


async def test_an_unreachable_endpoints_message_goes_to_one_that_appeared_in_between(bus: Bus) -> None:
    await put(bus, NOW, PHONE)
    await bus.submit(message(), NOW)
    await put(bus, NOW, LAPTOP)
    await bus.settle(ALICE, "m1", "sip:phone", Delivery.UNREACHABLE, NOW)
    assert await delivered(bus, "xmpp-1") == [("m1", ("xmpp:laptop",), True)]


async def test_a_refusal_is_final_for_that_endpoint(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP, PHONE)
    await bus.submit(message(), NOW)
    await bus.settle(ALICE, "m1", "sip:phone", Delivery.REFUSED, NOW)
    await bus.settle(ALICE, "m1", "xmpp:laptop", Delivery.UNREACHABLE, NOW)
    await inbox(bus, "sip-1")
    await put(bus, NOW, PHONE)
    assert await inbox(bus, "sip-1") == []


async def test_a_late_delivery_strikes_off_what_was_unreachable(bus: Bus) -> None:
    await put(bus, NOW, PHONE)
    await bus.submit(message(), NOW)
    await bus.settle(ALICE, "m1", "sip:phone", Delivery.UNREACHABLE, NOW)
    assert await bus.settle(ALICE, "m1", "sip:phone", Delivery.DELIVERED, NOW) == Settled(done=True)


@pytest.mark.parametrize("delivery", list(Delivery))
async def test_settling_what_is_not_owed_changes_nothing(bus: Bus, delivery: Delivery) -> None:
    await put(bus, NOW, LAPTOP)
    await bus.submit(message(), NOW)
    nothing = Settled(done=False)
    assert await bus.settle(ALICE, "m1", "sip:other", delivery, NOW) == nothing
    assert await bus.settle(ALICE, "unknown", "xmpp:laptop", delivery, NOW) == nothing
    assert await bus.settle(CAROL, "m1", "xmpp:laptop", delivery, NOW) == nothing
    (waiting,) = (await bus.inspect(ALICE, NOW))["pending"]
    assert waiting["endpoints"] == {"xmpp:laptop": "owed"}


async def test_what_is_delivered_is_settled_without_anybody_waiting(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP, PHONE)
    await bus.submit(message(), NOW)
    heard: asyncio.Queue[object] = asyncio.Queue()
    for name in ("xmpp:laptop", "sip:phone", "sip:phone"):
        bus.delivered(ALICE, "m1", name, NOW, heard.put_nowait)
    async with asyncio.timeout(30):
        assert [await heard.get() for _ in range(3)] == [None, None, None]
    assert (await bus.inspect(ALICE, NOW))["pending"] == []


# --- envelopes ----------------------------------------------------------------------------------


async def test_relay_reaches_each_node_with_a_live_endpoint_of_that_kind_once(bus: Bus, clock: Clock) -> None:
    other = endpoint("xmpp:desk", node="xmpp-2", owner="xmpp-2/a", expires=NOW + 10)
    await put(bus, NOW, LAPTOP, endpoint("xmpp:tablet", eligible=False), other, PHONE)
    assert await bus.relay(relayed()) == 2
    assert await inbox(bus, "xmpp-1") == [relayed()]
    assert await inbox(bus, "xmpp-2") == [relayed()]
    assert await inbox(bus, "sip-1") == []
    clock.now = NOW + 10
    assert await bus.relay(relayed()) == 1


async def test_relay_to_one_endpoint_reaches_its_node(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP, endpoint("xmpp:desk", node="xmpp-2", owner="xmpp-2/a"), PHONE)
    assert await bus.relay(relayed(to="xmpp:desk")) == 1
    assert await inbox(bus, "xmpp-2") == [relayed(to="xmpp:desk")]
    assert await inbox(bus, "xmpp-1") == []
    assert await bus.relay(relayed(to="xmpp:gone")) == 0
    assert await bus.relay(relayed(to="sip:phone")) == 0
    assert await bus.relay(relayed(CAROL)) == 0


async def test_tell_reaches_nodes_with_endpoints_and_nodes_that_watch(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    await bus.watch("sip-1", [ALICE], NOW)
    await bus.watch("xmpp-1", [ALICE], NOW)
    changed = AuthorisationChanged(
        owner=ALICE,
        contact=BOB,
        item=RosterItem(contact=BOB, ask=True, groups=("Friends",)),
        previous=RosterItem(contact=BOB),
        stanza="subscribe",
        notes=(["Hello", "en"],),
    )
    for envelope in (changed, FAILED):
        await bus.tell(ALICE, envelope)
        assert await inbox(bus, "xmpp-1") == [envelope]
        assert await inbox(bus, "sip-1") == [envelope]
        assert await inbox(bus, "xmpp-2") == []


async def test_broadcast_reaches_every_live_node(bus: Bus, clock: Clock) -> None:
    await bus.join(node("xmpp-1", NOW))
    await bus.join(node("sip-1", NOW + 5))
    for envelope in (AccountChanged(address=ALICE, gone=True), Inquiry(id="1", asker="admin-1")):
        clock.now = NOW + 10
        await bus.broadcast(envelope)
        assert await inbox(bus, "xmpp-1") == [envelope]
        assert await inbox(bus, "sip-1") == [envelope]
        clock.now = NOW + 10.5
        await bus.broadcast(envelope)
        assert await inbox(bus, "xmpp-1") == []
        assert await inbox(bus, "sip-1") == [envelope]


async def test_what_is_for_one_node_reaches_no_other_and_no_dead_one(bus: Bus, clock: Clock) -> None:
    await bus.join(node("xmpp-1", NOW))
    await bus.join(node("xmpp-2", NOW + 5))
    relay = Relay(address=ALICE, endpoint="", kind=EndpointKind.XMPP, payload=b"x")
    clock.now = NOW + 10
    await bus.broadcast(relay, "xmpp-1")
    assert await inbox(bus, "xmpp-1") == [relay]
    assert await inbox(bus, "xmpp-2") == []
    clock.now = NOW + 10.5
    await bus.broadcast(relay, "xmpp-1")
    assert await inbox(bus, "xmpp-1") == []


async def test_receive_gives_envelopes_oldest_first_and_only_once(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    for number in range(PENDING_LIMIT):
        await bus.submit(message(f"m{number}"), NOW)
    assert [name for name, _, _ in await delivered(bus, "xmpp-1")] == [f"m{n}" for n in range(PENDING_LIMIT)]
    assert await inbox(bus, "xmpp-1") == []


async def test_receive_waits_for_an_envelope(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    receiving = asyncio.create_task(bus.receive("xmpp-1", 8))
    await asyncio.sleep(0)
    await bus.submit(message(), NOW)
    (envelope,) = await receiving
    assert envelope.message == message()  # type: ignore[union-attr]


async def test_receive_gives_up_after_its_timeout(bus: Bus) -> None:
    assert await bus.receive("xmpp-1", 0.01) == []


async def test_a_cancelled_receive_loses_nothing(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    receiving = asyncio.create_task(bus.receive("xmpp-1", 0.2))
    await bus.ping()
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    await bus.submit(message(), NOW)
    assert await bus.receive("xmpp-1", 5) != []


# --- records and nodes --------------------------------------------------------------------------


async def test_records_are_kept_by_node(bus: Bus) -> None:
    await bus.put_records("sip-1", {"dialog/1": b"\xff1", "dialog/2": b"2"})
    await bus.put_records("sip-1", {"dialog/2": b"two", "dialog/3": b"3"})
    await bus.drop_records("sip-1", ["dialog/1", "unknown"])
    assert await bus.records("sip-1") == {"dialog/2": b"two", "dialog/3": b"3"}
    assert await bus.records("sip-2") == {}
    await bus.put_records("sip-1", {})
    await bus.drop_records("sip-1", [])


async def test_a_record_is_taken_over_once_and_its_former_keeper_is_told(bus: Bus) -> None:
    await bus.put_records("sip-1", {"a": b"1", "b": b"1"})
    await bus.put_records("sip-2", {"c": b"2"})
    assert await bus.take_record("sip-2", "a") == b"1"
    assert await bus.take_record("sip-2", "a") == b"1"
    assert await inbox(bus, "sip-1") == [RecordTaken(key="a")]
    assert await bus.records("sip-1") == {"b": b"1"}
    assert await bus.records("sip-2") == {"a": b"1", "c": b"2"}
    assert [await bus.has_record(name, "a") for name in ("sip-1", "sip-2")] == [False, True]
    assert await bus.take_record("sip-2", "unknown") is None
    assert await inbox(bus, "sip-2") == []


async def test_what_another_node_keeps_is_not_written_and_what_nobody_keeps_is(bus: Bus) -> None:
    await bus.put_records("sip-1", {"a": b"1"})
    await bus.take_record("sip-2", "a")
    assert await bus.put_records("sip-1", {"a": b"late", "b": b"new"}) == ["a"]
    assert await bus.records("sip-1") == {"b": b"new"}
    await bus.drop_records("sip-2", ["a"])
    assert await bus.put_records("sip-1", {"a": b"mine"}) == []
    assert await bus.records("sip-1") == {"a": b"mine", "b": b"new"}


async def test_a_record_of_a_node_that_died_is_there_to_be_taken(bus: Bus) -> None:
    await bus.join(node("sip-1", NOW))
    await bus.put_records("sip-1", {"a": b"1"})
    await bus.sweep("sip-1", None, NOW + 20)
    assert await bus.take_record("sip-2", "a") == b"1"
    await bus.sweep("sip-1", "b", NOW + 30)
    assert (await bus.records("sip-1"), await inbox(bus, "sip-1")) == ({}, [])


async def test_nodes_are_those_that_joined_and_did_not_leave(bus: Bus) -> None:
    sip, xmpp = node("sip-1", NOW), node("xmpp-1", NOW)
    for info in (xmpp, sip, node("admin-1", NOW)):
        await bus.join(info)
    await bus.leave("admin-1")
    assert await bus.nodes() == [sip, xmpp]
    later = node("sip-1", NOW + 5)
    await bus.join(later)
    assert await bus.nodes() == [later, xmpp]


async def test_a_node_that_was_taken_for_dead_is_told_at_its_next_heartbeat(bus: Bus) -> None:
    await bus.join(node("sip-1", NOW))
    await bus.sweep("sip-1", None, NOW + 20)
    assert await bus.nodes() == []
    with pytest.raises(Conflict):
        await bus.join(node("sip-1", NOW + 21))
    await bus.join(node("sip-1", NOW + 22, "b"))


async def test_a_node_whose_name_another_process_took_is_told(bus: Bus) -> None:
    await bus.join(node("sip-1", NOW))
    await bus.join(node("sip-1", NOW + 1, "b"))
    with pytest.raises(Conflict):
        await bus.join(node("sip-1", NOW + 5))


# --- sweeping -----------------------------------------------------------------------------------


async def test_a_new_incarnation_ends_what_its_predecessors_owned(bus: Bus) -> None:
    await bus.commit(ALICE, Update(put_sources=(source("old"),), put_endpoints=(LAPTOP,)), NOW)
    await bus.commit(ALICE, Update(put_sources=(source("other", owner="xmpp-11/a"),)), NOW)
    await bus.commit(BOB, Update(put_sources=(source("new", owner="xmpp-1/b"),)), NOW)
    await bus.watch("sip-1", [ALICE, BOB], NOW)
    assert await bus.sweep("xmpp-1", "b", NOW) == 1
    assert shown(await inbox(bus, "sip-1")) == [("alice@example.org", ["other"])]
    assert await bus.endpoints(ALICE, NOW) == []
    assert ids((await bus.snapshots([BOB], NOW))[0].sources) == ["new"]
    assert await bus.sweep("xmpp-1", "b", NOW) == 0


async def test_sweeping_a_dead_node_ends_all_it_owned_but_not_what_time_leases(bus: Bus) -> None:
    registered = source("reg", owner="", expires=NOW + 60)
    flow = endpoint("sip:tcp", node="sip-1", owner="sip-1/a")
    await bus.commit(
        ALICE,
        Update(put_sources=(registered, source("tcp", owner="sip-1/a")), put_endpoints=(PHONE, flow)),
        NOW,
    )
    assert await bus.sweep("sip-1", None, NOW) == 1
    assert ids((await bus.snapshots([ALICE], NOW))[0].sources) == ["reg"]
    assert await bus.endpoints(ALICE, NOW) == [PHONE]


async def test_the_last_source_swept_leaves_a_last_seen(bus: Bus) -> None:
    await bus.commit(ALICE, Update(put_sources=(source(),)), NOW)
    await bus.sweep("xmpp-1", None, NOW + 10)
    assert (await bus.snapshots([ALICE], NOW + 10))[0].last_seen == LastSeen(NOW + 10)


async def test_what_a_dead_node_owed_goes_to_a_live_endpoint(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    await bus.submit(message(), NOW)
    await put(bus, NOW, PHONE)
    await bus.sweep("xmpp-1", None, NOW + 10)
    assert await delivered(bus, "sip-1") == [("m1", ("sip:phone",), True)]


async def test_what_a_dead_node_owed_waits_when_nobody_else_is_there(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    await bus.submit(message(), NOW)
    await bus.sweep("xmpp-1", None, NOW + 10)
    await put(bus, NOW + 20, endpoint(owner="xmpp-1/b"))
    await bus.sweep("xmpp-1", "b", NOW + 20)
    await put(bus, NOW + 21, endpoint(owner="xmpp-1/b"))
    assert (await bus.inspect(ALICE, NOW))["pending"][0]["endpoints"] == {"xmpp:laptop": "owed"}


async def test_a_restarted_node_gets_again_what_its_registrations_are_owed(bus: Bus) -> None:
    await put(bus, NOW, PHONE)
    await bus.submit(message(), NOW)
    assert len(await delivered(bus, "sip-1")) == 1  # and dies before the phone has it
    await bus.sweep("sip-1", "b", NOW + 3)
    assert await delivered(bus, "sip-1") == [("m1", ("sip:phone",), True)]


async def test_a_restarted_node_sees_nothing_stale_in_its_inbox(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP, PHONE)
    await bus.watch("sip-1", [ALICE], NOW)
    await bus.submit(message(), NOW)
    await bus.relay(relayed(kind=EndpointKind.SIP))
    await bus.commit(ALICE, Update(put_sources=(source(),)), NOW)
    await bus.tell(ALICE, FAILED)
    await bus.sweep("sip-1", "b", NOW + 3)
    failed, again = await inbox(bus, "sip-1")
    assert failed == FAILED
    assert (again.message.id, again.delayed) == ("m1", True)  # type: ignore[union-attr]


async def test_a_swept_node_watches_nobody(bus: Bus) -> None:
    await bus.watch("sip-1", [ALICE], NOW)
    await bus.sweep("sip-1", None, NOW)
    await bus.commit(ALICE, Update(put_sources=(source(),)), NOW)
    assert await inbox(bus, "sip-1") == []


# --- maintenance --------------------------------------------------------------------------------


async def test_maintenance_expires_and_tells_who_watches(bus: Bus) -> None:
    await bus.commit(ALICE, Update(put_sources=(source("a", expires=NOW + 10), source("b"))), NOW)
    await bus.watch("sip-1", [ALICE], NOW)
    assert await bus.maintain(NOW + 9) == 0
    assert await bus.maintain(NOW + 10) == 1
    assert shown(await inbox(bus, "sip-1")) == [("alice@example.org", ["b"])]
    assert await bus.maintain(NOW + 11) == 0


async def test_maintenance_takes_at_most_so_many_addresses(bus: Bus) -> None:
    for number in range(5):
        person = Address(f"user{number}", "example.org")
        await bus.commit(person, Update(put_sources=(source(expires=NOW + 10),)), NOW)
    assert [await bus.maintain(NOW + 10, 2) for _ in range(4)] == [2, 2, 1, 0]


async def test_each_due_address_is_taken_by_one_caller(bus: Bus) -> None:
    for number in range(20):
        person = Address(f"user{number}", "example.org")
        await bus.commit(person, Update(put_sources=(source(expires=NOW + 10),)), NOW)
    taken = await asyncio.gather(*(bus.maintain(NOW + 10) for _ in range(4)))
    assert sum(taken) == 20


async def test_a_refreshed_lease_is_not_due_at_its_old_end(bus: Bus) -> None:
    await bus.commit(ALICE, Update(put_sources=(source(expires=NOW + 10),)), NOW)
    await bus.commit(ALICE, Update(put_sources=(source(expires=NOW + 50),)), NOW + 5)
    assert await bus.maintain(NOW + 10) == 0
    assert await bus.maintain(NOW + 50) == 1


async def test_an_expired_endpoints_message_goes_to_a_live_one(bus: Bus) -> None:
    await put(bus, NOW, endpoint("sip:short", node="sip-1", owner="", expires=NOW + 10))
    await bus.submit(message(), NOW)
    await put(bus, NOW, LAPTOP)
    await bus.maintain(NOW + 10)
    assert await delivered(bus, "xmpp-1") == [("m1", ("xmpp:laptop",), True)]


async def test_an_overdue_obligation_is_driven_again_after_30_seconds(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    await bus.submit(message("m1"), NOW)
    await bus.submit(message("m2"), NOW + 10)
    await inbox(bus, "xmpp-1")
    assert await bus.maintain(NOW + 29) == 0
    assert await bus.maintain(NOW + 30) == 1
    assert await delivered(bus, "xmpp-1") == [("m1", ("xmpp:laptop",), True)]
    assert await bus.maintain(NOW + 40) == 1
    assert await delivered(bus, "xmpp-1") == [("m2", ("xmpp:laptop",), True)]
    assert await bus.maintain(NOW + 60) == 1
    assert [name for name, _, _ in await delivered(bus, "xmpp-1")] == ["m1"]


async def test_a_settled_obligation_is_never_overdue(bus: Bus) -> None:
    await put(bus, NOW, LAPTOP)
    await bus.submit(message(), NOW)
    await bus.settle(ALICE, "m1", "xmpp:laptop", Delivery.DELIVERED, NOW)
    await inbox(bus, "xmpp-1")
    await bus.maintain(NOW + 31)
    assert await inbox(bus, "xmpp-1") == []


async def test_every_later_message_is_found_overdue_too(bus: Bus) -> None:
    """The mark of an address is shared by its messages; it must outlive the first of them."""
    await put(bus, NOW, LAPTOP)
    for number, at in enumerate((0, 24, 26, 29, 31, 55, 61)):
        await bus.submit(message(f"m{number}"), NOW + at)
        if number % 2 == 0:
            await bus.settle(ALICE, f"m{number}", "xmpp:laptop", Delivery.DELIVERED, NOW + at)
        await bus.maintain(NOW + at)
    await inbox(bus, "xmpp-1")
    again = set()
    for at in range(61, 130):
        await bus.maintain(NOW + at)
        again |= {name for name, _, _ in await delivered(bus, "xmpp-1")}
    assert again == {"m1", "m3", "m5"}


# --- inspection ---------------------------------------------------------------------------------


def hop(name: str, trace: str = "t1", address: str = "alice@example.org", peer: str = "") -> TraceEntry:
    return TraceEntry(trace=trace, at=NOW, node="sip-1", hop=name, address=address, peer=peer)


async def test_traces_are_read_after_a_cursor(bus: Bus) -> None:
    entries = [hop(f"h{number}") for number in range(7)]
    for entry in entries[:5]:
        bus.trace(entry)
    cursor, found = await bus.traces(limit=3)
    assert found == entries[:3]
    cursor, found = await bus.traces(after=cursor)
    assert found == entries[3:5]
    for entry in entries[5:]:
        bus.trace(entry)
    cursor, found = await bus.traces(after=cursor)
    assert found == entries[5:]
    assert (await bus.traces(after=cursor))[1] == []


async def test_traces_are_found_by_trace_and_by_either_address(bus: Bus) -> None:
    one, two, three = hop("a"), hop("b", "t2", "bob@example.org"), hop("c", "t3", "x", "bob@example.org")
    for entry in (one, two, three):
        bus.trace(entry)
    assert (await bus.traces(trace="t2"))[1] == [two]
    assert (await bus.traces(address="bob@example.org"))[1] == [two, three]
    assert (await bus.traces(trace="t1", address="bob@example.org"))[1] == []


async def test_a_tail_waits_for_the_next_entry(bus: Bus) -> None:
    bus.trace(hop("old"))
    cursor, found = await bus.traces(after="$")
    assert found == []
    tail = asyncio.create_task(bus.traces(after=cursor, trace="t1", timeout=8))
    await asyncio.sleep(0)
    bus.trace(hop("other", trace="t9"))
    await bus.ping()
    bus.trace(hop("new"))
    assert (await tail)[1] == [hop("new")]


async def test_inspection_shows_everything_but_content(bus: Bus) -> None:
    write = source("pub", tag="etag", owner="", expires=NOW + 60)
    await bus.commit(
        ALICE,
        Update(
            put_sources=(write,),
            put_endpoints=(PHONE,),
            cells=(CellWrite(name="bindings", expect=0, data=b"secret"),),
        ),
        NOW,
    )
    await bus.watch("xmpp-1", [ALICE], NOW)
    await bus.submit(message(bodies=(Text("secret"),)), NOW)
    found = await bus.inspect(ALICE, NOW)
    assert found["address"] == "alice@example.org"
    assert found["version"] > 0
    assert found["sources"][0]["source"]["id"] == "pub"
    assert found["sources"][0]["lease"] == {"expires": NOW + 60, "owner": ""}
    assert found["sources"][0]["tag"] == "etag"
    assert found["endpoints"][0]["id"] == "sip:phone"
    assert found["interest"] == ["xmpp-1"]
    assert found["pending"][0]["endpoints"] == {"sip:phone": "owed"}
    assert found["cells"] == {"bindings": {"version": 1, "bytes": 6}}
    assert "secret" not in str(found)


async def test_ping_takes_no_time_worth_mentioning(bus: Bus) -> None:
    assert 0 <= await bus.ping() < 5
