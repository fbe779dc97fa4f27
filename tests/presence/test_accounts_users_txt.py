"""A reTurn users.txt: what a line says, how the file is reloaded, what it lets people prove."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.address import Address
from presence.edge.accounts.borrowed import CACHE_SECONDS, BorrowedAccounts
from presence.edge.accounts.proofs import matches
from presence.edge.accounts.settings import UsersTxtSettings
from presence.edge.accounts.users_file import Entry, Problem, parse_users, write_users
from presence.edge.accounts.users_txt import LOOK_EVERY, UsersTxt
from presence.edge.sql import SqlStore
from presence.errors import Condition, Refused, Unavailable
from presence.ports import AccountChanged, DigestAlgorithm
from tests.support.buses import ALICE, BOB, CAROL, Clock
from tests.support.stores import new_store

DOMAIN = "example.org"


def md5(text: str, encoding: str = "utf-8") -> str:
    return hashlib.md5(text.encode(encoding)).hexdigest()


ALICE_HA1 = md5(f"alice:{DOMAIN}:wonderland")


def entry(line: str, **options: object) -> Entry:
    parsed = parse_users(line.encode(), **options)  # type: ignore[arg-type]
    assert not parsed.problems
    (found,) = parsed.entries.values()
    return found


# --- lines ------------------------------------------------------------------------------------------


def test_a_password_and_an_ha1_are_told_apart() -> None:
    plain = entry(f"alice:wonderland:{DOMAIN}:authorized")
    hashed = entry(f"alice:{ALICE_HA1.upper()}:{DOMAIN}:authorized")
    assert (plain.password, plain.ha1) == ("wonderland", "")
    assert (hashed.password, hashed.ha1) == ("", ALICE_HA1)


def test_an_htdigest_file_has_the_ha1_in_the_third_column() -> None:
    for line in (f"alice:{DOMAIN}:{ALICE_HA1}", f"alice:{DOMAIN}:{ALICE_HA1}:refused"):
        found = entry(line)
        assert (found.address, found.realm, found.ha1) == (ALICE, DOMAIN, ALICE_HA1)
    assert not found.enabled


def test_a_password_that_looks_like_an_ha1_is_one_only_if_the_setting_says_so() -> None:
    line = f"alice:{ALICE_HA1}:{DOMAIN}:authorized"
    assert entry(line, secrets="plain").password == ALICE_HA1
    assert entry(line, secrets="ha1").ha1 == ALICE_HA1
    assert parse_users(f"alice:pw:{DOMAIN}:authorized".encode(), secrets="ha1").broken == 1


def test_a_password_may_contain_colons() -> None:
    assert entry(f"alice:a:b::c:{DOMAIN}:authorized").password == "a:b::c"


@pytest.mark.parametrize(
    ("state", "enabled"), [("authorized", True), ("Restricted", True), ("REFUSED", False), ("", True)]
)
def test_only_refused_keeps_out(state: str, enabled: bool) -> None:
    assert entry(f"alice:wonderland:{DOMAIN}:{state}").enabled is enabled


def test_broken_lines_are_named_by_number_and_cost_only_themselves() -> None:
    text = f"""# users
alice:{ALICE_HA1}:{DOMAIN}:authorized
bob:builder
:nobody:{DOMAIN}:authorized

carol:pw:{DOMAIN}:perhaps
a b:pw:{DOMAIN}:authorized
ALICE:again:{DOMAIN}:authorized
carol:pw:{DOMAIN}:authorized
"""
    parsed = parse_users(text.encode())
    assert sorted(parsed.entries) == [ALICE, CAROL]
    assert [problem.line for problem in parsed.problems] == [3, 4, 6, 7, 8]
    assert parsed.problems[0] == Problem(3, "login:password:realm:state is wanted")
    assert not any("builder" in problem.text or "pw" in problem.text for problem in parsed.problems)


def test_windows_line_ends_and_a_byte_order_mark_are_no_trouble() -> None:
    parsed = parse_users(b"\xef\xbb\xbf" + f"alice:pw:{DOMAIN}:authorized\r\n".encode())
    assert parsed.entries[ALICE].password == "pw"


def test_nothing_secret_shows_in_a_repr() -> None:
    assert ALICE_HA1 not in repr(entry(f"alice:{ALICE_HA1}:{DOMAIN}:authorized"))
    plain = entry(f"alice:wonderland:{DOMAIN}:authorized")
    assert "wonderland" not in repr(plain)
    assert repr(plain.account()) == f"Account(alice@{DOMAIN})"


def test_another_realm_s_ha1_proves_passwords_but_no_digest() -> None:
    account = entry(f"alice:{ALICE_HA1}:turn:authorized", domains={"turn": DOMAIN}).account()
    assert (account.address, account.ha1, account.own_ha1) == (ALICE, {}, ALICE_HA1)


def test_an_export_reads_back_as_the_same_accounts() -> None:
    text = f"Alice:{ALICE_HA1}:{DOMAIN}:authorized\nbob:{ALICE_HA1}:{DOMAIN}:refused\n"
    accounts = [found.account() for found in parse_users(text.encode()).entries.values()]
    assert "".join(f"{line}\n" for line in write_users(accounts)) == text


def test_fifty_thousand_lines_are_all_read() -> None:
    text = "".join(f"user{n}:{ALICE_HA1}:{DOMAIN}:authorized\n" for n in range(50_000))
    assert len(parse_users(text.encode()).entries) == 50_000


# --- the file -----------------------------------------------------------------------------------------


class House:
    """A file, a store, and a clock that both backends go by."""

    def __init__(self, folder: Path, store: SqlStore) -> None:
        self.path = folder / "users.txt"
        self.store = store
        self.clock = Clock(1000.0)
        self._written = time.time_ns()

    def write(self, *lines: str) -> None:
        fresh = self.path.with_name("new")
        fresh.write_text("".join(f"{line}\n" for line in lines))
        self._written += 1_000_000_000
        os.utime(fresh, ns=(self._written, self._written))
        fresh.replace(self.path)

    def open(self, **settings: object) -> BorrowedAccounts:
        chosen = UsersTxtSettings(file=self.path, **settings)  # type: ignore[arg-type]
        return BorrowedAccounts(UsersTxt(chosen, self.clock), self.store.database, self.clock)

    def later(self, seconds: float = LOOK_EVERY + 0.1) -> None:
        self.clock.now += seconds


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    store = await new_store(tmp_path / "tandem.db")
    yield House(tmp_path, store)
    await store.close()


async def test_a_change_is_taken_over_when_the_file_has_settled(house: House) -> None:
    house.write(f"alice:wonderland:{DOMAIN}:authorized")
    people = house.open()
    assert await people.check_password(ALICE, "wonderland")
    house.write(f"alice:looking-glass:{DOMAIN}:authorized", f"bob:builder:{DOMAIN}:authorized")
    house.later()
    assert await people.check_password(ALICE, "wonderland"), "it may still be being written"
    house.later()
    assert await people.check_password(ALICE, "looking-glass")
    assert await people.check_password(BOB, "builder")


async def test_names_of_the_servers_own_have_no_account(house: House) -> None:
    house.write(f"alice:wonderland:{DOMAIN}:authorized", f"bob:builder:{DOMAIN}:authorized")
    people = house.open()
    people.reserved = frozenset({"alice"})
    assert await people.find(ALICE) is None
    assert not await people.check_password(ALICE, "wonderland")
    assert await people.check_password(BOB, "builder")


async def test_a_reload_takes_it_over_at_once(house: House) -> None:
    house.write(f"alice:wonderland:{DOMAIN}:authorized")
    people = house.open()
    assert await people.find(BOB) is None
    house.write(f"alice:wonderland:{DOMAIN}:authorized", f"bob:builder:{DOMAIN}:authorized")
    await people.refresh(force=True)
    assert await people.find(BOB) is not None


async def test_a_file_that_is_gone_for_a_while_changes_nothing(house: House) -> None:
    house.write(f"alice:wonderland:{DOMAIN}:authorized")
    people = house.open()
    assert await people.find(ALICE) is not None
    house.path.unlink()
    for _ in range(3):
        house.later(CACHE_SECONDS + 1)
        assert await people.find(ALICE) is not None


async def test_without_any_file_nothing_is_known_about_passwords(house: House) -> None:
    with pytest.raises(Unavailable):
        await house.open().check_password(ALICE, "wonderland")


async def test_who_loses_their_place_is_told_once(house: House) -> None:
    house.write(*(f"{name}:pw:{DOMAIN}:authorized" for name in ("alice", "bob", "carol")))
    people = house.open()
    await people.find(ALICE)
    house.write(f"alice:pw:{DOMAIN}:authorized", f"bob:pw:{DOMAIN}:refused")
    assert await changed(house, people) == [
        AccountChanged(address=BOB, gone=True),
        AccountChanged(address=CAROL, gone=True),
    ]


async def changed(house: House, people: BorrowedAccounts) -> list[AccountChanged]:
    found: list[AccountChanged] = []
    for _ in range(4):
        house.later()
        found += await people.refresh()
    return sorted(found, key=lambda change: change.address)


async def test_who_has_another_password_is_told_of_and_the_old_one_is_wrong_at_once(house: House) -> None:
    house.write(f"alice:wonderland:{DOMAIN}:authorized", f"bob:pw:{DOMAIN}:authorized")
    people = house.open()
    assert await people.find(BOB)
    house.write(f"alice:{ALICE_HA1}:{DOMAIN}:authorized", f"bob:other:{DOMAIN}:authorized")
    assert await changed(house, people) == [AccountChanged(address=BOB, renewed=True)]
    bob = await people.find(BOB)
    assert bob is not None
    assert bob.password == "other"


async def test_a_refused_account_is_disabled_whatever_is_noted_here(house: House) -> None:
    house.write(f"alice:pw:{DOMAIN}:refused")
    people = house.open()
    await people.set_enabled(ALICE, True)
    account = await people.find(ALICE)
    assert account is not None
    assert not account.enabled


# --- what an account proves ---------------------------------------------------------------------------


async def test_from_an_ha1_follow_plain_and_md5_only(house: House) -> None:
    house.write(f"alice:{ALICE_HA1}:{DOMAIN}:authorized")
    people = house.open()
    account = await people.find(ALICE)
    assert account is not None
    assert (account.ha1, account.scram) == ({"MD5": ALICE_HA1}, {})
    assert await people.offers(ALICE) == await people.offers(BOB) == await people.offers(None)
    assert "SCRAM-SHA-1" not in await people.offers(ALICE)
    assert await people.digests() == (DigestAlgorithm.MD5,)


async def test_from_plain_passwords_follows_sha_256_too(house: House) -> None:
    house.write(f"alice:wonderland:{DOMAIN}:authorized")
    people = house.open()
    account = await people.find(ALICE)
    assert account is not None
    assert account.ha1["MD5"] == ALICE_HA1
    assert account.ha1["SHA-256"] == hashlib.sha256(f"alice:{DOMAIN}:wonderland".encode()).hexdigest()
    assert await people.digests() == (DigestAlgorithm.SHA256, DigestAlgorithm.MD5)


async def test_plain_is_checked_with_the_spelling_the_ha1_was_made_with(house: House) -> None:
    house.write(f"Alice:{md5('Alice:Turn:wonderland')}:Turn:authorized")
    people = house.open(domains={"Turn": DOMAIN})
    assert await people.check_password(ALICE, "wonderland")
    assert not await people.check_password(ALICE, "Wonderland")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
async def test_an_ha1_of_either_encoding_proves_the_password(house: House, encoding: str) -> None:
    house.write(f"alice:{md5(f'alice:{DOMAIN}:Grüße', encoding)}:{DOMAIN}:authorized")
    people = house.open()
    assert await people.check_password(ALICE, "Grüße")
    assert not await people.check_password(ALICE, "Gr??e")
    assert not await people.check_password(ALICE, "Gr€€e")


async def test_what_latin_1_cannot_write_matches_no_question_marks(house: House) -> None:
    house.write(f"alice:{md5(f'alice:{DOMAIN}:?')}:{DOMAIN}:authorized")
    assert not await house.open().check_password(ALICE, "€")


async def test_the_first_plain_login_makes_scram_keys(house: House) -> None:
    house.write(f"alice:{ALICE_HA1}:{DOMAIN}:authorized")
    people = house.open()
    assert not await people.check_password(ALICE, "wrong")
    assert "SCRAM-SHA-256" not in await people.offers(ALICE)
    assert await people.check_password(ALICE, "wonderland")
    account = await people.find(ALICE)
    assert account is not None
    for name in ("SHA-1", "SHA-256"):
        assert matches("wonderland", account.scram[name], name)
    assert {"SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN"} <= await people.offers(ALICE)
    assert "SCRAM-SHA-256" not in await people.offers(None)


async def test_keys_made_from_another_ha1_count_for_nothing(house: House) -> None:
    house.write(f"alice:{ALICE_HA1}:{DOMAIN}:authorized")
    await house.open().check_password(ALICE, "wonderland")
    house.write(f"alice:{md5(f'alice:{DOMAIN}:new')}:{DOMAIN}:authorized")
    people = house.open()
    account = await people.find(ALICE)
    assert account is not None
    assert account.scram == {}
    assert await people.check_password(ALICE, "new")
    account = await people.find(ALICE)
    assert account is not None
    assert matches("new", account.scram["SHA-256"], "SHA-256")


async def test_an_unknown_user_is_refused_and_leaves_no_trace(house: House) -> None:
    house.write(f"alice:{ALICE_HA1}:{DOMAIN}:authorized")
    people = house.open()
    assert not await people.check_password(Address("mallory", DOMAIN), "wonderland")
    assert [account.address for account in await people.list()] == [ALICE]


async def test_disabling_and_first_xmpp_login_are_remembered_beside_the_file(house: House) -> None:
    house.write(f"alice:{ALICE_HA1}:{DOMAIN}:authorized")
    people = house.open()
    await people.seen_on_xmpp(ALICE)
    await people.set_enabled(ALICE, False)
    account = await house.open().find(ALICE)
    assert account is not None
    assert (account.enabled, account.phone_only) == (False, False)
    await people.set_enabled(ALICE, True)
    assert (await people.list())[0].enabled


async def test_what_is_the_file_s_to_change_is_refused(house: House) -> None:
    house.write(f"alice:{ALICE_HA1}:{DOMAIN}:authorized")
    people = house.open()
    for refused in (people.set_password(ALICE, "x"), people.add(BOB, "x"), people.delete(ALICE)):
        with pytest.raises(Refused) as caught:
            await refused
        assert caught.value.condition is Condition.NOT_ALLOWED
    with pytest.raises(Refused) as caught:
        await people.set_enabled(BOB, False)
    assert caught.value.condition is Condition.ITEM_NOT_FOUND


async def test_processes_that_note_the_same_person_at_once_agree(house: House) -> None:
    house.write(f"alice:{ALICE_HA1}:{DOMAIN}:authorized")
    processes = [house.open() for _ in range(4)]
    await asyncio.gather(*(people.seen_on_xmpp(ALICE) for people in processes))
    await asyncio.gather(*(people.check_password(ALICE, "wonderland") for people in processes))
    account = await house.open().find(ALICE)
    assert account is not None
    assert not account.phone_only
    assert matches("wonderland", account.scram["SHA-1"], "SHA-1")
