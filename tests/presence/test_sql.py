"""presence/edge/sql.py and presence/edge/accounts/sql.py on a real SQLite file and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete, update

from presence.address import Address
from presence.archive import Keep, Preferences
from presence.edge.accounts import AccountSettings, backends, open_accounts
from presence.edge.accounts.proofs import ha1, matches
from presence.edge.archive import SqlArchive
from presence.edge.belongings import ROW
from presence.edge.sql import SqlStore
from presence.edge.tables import credentials
from presence.errors import Condition, Conflict, Refused
from presence.model import Text
from presence.ports import Accounts, DigestAlgorithm, RosterChange, ScramKeys
from presence.subscriptions import RosterItem, Subscription

ALICE = Address("alice", "example.org")
BOB = Address("bob", "example.org")


@pytest.fixture
async def store(database: str) -> AsyncIterator[SqlStore]:
    store = SqlStore(database)
    await store.migrate()
    yield store
    await store.close()


@pytest.fixture
def people(store: SqlStore) -> Accounts:
    return open_accounts(AccountSettings(), store)


def friend(**fields: object) -> RosterItem:
    item = RosterItem(contact=BOB, listed=True, name="Bob", groups=("Friends", "Müller & Söhne"))
    return msgspec.structs.replace(item, **fields)


async def test_an_unknown_item_is_empty(store: SqlStore) -> None:
    assert await store.item(ALICE, BOB) == RosterItem(contact=BOB)
    assert await store.roster(ALICE) == ("0", [])


async def test_a_saved_item_comes_back_whole(store: SqlStore) -> None:
    item = friend(
        subscription=Subscription.BOTH,
        ask=True,
        pending_in=True,
        approved=True,
        request=(Text("let me in", "en"),),
        opaque=b"<x/>",
    )
    empty = RosterItem(contact=BOB)
    assert await store.save([RosterChange(owner=ALICE, previous=empty, item=item)]) == {ALICE: "1"}
    assert await store.roster(ALICE) == ("1", [item])
    assert await store.pair(ALICE, BOB) == (item, RosterItem(contact=ALICE))
    assert await store.pair(BOB, ALICE) == (RosterItem(contact=ALICE), item)
    assert await store.watchers(ALICE) == [item]


async def test_an_emptied_item_is_gone_but_the_version_still_grows(store: SqlStore) -> None:
    item, empty = friend(), RosterItem(contact=BOB)
    await store.save([RosterChange(owner=ALICE, previous=empty, item=item)])
    assert await store.save([RosterChange(owner=ALICE, previous=item, item=empty)]) == {ALICE: "2"}
    assert await store.roster(ALICE) == ("2", [])


async def test_a_change_against_an_outdated_item_changes_nothing_at_all(store: SqlStore) -> None:
    item, empty = friend(), RosterItem(contact=BOB)
    mirror = RosterItem(contact=ALICE, listed=True)
    await store.save([RosterChange(owner=ALICE, previous=empty, item=item)])
    with pytest.raises(Conflict):
        await store.save(
            [
                RosterChange(owner=BOB, previous=RosterItem(contact=ALICE), item=mirror),
                RosterChange(owner=ALICE, previous=empty, item=friend(name="Robert")),
            ]
        )
    assert await store.pair(ALICE, BOB) == (item, RosterItem(contact=ALICE))


async def test_processes_starting_together_migrate_once(database: str) -> None:
    stores = [SqlStore(database) for _ in range(10)]
    await asyncio.gather(*(store.migrate() for store in stores))
    assert await stores[0].roster(ALICE) == ("0", [])
    await asyncio.gather(*(store.close() for store in stores))


async def test_writers_of_several_processes_wait_their_turn(database: str) -> None:
    stores = [SqlStore(database) for _ in range(4)]
    await stores[0].migrate()
    contacts = [Address(f"c{i}", "example.org") for i in range(40)]
    changes = [
        RosterChange(owner=ALICE, previous=RosterItem(contact=c), item=RosterItem(contact=c, listed=True))
        for c in contacts
    ]
    await asyncio.gather(*(stores[i % 4].save([change]) for i, change in enumerate(changes)))
    version, items = await stores[0].roster(ALICE)
    assert (version, len(items)) == ("40", 40)
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_new_account_can_prove_itself_in_every_way(people: Accounts) -> None:
    await people.add(ALICE, "wönder land")
    account = await people.find(ALICE)
    assert account is not None
    assert set(account.scram) == {"SHA-1", "SHA-256", "SHA-512"}
    assert account.ha1["MD5"] == ha1(ALICE, "wönder land", DigestAlgorithm.MD5)
    assert account.phone_only
    assert await people.check_password(ALICE, "wönder land")
    assert not await people.check_password(ALICE, "wonder land")
    assert not await people.check_password(ALICE, "")
    assert not await people.check_password(BOB, "wönder land")
    assert [a.address for a in await people.list()] == [ALICE]


async def test_a_password_is_the_same_however_its_letters_are_composed(people: Accounts) -> None:
    await people.add(ALICE, "w\u00f6nder land")
    assert await people.check_password(ALICE, "wo\u0308nder land")
    assert not await people.check_password(ALICE, "wo\u0308nder")


async def test_a_login_by_password_derives_no_keys(people: Accounts, store: SqlStore) -> None:
    await people.add(ALICE, "wonderland")
    slow = ScramKeys(salt=b"salt", iterations=40_000_000, stored_key=bytes(32), server_key=bytes(32))
    async with store.database.writing() as connection:
        keys = credentials.c.kind.startswith("scram:")
        await connection.execute(update(credentials).where(keys).values(secret=msgspec.msgpack.encode(slow)))
    people.forget(ALICE)
    async with asyncio.timeout(5):  # the keys would take three times as long, each time
        assert await people.check_password(ALICE, "wonderland")
        assert not await people.check_password(ALICE, "looking-glass")
        assert not await people.check_password(BOB, "wonderland")


async def test_keys_of_newer_mechanisms_are_made_once_of_the_first_password(
    people: Accounts, store: SqlStore
) -> None:
    await people.add(ALICE, "wonderland")
    older = await people.find(ALICE)
    async with store.database.writing() as connection:
        await connection.execute(delete(credentials).where(credentials.c.kind == "scram:SHA-512"))
    people.forget(ALICE)
    assert not await people.check_password(ALICE, "looking-glass")
    assert "SCRAM-SHA-512" not in await people.offers(ALICE)
    assert all(await asyncio.gather(*(people.check_password(ALICE, "wonderland") for _ in range(3))))
    made = await people.find(ALICE)
    assert older is not None
    assert made is not None
    assert matches("wonderland", made.scram["SHA-512"], "SHA-512")
    assert made.scram["SHA-256"] == older.scram["SHA-256"]
    assert "SCRAM-SHA-512" in await people.offers(None)
    assert await people.check_password(ALICE, "wonderland")
    people.forget(ALICE)
    assert await people.find(ALICE) == made


async def test_the_first_xmpp_login_ends_phone_only(people: Accounts) -> None:
    await people.add(ALICE, "x")
    await people.seen_on_xmpp(ALICE)
    account = await people.find(ALICE)
    assert account is not None
    assert not account.phone_only


async def test_a_changed_password_replaces_every_proof(people: Accounts) -> None:
    await people.add(ALICE, "old")
    before = await people.find(ALICE)
    await people.set_password(ALICE, "new")
    after = await people.find(ALICE)
    assert before is not None
    assert after is not None
    assert not set(before.ha1.values()) & set(after.ha1.values())
    assert await people.check_password(ALICE, "new")
    assert not await people.check_password(ALICE, "old")


async def test_what_does_not_exist_or_exists_already_is_refused(people: Accounts) -> None:
    await people.add(ALICE, "x")
    with pytest.raises(Refused) as again:
        await people.add(ALICE, "y")
    with pytest.raises(Refused) as nobody:
        await people.set_password(BOB, "y")
    with pytest.raises(Refused) as gone:
        await people.delete(BOB)
    assert [r.value.condition for r in (again, nobody, gone)] == [
        Condition.CONFLICT,
        Condition.ITEM_NOT_FOUND,
        Condition.ITEM_NOT_FOUND,
    ]


async def test_a_deleted_account_leaves_no_proof_behind(people: Accounts) -> None:
    await people.add(ALICE, "x")
    await people.delete(ALICE)
    assert await people.find(ALICE) is None
    await people.add(ALICE, "y")
    assert await people.check_password(ALICE, "y")


def test_an_unknown_backend_names_the_known_ones(store: SqlStore) -> None:
    with pytest.raises(LookupError, match="sql"):
        open_accounts(AccountSettings(backend="carrier-pigeon"), store)
    assert set(backends()) >= {"sql"}


async def test_reads_are_right_with_and_without_the_way_past_the_thread(tmp_path: Path) -> None:
    near = SqlStore(f"sqlite+aiosqlite:///{tmp_path}/o'dd name.db")
    far = SqlStore(f"sqlite+aiosqlite:///file:{tmp_path}/o'dd name.db?uri=true")
    await near.migrate()
    await near.save([RosterChange(owner=ALICE, previous=RosterItem(contact=BOB), item=friend())])
    answers = [
        (await store.roster(ALICE), await store.pair(BOB, ALICE), await store.item(ALICE, BOB))
        for store in (near, far)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == ("1", [friend()])
    for store in (near, far):
        await store.close()


async def test_what_one_process_wrote_the_other_reads_at_once(store: SqlStore, database: str) -> None:
    other = SqlStore(database)
    before = RosterItem(contact=BOB)
    for number in range(3):
        assert await other.item(ALICE, BOB) == before
        item = friend(name=f"Bob {number}")
        await store.save([RosterChange(owner=ALICE, previous=before, item=item)])
        before = item
    assert await other.item(ALICE, BOB) == before
    await other.close()


async def test_a_deleted_person_is_in_nobodys_roster(store: SqlStore, people: Accounts) -> None:
    carol = Address("carol", "example.org")
    await people.add(BOB, "secret")
    await store.save(
        [
            RosterChange(owner=ALICE, previous=RosterItem(contact=BOB), item=friend()),
            RosterChange(owner=BOB, previous=RosterItem(contact=ALICE), item=friend(contact=ALICE)),
            RosterChange(owner=carol, previous=RosterItem(contact=ALICE), item=friend(contact=ALICE)),
        ]
    )
    await people.delete(BOB)
    assert await store.roster(ALICE) == ("2", [])
    assert await store.roster(BOB) == ("2", [])
    assert await store.roster(carol) == ("1", [friend(contact=ALICE)])


async def test_processes_that_write_the_same_for_the_first_time_do_not_refuse_each_other(
    database: str,
) -> None:
    stores = [SqlStore(database) for _ in range(4)]
    await stores[0].migrate()
    await asyncio.gather(*(store.keep(ALICE, "things", "a", b"a", 1) for store in stores))
    await asyncio.gather(*(store.block(ALICE, ["eve@example.org", "spam.example"]) for store in stores))
    await asyncio.gather(
        *(
            SqlArchive(store.database).set_preferences(ALICE, Preferences(default=Keep.NEVER))
            for store in stores
        )
    )
    assert [k.name for k in await stores[0].kept(ALICE, "things")] == ["a"]
    assert await stores[0].blocklist(ALICE) == ["eve@example.org", "spam.example"]
    chosen = await SqlArchive(stores[0].database).preferences([ALICE])
    assert chosen == {ALICE: Preferences(default=Keep.NEVER)}
    await asyncio.gather(*(store.close() for store in stores))


# --- blocklists, and what people keep -------------------------------------------------------------------


async def test_a_blocklist_keeps_its_order_and_everybody_on_it_once(store: SqlStore) -> None:
    await store.block(ALICE, ["spam.example", "eve@example.org"])
    await store.block(ALICE, ["eve@example.org", "bob@example.org", "bob@example.org"])
    assert await store.blocklist(ALICE) == ["spam.example", "eve@example.org", "bob@example.org"]
    assert await store.blockers(("bob@example.org", "example.org")) == [ALICE]
    await store.unblock(ALICE, ["spam.example", "nobody@example.org"])
    assert await store.blocklist(ALICE) == ["eve@example.org", "bob@example.org"]
    await store.unblock(ALICE, None)
    assert await store.blocklist(ALICE) == []


async def test_what_somebody_else_changed_meanwhile_is_not_swapped(store: SqlStore) -> None:
    this = (ALICE, "things", "a")
    assert not await store.swap(*this, b"1", b"2")
    assert await store.swap(*this, None, b"1")
    assert not await store.swap(*this, None, b"2")
    assert not await store.swap(*this, None, None)
    assert not await store.swap(*this, b"2", b"3")
    assert await store.swap(*this, b"1", b"2")
    assert [k.data for k in await store.kept(ALICE, "things")] == [b"2"]
    assert not await store.swap(*this, b"1", None)
    assert await store.swap(*this, b"2", None)
    assert await store.swap(*this, None, None)
    assert await store.kept(ALICE, "things") == []


async def test_what_is_kept_comes_back_latest_last_and_only_so_much_of_it(store: SqlStore) -> None:
    for name in ("a", "b", "a"):
        assert await store.keep(ALICE, "things", name, name.encode(), 2) == []
    assert await store.keep(ALICE, "things", "c", b"c", 2) == ["b"]
    assert [(k.name, k.data) for k in await store.kept(ALICE, "things")] == [("a", b"a"), ("c", b"c")]
    assert [k.data for k in await store.kept(ALICE, "things", "c")] == [b"c"]
    assert await store.kept(BOB, "things") == []
    assert await store.collections(ALICE) == ["things"]
    assert await store.discard(ALICE, "things", "a") == 1
    assert await store.discard(ALICE, "things") == 1
    assert await store.collections(ALICE) == []


async def test_a_deleted_person_takes_their_belongings_along(store: SqlStore, people: Accounts) -> None:
    await people.add(ALICE, "secret")
    await store.block(ALICE, ["eve@example.org"])
    await store.block(BOB, [str(ALICE)])
    await store.keep(ALICE, "things", "a", b"a", 1)
    await people.delete(ALICE)
    assert await store.blocklist(ALICE) == await store.blocklist(BOB) == []
    assert await store.collections(ALICE) == []


async def test_the_latest_of_many_people_is_found_at_once(store: SqlStore) -> None:
    for owner in (ALICE, BOB):
        for name in ("a", "b"):
            await store.keep(owner, "things", name, name.encode() + owner.local.encode(), 9)
    await store.keep(BOB, "others", "c", b"c", 9)
    latest = await store.latest([ALICE, BOB], ["things"])
    expected = {(ALICE, "things"): b"balice", (BOB, "things"): b"bbob"}
    assert {key: k.data for key, k in latest.items()} == expected
    named = await store.kept_by([ALICE, BOB], "things", ["a", "none"])
    assert {key: k.data for key, k in named.items()} == {(ALICE, "a"): b"aalice", (BOB, "a"): b"abob"}
    assert await store.latest([], ["things"]) == await store.kept_by([], "things", ["a"]) == {}
    assert await store.latest([BOB], ["things"]) == {(BOB, "things"): latest[BOB, "things"]}
    assert await store.latest([BOB], ["nothing"]) == await store.kept_by([BOB], "things", ["none"]) == {}
    assert await store.kept_by([BOB], "things", ["a"]) == {(BOB, "a"): named[BOB, "a"]}
    rows = 3 * ROW + len("a" + "b" + "c") + len("things" + "things" + "others")
    assert (await store.weight(BOB), await store.weight(Address("x", "y.z"))) == (9 + rows, 0)


async def test_who_asks_for_an_account_at_the_same_time_shares_one_look_up(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite+aiosqlite:///file:{tmp_path}/tandem.db?uri=true")  # asked in a thread
    await store.migrate()
    people = open_accounts(AccountSettings(), store)
    await people.add(ALICE, "secret")
    first, *others = await asyncio.gather(*(people.find(ALICE) for _ in range(8)))
    assert first is not None
    assert all(other is first for other in others)
    asked = asyncio.ensure_future(people.find(BOB))
    waiting = asyncio.ensure_future(people.find(BOB))
    await asyncio.sleep(0)
    asked.cancel()
    assert await waiting is None
    await store.close()
