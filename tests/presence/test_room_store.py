"""presence/edge/room_store.py: rooms that outlive their occupants, in both kinds of database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from presence.address import Address
from presence.archive import Filed, Span, position
from presence.edge.archive import SqlArchive
from presence.edge.codec import encode
from presence.edge.room_store import SqlRooms
from presence.edge.sql import SqlStore
from presence.messages import InstantMessage
from presence.rooms.model import Affiliated, Affiliation, Room
from presence.rooms.ports import Listed
from tests.support.rooms import ALICE, BOB, CAROL, TEA, head, occupant, said


@pytest.fixture
async def store(database: str) -> AsyncIterator[SqlStore]:
    store = SqlStore(database)
    await store.migrate()
    yield store
    await store.close()


@pytest.fixture
def rooms(store: SqlStore) -> SqlRooms:
    return SqlRooms(store.database)


def tea(version: int, *affiliated: Affiliated, name: str = "Tea", address: Address = TEA) -> Room:
    return Room(address, version, head(name=name, persistent=True), [occupant()], affiliated)


OWNER = Affiliated(ALICE, Affiliation.OWNER)
MEMBER = Affiliated(BOB, Affiliation.MEMBER, "robert", "friend")


async def test_a_room_comes_back_without_its_occupants(rooms: SqlRooms) -> None:
    assert await rooms.load_room(TEA) is None
    await rooms.save_room(tea(7, OWNER, MEMBER))
    found = await rooms.load_room(TEA)
    assert found is not None
    assert (found.version, found.head, found.occupants) == (7, head(name="Tea", persistent=True), {})
    assert found.affiliated == {ALICE: OWNER, BOB: MEMBER}


async def test_the_latest_version_stays(rooms: SqlRooms) -> None:
    await rooms.save_room(tea(7, OWNER, name="new"))
    await rooms.save_room(tea(6, OWNER, MEMBER, name="old"))
    found = await rooms.load_room(TEA)
    assert found is not None
    assert (found.configuration.name, list(found.affiliated)) == ("new", [ALICE])
    await rooms.drop_room(TEA, 6, archive=True)
    assert await rooms.load_room(TEA) is not None


async def test_affiliations_change_one_by_one(rooms: SqlRooms) -> None:
    await rooms.save_room(tea(1, OWNER, MEMBER))
    outcast = Affiliated(CAROL, Affiliation.OUTCAST, "", "spam")
    promoted = Affiliated(BOB, Affiliation.ADMIN)
    await rooms.save_room(tea(2, OWNER, promoted, outcast))
    found = await rooms.load_room(TEA)
    assert found is not None
    assert found.affiliated == {ALICE: OWNER, BOB: promoted, CAROL: outcast}
    await rooms.save_room(tea(3, OWNER))
    found = await rooms.load_room(TEA)
    assert found is not None
    assert found.affiliated == {ALICE: OWNER}


async def test_rooms_are_listed_by_domain(rooms: SqlRooms) -> None:
    coffee = Address("coffee", "rooms.example.net")
    await rooms.save_room(tea(1, OWNER))
    await rooms.save_room(tea(1, OWNER, address=coffee))
    assert await rooms.persistent_rooms(TEA.domain) == [Listed(room=TEA, name="Tea")]
    await rooms.drop_room(TEA, 2, archive=True)
    assert await rooms.persistent_rooms(TEA.domain) == []
    assert await rooms.load_room(coffee) is not None


def filed(message: InstantMessage, at: int) -> Filed:
    return Filed(
        position=position(at),
        id=message.id,
        sender=TEA,
        recipient=TEA,
        sender_tuple=message.sender_tuple,
        for_sender=True,
        for_recipient=True,
        message=encode(message),
    )


async def test_a_tombstone_takes_a_messages_place(store: SqlStore, rooms: SqlRooms) -> None:
    archive = SqlArchive(store.database)
    await archive.write([filed(said("buy", "m1"), 1), filed(said("hello", "m2"), 2)])
    assert not await rooms.strike(TEA, "m3", said("", "m3"))
    assert not await rooms.strike(BOB, "m1", said("", "m1"))
    assert await rooms.strike(TEA, "m1", said("", "m1"))
    found = (await archive.page(TEA, Span(), 10)).items
    assert [each.message for each in found] == [said("", "m1"), said("hello", "m2")]


async def test_what_was_said_goes_with_the_room_unless_it_stays(store: SqlStore, rooms: SqlRooms) -> None:
    archive = SqlArchive(store.database)
    await rooms.save_room(tea(1, OWNER))
    await archive.write([filed(said(name="m1"), 1), filed(said(name="m2"), 9)])
    await rooms.drop_room(TEA, 5, archive=False)
    assert await archive.count(TEA, Span()) == 2
    await rooms.drop_room(TEA, 5, archive=True)  # a later room of that name has said something already
    assert [each.message.id for each in (await archive.page(TEA, Span(), 10)).items] == ["m2"]
