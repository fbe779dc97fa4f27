"""Failed logins, counted over all processes in Redis (`presence.guarding` has the rules).

Every key expires; how many there are is bounded by how many failures a network may have. Each process keeps
a copy of the bans, not older than a second, so that a login costs no round trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import structlog

from presence.errors import Unavailable
from presence.guarding import NOTED_PER_ACCOUNT, Exempt, GuardRules, ban_after, delay_after, network_of
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

    async def wait(self, peer: str, account: str) -> float:
        if peer in self._exempt:
            return 0.0
        now = self._clock()
        if not self._bans and now - self._copied < FRESH:
            return 0.0
        network = network_of(peer)
        try:
            await self._copy(now)
            until = max(
                self._bans.get(f"network {network}", 0.0), self._bans.get(f"login {network} {account}", 0.0)
            )
            everywhere = self._bans.get(f"account {account}", 0.0)
            if everywhere > until and not await self._knows(network, account):
                until = everywhere
        except Unavailable:
            return 0.0
        return max(0.0, until - now)

    async def failed(self, peer: str, account: str) -> None:
        if peer in self._exempt:
            return
        network = network_of(peer)
        self._known.discard((network, account))
        try:
            failures = await self._count(network, account)
        except Unavailable:
            return
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
        count = int(await self._commands.command("INCR", key))
        await self._commands.command("EXPIRE", key, self._rules.window)
        return count

    async def _ban(self, name: str, seconds: float) -> None:
        if not seconds:
            return
        until = self._clock() + seconds
        await self._commands.command("ZADD", BANS, "GT", until, name)
        await self._commands.command("EXPIRE", BANS, int(self._rules.longest_ban) + 60)
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
            await self._commands.command(
                "SET", f"t:guard:known {network} {account}", "1", "EX", KNOWN_SECONDS
            )
            await self._commands.command("DEL", f"t:guard:login {network} {account}")
        except Unavailable:
            self._known.discard((network, account))

    async def admits(self, what: str, peer: str, most: int, seconds: int) -> float:
        """See `presence.ports.Guard.admits`."""
        if peer in self._exempt:
            return 0.0
        key = f"t:guard:{what} {network_of(peer)}"
        try:
            count = int(await self._commands.command("INCR", key))
            if count == 1:
                await self._commands.command("EXPIRE", key, seconds)
            if count <= most:
                return 0.0
            left = int(await self._commands.command("TTL", key))
            if left < 0:  # a process died between the two
                await self._commands.command("EXPIRE", key, seconds)
        except Unavailable:
            return 0.0
        log.info("network_slowed", what=what, network=network_of(peer), count=count)
        return float(max(1, left))

    async def _knows(self, network: str, account: str) -> bool:
        return bool(await self._commands.command("EXISTS", f"t:guard:known {network} {account}"))

    async def _copy(self, now: float) -> None:
        if now - self._copied < FRESH:
            return
        self._copied = now
        await self._commands.command("ZREMRANGEBYSCORE", BANS, "-inf", now)
        words = await self._commands.command("ZRANGE", BANS, 0, SHOWN - 1, "REV", "WITHSCORES")
        pairs = zip(words[::2], words[1::2], strict=True)
        self._bans = {name.decode(): float(until) for name, until in pairs}

    async def bans(self) -> list[Ban]:
        """Those in force, the longest first. Unlike the others, it raises `Unavailable`."""
        self._copied = float("-inf")
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
