"""Phones whose accounts are kept elsewhere: responses that somebody else judges, and accounts without any
digest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from presence.address import Address
from presence.edge.accounts.borrowed import PLAIN, BorrowedAccounts, JudgedAccounts
from presence.errors import Unavailable
from presence.memory import MemoryBus
from presence.ports import Account, AccountChanged, DigestAlgorithm, DigestQuestion
from sip.digest import NonceKeeper, Verdict, answer, compute, make_ha1
from sip.headers import Challenge, Credentials
from sip.message import Request
from sip.uri import parse_uri
from tests.sip.house import ALICE, BOB, DOMAIN, PASSWORD, House, certify, open_house
from tests.support.inbox import PATIENCE
from tests.support.stores import new_store
from tests.support.waiting import until


class Judge:
    """Implements `JudgingKeeper`: knows alice's password, and counts what it is asked."""

    place = "elsewhere"
    tells_who = False
    mechanisms = PLAIN
    algorithms: tuple[DigestAlgorithm, ...] = (DigestAlgorithm.MD5,)

    def __init__(self) -> None:
        self.asked = 0
        self.reachable = True

    async def find(self, address: Address) -> Account | None:
        return None

    async def check_password(self, address: Address, password: str) -> bool:
        raise Unavailable("not asked in these tests")

    async def check_digest(self, address: Address, question: DigestQuestion) -> bool:
        self.asked += 1
        if not self.reachable:
            raise Unavailable("nobody answers")
        fields = {name: getattr(question, name) for name in ("nonce", "uri", "qop", "nc", "cnonce")}
        ha1 = make_ha1("MD5", question.username, DOMAIN, PASSWORD)
        return address == ALICE and question.response == compute(fields, "MD5", ha1, question.method)

    async def list(self) -> list[Account]:
        return []

    async def refresh(self, *, force: bool) -> Sequence[AccountChanged]:
        return ()

    async def close(self) -> None: ...


@asynccontextmanager
async def house_of(folder: Path, keeper: Judge, *, judged: bool = True) -> AsyncIterator[House]:
    store = await new_store(folder / "tandem.db")
    kind = JudgedAccounts if judged else BorrowedAccounts
    certify(folder)
    house = House(store, kind(keeper, store.database), MemoryBus(), folder)
    await house.start()
    try:
        yield house
    finally:
        await house.stop()
        await store.close()


async def test_the_right_response_registers_and_the_person_exists(tmp_path: Path) -> None:
    judge = Judge()
    async with house_of(tmp_path, judge) as house, house.phone(ALICE) as phone:
        assert await house.accounts.find(ALICE) is None
        assert (await phone.register()).status == 200
        assert judge.asked == 1
        assert await house.accounts.find(ALICE) is not None


async def test_nobody_is_asked_about_a_name_of_the_servers_own(tmp_path: Path) -> None:
    judge = Judge()
    async with house_of(tmp_path, judge) as house, house.phone(ALICE) as phone:
        house.accounts.reserved = frozenset({"alice"})
        assert (await phone.register()).status == 401
        assert judge.asked == 0


@pytest.mark.parametrize(("who", "password"), [(ALICE, "wrong"), (BOB, PASSWORD)])
async def test_a_wrong_response_is_challenged_again(tmp_path: Path, who: Address, password: str) -> None:
    async with house_of(tmp_path, Judge()) as house, house.phone(who, password=password) as phone:
        assert (await phone.register()).status == 401
        assert await house.accounts.find(who) is None


async def test_nobody_answering_is_500_with_a_time_to_try_again(tmp_path: Path) -> None:
    judge = Judge()
    judge.reachable = False
    async with house_of(tmp_path, judge) as house, house.phone(ALICE) as phone:
        answer = await phone.register()
        assert (answer.status, bool(answer["Retry-After"])) == (500, True)


async def test_a_disabled_person_is_not_even_asked_about(tmp_path: Path) -> None:
    judge = Judge()
    async with house_of(tmp_path, judge) as house, house.phone(ALICE) as phone:
        await house.accounts.set_enabled(ALICE, False)
        assert (await phone.register()).status == 401
        assert judge.asked == 0


async def test_without_any_digest_a_phone_is_told_so(tmp_path: Path) -> None:
    judge = Judge()
    judge.algorithms = ()
    async with house_of(tmp_path, judge, judged=False) as house, house.phone(ALICE) as phone:
        assert (await phone.register()).status == 403


async def test_a_shut_out_account_has_nothing_left(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house, house.phone(BOB) as phone:
        assert (await phone.register()).status == 200
        assert (await house.seen(BOB)).online
        await house.accounts.set_enabled(BOB, False)
        await house.bus.broadcast(AccountChanged(address=BOB, gone=True))

        async def nothing() -> bool:
            return not (await house.seen(BOB)).online and not await house.bus.endpoints(BOB, 0.0)

        await until("bob's phone is gone from the bus", nothing, PATIENCE)
        assert house.door is not None
        assert house.door.sessions() == []


def credentials_for(keeper: NonceKeeper, realm: str, now: float) -> tuple[Credentials, Request]:
    (challenge,) = keeper.challenges(["MD5"], realm, now)
    uri = parse_uri(f"sip:{DOMAIN}")
    text = answer(Challenge.parse(challenge), "alice", "REGISTER", str(uri), password=PASSWORD)
    return Credentials.parse(text), Request("REGISTER", uri)


def test_a_nonce_counts_as_used_only_when_its_response_was_right() -> None:
    keeper, now = NonceKeeper(b"s" * 32), 1_800_000_000.0
    given, request = credentials_for(keeper, DOMAIN, now)
    for _ in range(2):
        assert keeper.precheck(given, request, now) is Verdict.OK
    assert keeper.use(given, request, now) is Verdict.OK
    assert keeper.use(given, request, now) is Verdict.STALE


def test_nobody_is_asked_about_somebody_else_s_or_an_old_nonce() -> None:
    keeper, now = NonceKeeper(b"s" * 32), 1_800_000_000.0
    given, request = credentials_for(NonceKeeper(b"x" * 32), DOMAIN, now)
    assert keeper.precheck(given, request, now) is Verdict.STALE
    given, request = credentials_for(keeper, DOMAIN, now)
    assert keeper.precheck(given, request, now + 100_000) is Verdict.STALE
