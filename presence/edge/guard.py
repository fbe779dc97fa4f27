"""Failed logins, counted over all processes in Redis (`presence.guarding` has the rules).

Every key expires; how many there are is bounded by how many failures a network may have. Each process keeps
a copy of the bans, not older than a second, so that a login costs no round trip.

While Redis is away each process counts for itself, by the same rules, and the bans it knows of go on: people
get in, and nobody guesses any faster than the processes are many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog

from presence.errors import Unavailable
from presence.guarding import (
    NOTED_PER_ACCOUNT,
    Exempt,
    GuardRules,
    Windows,
    ban_after,
    delay_after,
    network_of,
)
from presence.ports import Ban, Metrics

log = structlog.get_logger()

BANS = "t:guard:bans"
FRESH = 1.0
"Seconds a copy of the bans is good for."
SHOWN = 10_000
"Bans a process copies."
KNOWN_SECONDS = 30 * 86_400
"How long a network is remembered to know an account's password."
REMEMBERED = 50_000
MAX_DELAYED = 1000
"Answers that are delayed at once; what comes beyond is answered at once."


class Commands(Protocol):
    """The part of `RedisBus` needed here."""

    async def command(self, *words: bytes | str | int | float) -> Any:
        """One command. Raises `Unavailable`."""


class RedisGuard:
    """Implements `presence.ports.Guard`."""

    def __init__(
        self,
        commands: Commands,
        rules: GuardRules,
        exempt: Sequence[str],
        *,
        clock: Callable[[], float],
        metrics: Metrics,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`exempt`: networks never guarded. `clock`: Unix seconds."""
        self._commands = commands
        self._rules = rules
        self._exempt = Exempt(exempt)
        self._clock = clock
        self._metrics = metrics
        self._sleep = sleep
        self._bans: dict[str, float] = {}
        self._copied = float("-inf")
        self._known: set[tuple[str, str]] = set()
        "(network, account) this process has told Redis about."
        self._delayed = 0
        self._alone = Windows()
        "What is counted while Redis is away."
        self._away = float("-inf")
        "Until when it is not asked again: each question takes seconds then."

    async def _ask(self, *words: bytes | str | int | float) -> Any:
        """Raises `Unavailable`, after some seconds only once in a while."""
        if self._clock() < self._away:
            raise Unavailable("the bus was not there just now")
        try:
            return await self._commands.command(*words)
        except Unavailable:
            self._away = self._clock() + FRESH
            raise

    async def wait(self, peer: str, account: str) -> float:
        if peer in self._exempt:
            return 0.0
        now = self._clock()
        if not self._bans and now - self._copied < FRESH:
            return 0.0
        network = network_of(peer)
        with suppress(Unavailable):
            await self._copy(now)
        until = max(
            self._bans.get(f"network {network}", 0.0), self._bans.get(f"login {network} {account}", 0.0)
        )
        everywhere = self._bans.get(f"account {account}", 0.0)
        if everywhere > until and not await self._may_know(network, account):
            until = everywhere
        return max(0.0, until - now)

    async def failed(self, peer: str, account: str) -> None:
        if peer in self._exempt:
            return
        network = network_of(peer)
        self._known.discard((network, account))
        failures = await self._count(network, account)
        delay = delay_after(failures)
        if delay and self._delayed < MAX_DELAYED:
            self._delayed += 1
            try:
                await self._sleep(delay)
            finally:
                self._delayed -= 1

    async def _count(self, network: str, account: str) -> int:
        rules = self._rules
        failures = await self._add(f"login {network} {account}")
        await self._ban(f"login {network} {account}", ban_after(failures, rules.per_login, rules))
        if failures <= NOTED_PER_ACCOUNT:
            tried = await self._add(f"network {network}")
            await self._ban(f"network {network}", ban_after(tried, rules.per_network, rules))
        suffered = await self._add(f"account {account}")
        await self._ban(f"account {account}", ban_after(suffered, rules.per_account, rules))
        return failures

    async def _add(self, name: str) -> int:
        key = f"t:guard:{name}"
        try:
            count = int(await self._ask("INCR", key))
            await self._ask("EXPIRE", key, self._rules.window)
        except Unavailable:
            count, _ = self._alone.add(name, self._clock(), self._rules.window)
        return count

    async def _ban(self, name: str, seconds: float) -> None:
        if not seconds:
            return
        now = self._clock()
        until = now + seconds
        with suppress(Unavailable):
            await self._ask("ZADD", BANS, "GT", until, name)
            await self._ask("EXPIRE", BANS, int(self._rules.longest_ban) + 60)
        if len(self._bans) >= SHOWN:
            self._bans = {each: end for each, end in self._bans.items() if end > now}
        self._bans[name] = max(until, self._bans.get(name, 0.0))
        self._metrics.count("login_bans_total", kind=name.partition(" ")[0])
        log.warning("login_banned", who=name, seconds=round(seconds))

    async def succeeded(self, peer: str, account: str) -> None:
        if peer in self._exempt:
            return
        network = network_of(peer)
        if (network, account) in self._known:
            return  # nearly always: a phone proves itself with every request
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known.add((network, account))
        try:
            await self._ask("SET", f"t:guard:known {network} {account}", "1", "EX", KNOWN_SECONDS)
            await self._ask("DEL", f"t:guard:login {network} {account}")
        except Unavailable:
            self._known.discard((network, account))

    async def admits(self, what: str, peer: str, most: int, seconds: int) -> float:
        """See `presence.ports.Guard.admits`."""
        if peer in self._exempt:
            return 0.0
        name = f"{what} {network_of(peer)}"
        try:
            count, left = await self._within(f"t:guard:{name}", most, seconds)
        except Unavailable:
            count, left = self._alone.add(name, self._clock(), seconds)
        if count <= most:
            return 0.0
        log.info("network_slowed", what=what, network=network_of(peer), count=count)
        return max(1.0, left)

    async def _within(self, key: str, most: int, seconds: int) -> tuple[int, float]:
        """How often so far, and the seconds until it is counted anew, if it was too often."""
        count = int(await self._ask("INCR", key))
        if count == 1:
            await self._ask("EXPIRE", key, seconds)
        if count <= most:
            return count, 0.0
        left = int(await self._ask("TTL", key))
        if left < 0:  # a process died between the two
            await self._ask("EXPIRE", key, seconds)
        return count, float(left)

    async def _may_know(self, network: str, account: str) -> bool:
        """It has shown the account's password; also where nobody can say."""
        try:
            return bool(await self._ask("EXISTS", f"t:guard:known {network} {account}"))
        except Unavailable:
            return True

    async def _copy(self, now: float) -> None:
        if now - self._copied < FRESH:
            return
        self._copied = now
        await self._ask("ZREMRANGEBYSCORE", BANS, "-inf", now)
        words = await self._ask("ZRANGE", BANS, 0, SHOWN - 1, "REV", "WITHSCORES")
        pairs = zip(words[::2], words[1::2], strict=True)
        self._bans = {name.decode(): float(until) for name, until in pairs}

    async def bans(self) -> list[Ban]:
        """Those in force, the longest first. Unlike the others, it raises `Unavailable`."""
        self._copied = self._away = float("-inf")
        await self._copy(self._clock())
        found = [(*name.partition(" ")[::2], until) for name, until in self._bans.items()]
        return [Ban(kind=kind, name=name, until=until) for kind, name, until in found]

    async def lift(self, name: str) -> int:
        """Also of single logins of that network or account. Raises `Unavailable`."""
        lifted = 0
        for ban in await self.bans():
            if name in ban.name.split(" "):
                member = f"{ban.kind} {ban.name}"
                lifted += int(await self._commands.command("ZREM", BANS, member))
                await self._commands.command("DEL", f"t:guard:{member}")
        return lifted
