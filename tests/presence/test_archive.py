"""presence/{archive,archiver,history}.py on a real SQLite file, a real PostgreSQL and a bus in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from presence.address import Address
from presence.archive import (
    COUNTS,
    LAST,
    Archived,
    Correspondent,
    Filed,
    Keep,
    Preferences,
    Span,
    position,
    position_at,
)
from presence.archiver import EXPIRY_INTERVAL, IDLE, LEASE_SECONDS, PAUSE, Archiver
from presence.edge.archive import _CHOSEN, _PAGES, SqlArchive
from presence.edge.codec import encode
from presence.edge.sql import SqlStore
from presence.errors import Condition, Refused, Unavailable
from presence.history import History
from presence.memory import MemoryBus
from presence.messages import InstantMessage
from presence.model import Text
from presence.ports import RosterChange
from presence.subscriptions import RosterItem
from tests.support.buses import ALICE, BOB, CAROL, Clock, message

MALLORY = Address("mallory", "elsewhere.example")


class Books:
    """Metrics that can be read."""

    def __init__(self) -> None:
        self.counted: dict[str, float] = {}

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        self.counted[name] = self.counted.get(name, 0) + amount

    def gauge(self, name: str, value: float, /, **labels: str) -> None: ...


class House:
    def __init__(self, store: SqlStore) -> None:
        self.clock = Clock()
        self.store = store
        self.bus = MemoryBus(clock=self.clock)
        self.archive = SqlArchive(store.database)
        self.history = History(self.bus, self.archive, store)
        self.books = Books()
        self.archiver = self.another("admin-1/a")

    def another(self, holder: str, days: float | None = None) -> Archiver:
        return Archiver(
            holder=holder,
            domains=frozenset({"example.org"}),
            bus=self.bus,
            archive=self.archive,
            store=self.store,
            metrics=self.books,
            clock=self.clock,
            days=days,
        )

    async def say(
        self, name: str, sender: Address = BOB, recipient: Address = ALICE, **fields: object
    ) -> None:
        self.clock.now += 1
        await self.bus.submit(message(name, sender=sender, recipient=recipient, **fields), self.clock())

    async def kept(self, owner: Address, **span: object) -> list[str]:
        """Ids, of what is written only."""
        return ids((await self.archive.page(owner, Span(**span), 100)).items)  # type: ignore[arg-type]

    async def seen(self, owner: Address, **span: object) -> list[str]:
        """Ids, as its reader sees it."""
        page = await self.history.page(owner, Span(**span), 100)  # type: ignore[arg-type]
        return ids(page.items)


def ids(items: Sequence[Archived]) -> list[str]:
    return [item.message.id for item in items]


@pytest.fixture
async def house(database: str) -> AsyncIterator[House]:
    store = SqlStore(database)
    await store.migrate()
    yield House(store)
    await store.close()


# --- order ---------------------------------------------------------------------------------------------


def test_a_position_is_a_time_and_a_count() -> None:
    assert position(1_700_000_000_123, 7) // COUNTS == 1_700_000_000_123
    assert position_at(1_700_000_000.123) == position(1_700_000_000_123)
    assert Archived(position(1_700_000_000_123, 7), message()).at == 1_700_000_000.123


@pytest.mark.parametrize(("at", "expected"), [(-1e9, 0), (1e15, LAST)])
def test_moments_out_of_range_are_clipped(at: float, expected: int) -> None:
    assert position_at(at) == expected


# --- pages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", [None, BOB])
async def test_a_page_ends_where_it_is_large_and_the_next_goes_on(house: House, peer: Address | None) -> None:
    """What nobody will be sent is not even read."""
    large = (Text("x" * 300_000),)
    names = [f"m{number}" for number in range(8)]
    for number, name in enumerate(names):
        pair = (ALICE, BOB) if number % 2 else (BOB, ALICE)
        await house.say(name, *pair, bodies=large)
    await house.archiver.step(0)
    await house.say("m8")
    page = await house.history.page(ALICE, Span(peer=peer), 100)
    assert (ids(page.items), page.complete) == (names[:3], False)
    page = await house.history.page(ALICE, Span(peer=peer, after=page.items[-1].position), 100)
    assert (ids(page.items), page.complete) == (names[3:6], False)
    page = await house.history.page(ALICE, Span(peer=peer, after=page.items[-1].position), 100)
    assert (ids(page.items), page.complete) == ([*names[6:], "m8"], True)
    page = await house.history.page(ALICE, Span(peer=peer), 100, backwards=True)
    assert (ids(page.items), page.complete) == ([*names[5:], "m8"], False)
    page = await house.history.page(ALICE, Span(peer=peer, before=page.items[0].position), 2, backwards=True)
    assert (ids(page.items), page.complete) == (names[3:5], False)


# --- writing -------------------------------------------------------------------------------------------


async def test_what_was_accepted_is_in_both_archives_whole_and_in_order(house: House) -> None:
    await house.say("m2")
    await house.say("m1", ALICE, BOB)
    assert await house.archiver.step(0) == PAUSE
    for owner in (ALICE, BOB):
        assert await house.kept(owner) == ["m2", "m1"]
    (first, _) = (await house.archive.page(ALICE, Span(), 10)).items
    assert first.message == message("m2")
    assert await house.bus.unarchived(10, 0) == []
    assert house.books.counted == {"archived_messages_total": 2, "archive_commits_total": 1}


async def test_nothing_to_do_is_no_commit(house: House) -> None:
    assert await house.archiver.step(0) == 0
    assert house.books.counted == {}


async def test_a_crash_between_commit_and_forgetting_writes_nothing_twice(house: House) -> None:
    await house.say("m1")
    before = house.bus._unarchived.copy()
    await house.archiver.step(0)
    house.bus._unarchived = before
    await house.say("m2")
    assert await house.seen(ALICE) == ["m1", "m2"]
    await house.archiver.step(0)
    assert await house.kept(ALICE) == ["m1", "m2"]


async def test_while_the_database_is_away_messages_wait(house: House, tmp_path: Path) -> None:
    await house.say("m1")
    away = SqlStore(f"sqlite+aiosqlite:///{tmp_path}/nowhere/tandem.db")
    house.archiver._archive = SqlArchive(away.database)
    with pytest.raises(Unavailable):
        await house.archiver.step(0)
    await away.close()
    assert len(await house.bus.unarchived(10, 0)) == 1


async def test_one_process_writes_until_its_lease_is_over(house: House) -> None:
    other = house.another("xmpp-1/a")
    await house.archiver.step(0)
    await house.say("m1")
    assert await other.step(0) == IDLE
    assert await house.kept(ALICE) == []
    house.clock.now += LEASE_SECONDS
    await other.step(0)
    assert await house.kept(ALICE) == ["m1"]


async def test_an_unreadable_entry_does_not_hold_up_the_others(house: House) -> None:
    await house.say("m1")
    await house.say("m2")
    house.bus._unarchived[0] = msgspec.structs.replace(house.bus._unarchived[0], message=b"\xc1")
    await house.archiver.step(0)
    assert await house.kept(ALICE) == ["m2"]
    assert await house.bus.unarchived(10, 0) == []


async def test_people_of_other_servers_have_no_archive_here(house: House) -> None:
    await house.say("m1", MALLORY, ALICE)
    await house.archiver.step(0)
    assert await house.kept(ALICE) == ["m1"]
    assert await house.kept(MALLORY) == []


async def test_a_message_to_oneself_is_there_once(house: House) -> None:
    await house.say("note", ALICE, ALICE)
    assert await house.seen(ALICE) == ["note"]
    await house.archiver.step(0)
    assert await house.seen(ALICE) == ["note"]
    assert await house.history.count(ALICE, Span()) == 1


# --- reading -------------------------------------------------------------------------------------------


async def test_a_reader_sees_what_was_accepted_before_and_after_it_is_written(house: House) -> None:
    await house.say("m1")
    await house.archiver.step(0)
    await house.say("m2")
    assert await house.kept(ALICE) == ["m1"]
    assert await house.seen(ALICE) == ["m1", "m2"]
    assert await house.seen(CAROL) == []
    assert await house.history.count(ALICE, Span()) == 2


@pytest.mark.parametrize("written", [0, 3, 6])
@pytest.mark.parametrize("backwards", [False, True])
async def test_pages_go_over_the_border_between_written_and_waiting(
    house: House, written: int, backwards: bool
) -> None:
    names = [f"m{number}" for number in range(6)]
    for number, name in enumerate(names):
        await house.say(name)
        if number + 1 == written:
            await house.archiver.step(0)
    found: list[str] = []
    span = Span()
    while True:
        page = await house.history.page(ALICE, span, 4, backwards=backwards)
        part = ids(list(page.items))
        found = [*part, *found] if backwards else [*found, *part]
        if page.complete:
            break
        edge = page.items[0].position if backwards else page.items[-1].position
        span = Span(before=edge) if backwards else Span(after=edge)
    assert found == names


async def test_a_page_that_is_just_full_is_complete(house: House) -> None:
    await house.say("m1")
    await house.say("m2")
    assert (await house.history.page(ALICE, Span(), 2)).complete
    assert not (await house.history.page(ALICE, Span(), 1)).complete


@pytest.mark.parametrize("written", [False, True])
async def test_one_conversation_one_endpoint_or_a_time_may_be_asked_for(house: House, written: bool) -> None:
    await house.say("from bob", BOB, ALICE, sender_tuple="desk")
    await house.say("to bob", ALICE, BOB, recipient_endpoint="xmpp:sofa")
    noon = house.clock.now
    await house.say("from carol", CAROL, ALICE)
    await house.say("to oneself", ALICE, ALICE)
    if written:
        await house.archiver.step(0)
    assert await house.seen(ALICE, peer=BOB) == ["from bob", "to bob"]
    assert await house.seen(ALICE, peer=BOB, peer_tuple="desk") == ["from bob"]
    assert await house.seen(ALICE, peer=BOB, peer_tuple="sofa") == ["to bob"]
    assert await house.seen(ALICE, peer=ALICE) == ["to oneself"]
    assert await house.seen(ALICE, after=position_at(noon + 1) - 1) == ["from carol", "to oneself"]
    assert await house.seen(ALICE, before=position_at(noon + 1)) == ["from bob", "to bob"]
    assert await house.history.count(ALICE, Span(peer=BOB)) == 2


@pytest.mark.parametrize("written", [False, True])
async def test_messages_are_found_by_their_ids_in_their_owners_archive_only(
    house: House, written: bool
) -> None:
    await house.say("m1")
    await house.say("m2")
    if written:
        await house.archiver.step(0)
    assert ids(await house.history.find(ALICE, ["m2", "m1"])) == ["m1", "m2"]
    for owner, wanted in ((ALICE, ["m1", "none"]), (CAROL, ["m1"])):
        with pytest.raises(Refused) as refused:
            await house.history.find(owner, wanted)
        assert refused.value.condition is Condition.ITEM_NOT_FOUND


async def test_the_bounds_are_the_oldest_and_the_newest(house: House) -> None:
    assert await house.history.bounds(ALICE) is None
    await house.say("m1")
    await house.archiver.step(0)
    await house.say("m2")
    await house.say("m3")
    bounds = await house.history.bounds(ALICE)
    assert bounds is not None
    assert ids(list(bounds)) == ["m1", "m3"]


# --- what its owner wants ------------------------------------------------------------------------------

DESK = Correspondent(BOB, "desk")
VERDICTS = [
    (Preferences(), Keep.ALWAYS),
    (Preferences(default=Keep.NEVER), Keep.NEVER),
    (Preferences(default=Keep.ROSTER), Keep.ROSTER),
    (Preferences(default=Keep.NEVER, always=(Correspondent(BOB),)), Keep.ALWAYS),
    (Preferences(default=Keep.NEVER, always=(DESK,)), Keep.ALWAYS),
    (Preferences(default=Keep.NEVER, always=(Correspondent(BOB, "sofa"),)), Keep.NEVER),
    (Preferences(never=(Correspondent(BOB),)), Keep.NEVER),
    (Preferences(never=(Correspondent(BOB),), always=(DESK,)), Keep.NEVER),
    (Preferences(never=(Correspondent(CAROL),)), Keep.ALWAYS),
]


@pytest.mark.parametrize(("preferences", "verdict"), VERDICTS)
def test_lists_come_before_the_default_and_never_before_always(
    preferences: Preferences, verdict: Keep
) -> None:
    assert preferences.verdict(DESK) is verdict


async def test_preferences_come_back_and_are_changed(house: House) -> None:
    assert await house.history.preferences(ALICE) == Preferences()
    for chosen in (Preferences(default=Keep.ROSTER, never=(DESK,)), Preferences(always=(DESK,))):
        await house.history.set_preferences(ALICE, chosen)
        assert await house.history.preferences(ALICE) == chosen
    assert await house.history.preferences(BOB) == Preferences()


@pytest.mark.parametrize("written", [False, True])
async def test_who_wants_nothing_kept_keeps_nothing_and_the_other_keeps_it(
    house: House, written: bool
) -> None:
    await house.history.set_preferences(ALICE, Preferences(default=Keep.NEVER))
    await house.say("m1")
    await house.say("m2", ALICE, BOB)
    if written:
        await house.archiver.step(0)
    assert await house.seen(ALICE) == []
    assert await house.seen(BOB) == ["m1", "m2"]


async def test_what_nobody_wants_is_not_written(house: House) -> None:
    for owner in (ALICE, BOB):
        await house.history.set_preferences(owner, Preferences(default=Keep.NEVER))
    await house.say("m1")
    await house.archiver.step(0)
    assert house.books.counted["archived_messages_total"] == 0


@pytest.mark.parametrize("written", [False, True])
async def test_the_roster_may_decide(house: House, written: bool) -> None:
    await house.history.set_preferences(ALICE, Preferences(default=Keep.ROSTER))
    item = RosterItem(contact=BOB, listed=True)
    await house.store.save([RosterChange(owner=ALICE, previous=RosterItem(contact=BOB), item=item)])
    await house.say("from a friend")
    await house.say("from a stranger", CAROL)
    await house.say("to oneself", ALICE, ALICE)
    if written:
        await house.archiver.step(0)
    assert await house.seen(ALICE) == ["from a friend", "to oneself"]


# --- how long ------------------------------------------------------------------------------------------


async def test_messages_are_deleted_when_their_days_are_over(house: House) -> None:
    archiver = house.another("admin-1/a", days=2)
    await house.say("old")
    await archiver.step(0)
    house.clock.now += 86_400
    await house.say("newer")
    await archiver.step(0)
    assert await house.kept(ALICE) == ["old", "newer"]
    house.clock.now += 86_400 + EXPIRY_INTERVAL
    await archiver.step(0)
    assert await house.kept(ALICE) == ["newer"]
    assert await house.kept(BOB) == ["newer"]


async def test_without_days_everything_is_kept(house: House) -> None:
    await house.say("old")
    await house.archiver.step(0)
    house.clock.now += 10 * 365 * 86_400
    await house.archiver.step(0)
    assert await house.kept(ALICE) == ["old"]


async def test_a_deleted_persons_archive_goes_and_the_others_stay(house: House) -> None:
    from presence.edge.accounts import AccountSettings, open_accounts

    accounts = open_accounts(AccountSettings(), house.store)
    await accounts.add(ALICE, "secret")
    await house.history.set_preferences(ALICE, Preferences(never=(DESK,)))
    await house.say("m1", CAROL, ALICE)
    await house.say("note", ALICE, ALICE)
    await house.archiver.step(0)
    await accounts.delete(ALICE)
    await accounts.close()
    assert await house.kept(ALICE) == []
    assert await house.kept(CAROL) == ["m1"]
    assert await house.history.preferences(ALICE) == Preferences()


# --- the store alone -----------------------------------------------------------------------------------


def filed(name: str, number: int, **fields: object) -> Filed:
    said: InstantMessage = message(name)
    usual: dict[str, object] = {
        "position": number,
        "id": name,
        "sender": said.sender,
        "recipient": said.recipient,
        "for_sender": True,
        "for_recipient": True,
        "message": encode(said),
    }
    return Filed(**{**usual, **fields})  # type: ignore[arg-type]


async def test_what_is_kept_stays_as_it_is(house: House) -> None:
    await house.archive.write([filed("m1", 1), filed("m2", 2)])
    await house.archive.write([filed("other", 1), filed("m2", 3), filed("m4", 4)])
    await house.archive.write([])
    found = (await house.archive.page(ALICE, Span(), 10)).items
    assert [(each.position, each.message.id) for each in found] == [(1, "m1"), (2, "m2"), (4, "m4")]


async def test_expiry_takes_the_oldest_first_and_so_many_at_once(house: House) -> None:
    await house.archive.write([filed(f"m{number}", number) for number in range(1, 6)])
    assert await house.archive.expire(4, 2) == 2
    assert await house.kept(ALICE) == ["m3", "m4", "m5"]
    assert await house.archive.expire(4, 2) == 1
    assert await house.archive.expire(4, 2) == 0
    assert await house.kept(ALICE) == ["m4", "m5"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("query", ["sent", "received"])
async def test_pages_are_read_by_an_index(house: House, query: str) -> None:
    """A person's page must not cost more when others' archives grow."""
    side = _PAGES[False, False, True][query == "received"]
    values = {"owner": "a", "after": 0, "before": 9, "most": 5, **side.constants}
    async with house.store.database.reading() as connection:
        plan = await connection.execute(text(f"EXPLAIN QUERY PLAN {side.text}"), values)
        steps = [row[3] for row in plan]
    owner = "sender" if query == "sent" else "recipient"
    assert steps == [f"SEARCH archive USING INDEX archive_{query} ({owner}=? AND position>? AND position<?)"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_pages_of_a_local_file_need_no_thread(house: House) -> None:
    await house.archive.write([filed("m1", 1)])
    local = house.store.database._local
    assert local is not None
    for query in _PAGES[False, False, False]:
        assert local.rows(query, {"owner": str(ALICE), "after": -1, "before": LAST, "most": 5}) is not None
    assert local.rows(_CHOSEN, {}) == []
