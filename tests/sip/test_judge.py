"""Whether an answer to a challenge proves somebody, once; and what a challenge tells of others."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from presence.address import Address
from presence.edge.accounts.sql import SqlAccounts
from presence.edge.accounts.users_file import parse_users
from presence.edge.sql import SqlStore
from presence.memory import MemoryBus
from presence.service import PresenceService
from sip.digest import Verdict, answer, make_ha1
from sip.headers import Challenge, Credentials
from sip.judge import Judge
from sip.settings import SipSettings
from tests.sip.house import ALICE, BOB, DOMAIN, PASSWORD, Tally
from tests.support.stores import add_person, new_store

SECRET = b"s" * 32
NOW = 1_800_000_000.0


@dataclass
class Asked:
    """Implements `sip.digest.Signed`."""

    method: str = "PUT"
    uri: str = "/x"
    body: bytes = b""


class Doors:
    """Processes with one bus and one set of accounts."""

    def __init__(self, store: SqlStore, accounts: SqlAccounts) -> None:
        self.store = store
        self.accounts = accounts
        self.bus = MemoryBus(clock=lambda: NOW)

    def judge(self, node: str = "sip-1", life: str = "i1", *, shared: bool = True) -> Judge:
        service = PresenceService(
            node=node,
            incarnation=life,
            domains=frozenset({DOMAIN}),
            bus=self.bus,
            store=self.store,
            accounts=self.accounts,
            metrics=Tally(),
            clock=time.time,
        )
        metric = "login_failures_total"
        return Judge(SipSettings(), service, self.accounts, Tally(), metric, secret=SECRET, shared=shared)


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    store = await new_store(tmp_path / "tandem.db")
    accounts = SqlAccounts(store.database)
    await add_person(store, ALICE, PASSWORD)
    yield Doors(store, accounts)
    await store.close()


async def credentials(judge: Judge, password: str = PASSWORD, nc: int = 1) -> Credentials:
    challenge = Challenge.parse((await judge.challenges("", DOMAIN, NOW))[0])
    return given(challenge, password, nc)


def given(challenge: Challenge, password: str = PASSWORD, nc: int = 1) -> Credentials:
    return Credentials.parse(answer(challenge, "alice", "PUT", "/x", password=password, nc=nc))


async def verdict(judge: Judge, shown: Credentials) -> Verdict:
    _, found = await judge.judge(shown, Asked(), "192.0.2.1", NOW)
    return found


async def test_what_proves_somebody_proves_it_once_in_all_processes(doors: Doors) -> None:
    one, other = doors.judge("sip-1"), doors.judge("sip-2")
    captured = await credentials(one)
    # HTTP clients come back on another connection, and so to another process.
    assert await verdict(other, captured) is Verdict.OK
    assert await verdict(other, captured) is Verdict.STALE
    assert await verdict(one, captured) is Verdict.STALE


async def test_nor_again_after_a_restart(doors: Doors) -> None:
    captured = await credentials(doors.judge())
    assert await verdict(doors.judge(life="i1"), captured) is Verdict.OK
    assert await verdict(doors.judge(life="i2"), captured) is Verdict.STALE


async def test_whoever_took_a_nonce_takes_its_next_counts(doors: Doors) -> None:
    one, other = doors.judge("sip-1"), doors.judge("sip-2")
    challenge = Challenge.parse((await one.challenges("", DOMAIN, NOW))[0])
    assert await verdict(one, given(challenge, nc=1)) is Verdict.OK
    assert await verdict(one, given(challenge, nc=2)) is Verdict.OK
    assert await verdict(other, given(challenge, nc=3)) is Verdict.STALE


async def test_a_wrong_password_takes_no_nonce(doors: Doors) -> None:
    one, other = doors.judge("sip-1"), doors.judge("sip-2")
    challenge = Challenge.parse((await one.challenges("", DOMAIN, NOW))[0])
    assert await verdict(one, given(challenge, "wrong")) is Verdict.BAD
    assert await verdict(other, given(challenge)) is Verdict.OK


def algorithms(challenges: list[str]) -> list[str | None]:
    return [Challenge.parse(each).get("algorithm") for each in challenges]


async def test_everybody_is_asked_for_what_all_can_prove(doors: Doors) -> None:
    judge = doors.judge()
    assert algorithms(await judge.challenges("", DOMAIN, NOW)) == ["SHA-256", "MD5"]
    imported = parse_users(b"bob:900150983cd24fb0d6963f7d28e17f72:example.org:authorized").entries
    await doors.accounts.adopt(imported.values(), replace_known=False)
    assert algorithms(await judge.challenges("", DOMAIN, NOW)) == ["MD5"]
    await doors.accounts.set_password(BOB, PASSWORD)
    assert algorithms(await judge.challenges("", DOMAIN, NOW)) == ["SHA-256", "MD5"]


async def test_an_imported_account_has_all_when_it_has_shown_its_password(doors: Doors) -> None:
    line = f"carol:{make_ha1('MD5', 'carol', DOMAIN, PASSWORD)}:{DOMAIN}:authorized".encode()
    await doors.accounts.adopt(parse_users(line).entries.values(), replace_known=False)
    judge = doors.judge()
    assert algorithms(await judge.challenges("", DOMAIN, NOW)) == ["MD5"]
    carol = Address("carol", DOMAIN)
    assert not await doors.accounts.check_password(carol, "wrong")
    assert await doors.accounts.check_password(carol, PASSWORD)
    account = await doors.accounts.find(carol)
    assert account is not None
    assert account.ha1["SHA-256"] == make_ha1("SHA-256", "carol", DOMAIN, PASSWORD)
    assert algorithms(await judge.challenges("", DOMAIN, NOW)) == ["SHA-256", "MD5"]
