"""Accounts of a users.txt in SQL."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.edge.accounts.sql import Adopted, SqlAccounts
from presence.edge.accounts.users_file import parse_users, write_users
from presence.errors import Condition, Refused
from tests.support.buses import ALICE, BOB
from tests.support.stores import new_store

HA1 = hashlib.md5(b"Alice:example.org:wonderland").hexdigest()
FILE = f"Alice:{HA1}:example.org:authorized\nbob:builder:example.org:refused\n".encode()


@pytest.fixture
async def people(tmp_path: Path) -> AsyncIterator[SqlAccounts]:
    store = await new_store(tmp_path / "tandem.db")
    yield SqlAccounts(store.database)
    await store.close()


async def adopt(people: SqlAccounts, *, replace_known: bool = False) -> Adopted:
    return await people.adopt(parse_users(FILE).entries.values(), replace_known=replace_known)


async def test_imported_accounts_log_in_with_the_password_their_ha1_was_made_of(people: SqlAccounts) -> None:
    assert await adopt(people) == Adopted(added=2)
    assert await people.check_password(ALICE, "wonderland")
    assert not await people.check_password(ALICE, "other")
    account = await people.find(ALICE)
    assert account is not None
    assert account.ha1["MD5"] == HA1


async def test_a_refused_line_is_a_disabled_account(people: SqlAccounts) -> None:
    await adopt(people)
    account = await people.find(BOB)
    assert account is not None
    assert not account.enabled
    assert not await people.check_password(BOB, "builder")


async def test_scram_is_offered_when_the_password_was_shown_once(people: SqlAccounts) -> None:
    await adopt(people)
    assert "SCRAM-SHA-256" not in await people.offers(ALICE)
    assert "SCRAM-SHA-256" not in await people.offers(None)
    await people.check_password(ALICE, "wonderland")
    assert "SCRAM-SHA-256" in await people.offers(ALICE)


async def test_without_imported_accounts_scram_is_offered_to_all(people: SqlAccounts) -> None:
    await people.add(ALICE, "wonderland")
    assert (
        await people.offers(ALICE)
        == await people.offers(BOB)
        == await people.offers(None)
        == people.mechanisms
    )


async def test_known_accounts_are_kept_or_replaced_as_asked(people: SqlAccounts) -> None:
    await people.add(ALICE, "own password")
    assert await adopt(people) == Adopted(added=1, kept=1)
    assert await people.check_password(ALICE, "own password")
    assert await adopt(people, replace_known=True) == Adopted(replaced=2)
    assert await people.check_password(ALICE, "wonderland")


async def test_a_new_password_leaves_nothing_of_the_import(people: SqlAccounts) -> None:
    await adopt(people)
    await people.check_password(ALICE, "wonderland")
    await people.set_password(ALICE, "new")
    account = await people.find(ALICE)
    assert account is not None
    assert (account.own_ha1, account.spelling, sorted(account.ha1)) == ("", "", ["MD5", "SHA-256"])
    assert await people.check_password(ALICE, "new")
    assert not await people.check_password(ALICE, "wonderland")


async def test_what_was_imported_is_exported_as_it_was(people: SqlAccounts) -> None:
    await adopt(people)
    lines = list(write_users(await people.list()))
    assert lines[0] == f"Alice:{HA1}:example.org:authorized"
    assert lines[1].endswith(":example.org:refused")


async def test_disabling_keeps_out_and_enabling_lets_in(people: SqlAccounts) -> None:
    await people.add(ALICE, "wonderland")
    await people.set_enabled(ALICE, False)
    assert not await people.check_password(ALICE, "wonderland")
    await people.set_enabled(ALICE, True)
    assert await people.check_password(ALICE, "wonderland")
    with pytest.raises(Refused) as caught:
        await people.set_enabled(BOB, False)
    assert caught.value.condition is Condition.ITEM_NOT_FOUND


async def test_names_of_the_servers_own_have_no_account(people: SqlAccounts) -> None:
    await people.add(ALICE, "wonderland")
    people.reserved = frozenset({"alice"})
    people.forget(ALICE)
    assert await people.find(ALICE) is None
    assert not await people.check_password(ALICE, "wonderland")
    assert await people.offers(ALICE) == await people.offers(None)
    with pytest.raises(Refused) as caught:
        await people.add(ALICE, "wonderland")
    assert caught.value.condition is Condition.CONFLICT
    assert await adopt(people, replace_known=True) == Adopted(added=1, left_out=1)
