"""presence.tokens: what becomes of a client's tokens as time passes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from presence.address import parse_address
from presence.edge.sql import SqlStore
from presence.ports import Account, ScramKeys
from presence.tokens import MAX_CLIENTS, Tokens, provable
from tests.support.stores import new_store

ALICE = parse_address("alice@example.org")
ACCOUNT = Account(address=ALICE, ha1={"MD5": "0" * 32})
DAY = 86_400.0


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    made = await new_store(tmp_path / "tandem.db")
    yield made
    await made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(store: SqlStore, clock: Clock) -> Tokens:
    return Tokens(store, clock)


async def issue(tokens: Tokens, shown: bytes, client: str = "c", account: Account = ACCOUNT) -> None:
    await tokens.issue(account, client, "HT", shown=shown, answer=b"a" + shown, seconds=10 * DAY)


async def good(tokens: Tokens, shown: bytes, client: str = "c", account: Account = ACCOUNT) -> bool:
    used = await tokens.check(account, ALICE, client, "HT", shown)
    assert used is None or used.token.answer == b"a" + shown
    return used is not None and not used.expired


async def test_a_token_is_right_until_it_expires(tokens: Tokens, clock: Clock) -> None:
    await issue(tokens, b"one")
    assert await good(tokens, b"one")
    assert not await good(tokens, b"two")
    clock.now += 10 * DAY
    used = await tokens.check(ACCOUNT, ALICE, "c", "HT", b"one")
    assert used is not None
    assert used.expired


async def test_a_token_is_due_for_another_after_a_day(tokens: Tokens, clock: Clock) -> None:
    await issue(tokens, b"one")
    used = await tokens.check(ACCOUNT, ALICE, "c", "HT", b"one")
    assert used is not None
    assert not tokens.due(used.token)
    clock.now += DAY
    assert tokens.due(used.token)


async def test_a_fresh_token_that_was_never_used_makes_way_for_the_next(tokens: Tokens) -> None:
    await issue(tokens, b"one")
    assert await good(tokens, b"one")
    await issue(tokens, b"lost on the way")
    await issue(tokens, b"three")
    assert not await good(tokens, b"lost on the way")
    assert await good(tokens, b"one")
    assert await good(tokens, b"three")
    assert not await good(tokens, b"one")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ACCOUNT, replace(ACCOUNT, ha1={"MD5": "1" * 32})),
        (replace(ACCOUNT, ha1={}, own_ha1="0" * 32), replace(ACCOUNT, ha1={}, own_ha1="1" * 32)),
        (replace(ACCOUNT, password="a"), replace(ACCOUNT, password="b")),
    ],
)
async def test_whatever_proves_the_password_changes_the_token_goes(
    tokens: Tokens, before: Account, after: Account
) -> None:
    await issue(tokens, b"one", account=before)
    assert await good(tokens, b"one", account=before)
    assert not await good(tokens, b"one", account=after)


async def test_keys_made_of_the_same_password_change_nothing(tokens: Tokens) -> None:
    await issue(tokens, b"one")
    keys = ScramKeys(salt=b"s", iterations=1, stored_key=b"k", server_key=b"s")
    assert await good(tokens, b"one", account=replace(ACCOUNT, scram={"SHA-256": keys}))
    assert not provable(Account(address=ALICE))


async def test_clients_have_their_own_and_there_are_not_too_many(
    tokens: Tokens, store: SqlStore, clock: Clock
) -> None:
    for number in range(MAX_CLIENTS + 2):
        clock.now += 1
        await issue(tokens, b"one", client=f"c{number}")
    assert not await good(tokens, b"one", client="c1")
    assert await good(tokens, b"one", client="c2")
    await tokens.forget(ALICE, "c2")
    assert not await good(tokens, b"one", client="c2")
    assert await good(tokens, b"one", client="c3")
    await store.drop_tokens(ALICE)
    assert not await good(tokens, b"one", client="c3")
