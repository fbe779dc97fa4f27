"""Failed logins, counted over all processes on a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from presence.edge.guard import RedisGuard
from presence.edge.redis import RedisBus
from presence.errors import Unavailable
from presence.guarding import Exempt, GuardRules, Windows, ban_after, delay_after, network_of
from presence.ports import Ban
from tests.support.buses import Clock

RULES = GuardRules(window=600, per_login=4, per_network=8, per_account=8, first_ban=30.0, longest_ban=100.0)
HOME, OFFICE, ELSEWHERE = "192.0.2.1", "192.0.2.2", "203.0.113.3"
ALICE = "alice@example.org"


class Counted:
    def __init__(self) -> None:
        self.counts: dict[str, float] = {}

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        key = f"{name} {' '.join(labels.values())}"
        self.counts[key] = self.counts.get(key, 0) + amount

    def gauge(self, name: str, value: float, /, **labels: str) -> None: ...


class Yard:
    """Guards of several processes, one clock, and how long each made somebody wait."""

    def __init__(self, bus: RedisBus) -> None:
        self.bus = bus
        self.clock = Clock()
        self.slept: list[float] = []
        self.metrics = Counted()

    def guard(self, exempt: tuple[str, ...] = ()) -> RedisGuard:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        return RedisGuard(self.bus, RULES, exempt, clock=self.clock, metrics=self.metrics, sleep=sleep)


async def fail(guard: RedisGuard, peer: str, account: str, times: int) -> None:
    for _ in range(times):
        await guard.failed(peer, account)


@pytest.fixture
async def yard(valkey: str) -> AsyncIterator[Yard]:
    async with await RedisBus.connect(valkey, name="guard") as bus:
        await bus.command("FLUSHALL")
        yield Yard(bus)


async def test_one_account_is_banned_from_one_network_in_every_process(yard: Yard) -> None:
    one, other = yard.guard(), yard.guard()
    await fail(one, HOME, ALICE, 3)
    assert await other.wait(HOME, ALICE) == 0
    yard.clock.now += 2
    await fail(other, HOME, ALICE, 1)
    yard.clock.now += 2
    assert await one.wait(HOME, ALICE) == 28
    assert await one.wait(OFFICE, ALICE) == 0
    assert await one.wait(HOME, "bob@example.org") == 0
    assert yard.metrics.counts == {"login_bans_total login": 1}


async def test_bans_double_and_end(yard: Yard) -> None:
    guard = yard.guard()
    await fail(guard, HOME, ALICE, 5)
    assert await guard.wait(HOME, ALICE) == 60
    yard.clock.now += 61
    assert await guard.wait(HOME, ALICE) == 0
    assert await guard.bans() == []


async def test_guessing_at_many_accounts_bans_the_network(yard: Yard) -> None:
    guard = yard.guard()
    for number in range(8):
        await guard.failed(HOME, f"user{number}@example.org")
    assert await guard.wait(HOME, "somebody@example.org") == 30
    assert await guard.wait(OFFICE, "somebody@example.org") == 0


async def test_a_phone_with_an_old_password_does_not_ban_its_office(yard: Yard) -> None:
    guard = yard.guard()
    await fail(guard, OFFICE, ALICE, 50)
    assert await guard.wait(OFFICE, "bob@example.org") == 0
    assert await guard.wait(OFFICE, ALICE) > 0


async def test_guesses_from_everywhere_keep_out_strangers_only(yard: Yard) -> None:
    guard = yard.guard()
    await guard.succeeded(HOME, ALICE)
    for number in range(8):
        await guard.failed(f"198.51.100.{number}", ALICE)
    assert await guard.wait(ELSEWHERE, ALICE) == 30
    assert await guard.wait(HOME, ALICE) == 0


async def test_a_right_password_forgives_what_came_before(yard: Yard) -> None:
    guard = yard.guard()
    await guard.succeeded(HOME, ALICE)
    for _ in range(2):
        await fail(guard, HOME, ALICE, 3)
        await guard.succeeded(HOME, ALICE)
    assert await guard.wait(HOME, ALICE) == 0


async def test_answers_come_later_and_later(yard: Yard) -> None:
    await fail(yard.guard(), HOME, ALICE, 9)
    assert yard.slept == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


async def test_exempt_networks_are_left_alone(yard: Yard) -> None:
    guard = yard.guard(exempt=("192.0.2.0/24",))
    await fail(guard, HOME, ALICE, 50)
    await fail(guard, f"::ffff:{HOME}", ALICE, 50)
    assert await guard.wait(HOME, ALICE) == 0
    assert (yard.slept, await guard.bans()) == ([], [])


async def test_bans_are_listed_and_lifted_by_network_or_account(yard: Yard) -> None:
    guard = yard.guard()
    await fail(guard, HOME, ALICE, 4)
    await fail(guard, OFFICE, "bob@example.org", 4)
    now = yard.clock.now
    assert await guard.bans() == [
        Ban(kind="login", name=f"{OFFICE} bob@example.org", until=now + 30),
        Ban(kind="login", name=f"{HOME} {ALICE}", until=now + 30),
    ]
    assert await guard.lift(ALICE) == 1
    assert await guard.lift(OFFICE) == 1
    assert await guard.lift(ALICE) == 0
    yard.clock.now += 2
    assert await yard.guard().wait(HOME, ALICE) == 0


async def test_everything_kept_of_failures_expires(yard: Yard) -> None:
    guard = yard.guard()
    await fail(guard, HOME, ALICE, 8)
    await guard.succeeded(HOME, ALICE)
    keys = await yard.bus.command("KEYS", "t:guard:*")
    assert keys
    for key in keys:
        assert await yard.bus.command("TTL", key) > 0, key


class Coming:
    """Redis as it comes and goes."""

    def __init__(self, bus: RedisBus) -> None:
        self.bus = bus
        self.there = True
        self.asked_in_vain = 0

    async def command(self, *words: bytes | str | int | float) -> Any:
        if not self.there:
            self.asked_in_vain += 1
            raise Unavailable("no bus")
        return await self.bus.command(*words)


def lonely(yard: Yard) -> tuple[RedisGuard, Coming]:
    async def sleep(seconds: float) -> None:
        yard.slept.append(seconds)

    coming = Coming(yard.bus)
    return RedisGuard(coming, RULES, (), clock=yard.clock, metrics=yard.metrics, sleep=sleep), coming


async def test_without_a_bus_each_process_counts_for_itself(yard: Yard) -> None:
    guard, coming = lonely(yard)
    coming.there = False
    await fail(guard, HOME, ALICE, 3)
    await guard.succeeded(OFFICE, ALICE)
    assert await guard.wait(HOME, ALICE) == 0
    await fail(guard, HOME, ALICE, 1)
    assert yard.slept == [0.25, 0.5]
    assert coming.asked_in_vain == 1  # each question may take seconds
    assert await guard.wait(HOME, ALICE) == 30
    assert await guard.wait(OFFICE, ALICE) == 0
    yard.clock.now += 31
    assert await guard.wait(HOME, ALICE) == 0
    with pytest.raises(Unavailable):
        await guard.bans()


async def test_without_a_bus_an_account_under_attack_keeps_nobody_out(yard: Yard) -> None:
    """Nobody can say any more who knows its password."""
    guard, coming = lonely(yard)
    coming.there = False
    for number in range(8):
        await guard.failed(f"198.51.100.{number}", ALICE)
    assert await guard.wait(ELSEWHERE, ALICE) == 0


async def test_bans_outlast_the_bus_and_the_bus_comes_back(yard: Yard) -> None:
    guard, coming = lonely(yard)
    await fail(yard.guard(), HOME, ALICE, 4)
    assert await guard.wait(HOME, ALICE) == 30
    coming.there = False
    yard.clock.now += 10
    assert await guard.wait(HOME, ALICE) == 20
    coming.there = True
    await yard.guard().lift(HOME)
    yard.clock.now += 2
    assert await guard.wait(HOME, ALICE) == 0


async def test_without_a_bus_what_a_network_may_do_so_often_is_counted_here(yard: Yard) -> None:
    guard, coming = lonely(yard)
    coming.there = False
    assert [await guard.admits("register", HOME, 2, 3600) for _ in range(3)] == [0, 0, 3600]
    yard.clock.now += 600
    assert await guard.admits("register", HOME, 2, 3600) == 3000
    assert await guard.admits("register", OFFICE, 2, 3600) == 0
    yard.clock.now += 3001
    assert await guard.admits("register", HOME, 2, 3600) == 0


def test_windows_are_bounded_and_forget_what_is_over_first() -> None:
    windows = Windows(capacity=10)
    for number in range(9):
        windows.add(f"old {number}", 0.0, 5.0)
    windows.add("young", 1.0, 100.0)
    for number in range(9):
        windows.add(f"new {number}", 6.0, 100.0)
    assert windows.add("young", 6.0, 100.0) == (2, 95.0)
    for number in range(100):
        windows.add(f"flood {number}", 7.0, 100.0)
        assert len(windows._counts) <= 10


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("64:ff9b::192.0.2.7", "192.0.2.7"),
        ("2002:c000:207:5::9", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("somewhere", "somewhere"),
    ],
)
def test_networks_are_what_one_peer_can_change_within(host: str, network: str) -> None:
    assert network_of(host) == network


def test_the_first_failures_are_answered_at_once() -> None:
    assert [delay_after(n) for n in range(4)] == [0.0, 0.0, 0.0, 0.25]
    assert delay_after(10_000) == 5.0


@pytest.mark.parametrize(
    ("failures", "seconds"), [(9, 0.0), (10, 30.0), (11, 60.0), (12, 100.0), (99, 100.0)]
)
def test_bans_double_up_to_the_longest(failures: int, seconds: float) -> None:
    assert ban_after(failures, 10, RULES) == seconds


def test_what_is_no_network_cannot_be_exempt() -> None:
    wrong: Callable[[], Exempt] = lambda: Exempt(["example.org"])  # noqa: E731
    with pytest.raises(ValueError, match=r"example\.org"):
        wrong()
    assert "not an address" not in Exempt(["::1/128"])
