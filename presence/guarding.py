"""How failed logins are answered: delays that grow, then bans, for a network, an account, and one account
from one network.

A phone with an old password fails for ever at a steady pace: it must shut out neither its user's other
devices elsewhere nor its office. So what one network does to one account counts against the network only at
first; guessing at many accounts is what bans a network. A network that has known an account's password is
not kept out of it by what others do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from presence.network import embedded
from presence.ports import Ban

NOTED_PER_ACCOUNT = 3
"Failures of one network at one account that count against the network."
LONGEST_DELAY = 5.0
PEERS = 4096
"Addresses whose network is remembered: each request asks for it."


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRules:
    """Failures within `window` seconds that lead to a ban; bans double from the first to the longest."""

    window: int = 600
    per_login: int = 10
    "Of one account from one network."
    per_network: int = 30
    per_account: int = 100
    "From everywhere; the ban does not touch networks that have known its password."
    first_ban: float = 30.0
    longest_ban: float = 3600.0


def delay_after(failures: int) -> float:
    """Seconds until a failure is answered, by their number from one network at one account."""
    return 0.0 if failures < 3 else min(0.25 * 2.0 ** min(failures - 3, 10), LONGEST_DELAY)


def ban_after(failures: int, limit: int, rules: GuardRules) -> float:
    """Seconds of the ban; 0 for none."""
    if failures < limit:
        return 0.0
    return min(rules.first_ban * 2.0 ** min(failures - limit, 30), rules.longest_ban)


@lru_cache(PEERS)
def network_of(host: str) -> str:
    """What one peer can easily change its address within: an IPv4 address or an IPv6 /64. An IPv6 address
    made of an IPv4 address is that."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        four = embedded(address)
        return str(four or ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


class Exempt:
    """Networks that are never guarded: this machine, proxies that hide who is behind them."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Raises `ValueError` for what is no network."""
        self._networks = [ipaddress.ip_network(text, strict=False) for text in networks]
        self._known = lru_cache(PEERS)(self._covers)

    def __contains__(self, host: str) -> bool:
        return self._known(host)

    def _covers(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


class Windows:
    """Counts of one process, each over so many seconds from its first."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._counts: dict[str, tuple[int, float]] = {}
        "How often, and until when it counts."

    def add(self, name: str, now: float, seconds: float) -> tuple[int, float]:
        """How often it happened in its window, this time included, and the seconds until that is over."""
        count, until = self._counts.get(name, (0, 0.0))
        if until <= now:
            self._counts.pop(name, None)
            if len(self._counts) >= self._capacity:
                self._make_room(now)
            count, until = 0, now + seconds
        self._counts[name] = count + 1, until
        return count + 1, until - now

    def _make_room(self, now: float) -> None:
        """What is over goes, or else what began first."""
        self._counts = {name: kept for name, kept in self._counts.items() if kept[1] > now}
        while len(self._counts) >= self._capacity:
            for name in list(self._counts)[: max(1, self._capacity // 10)]:
                del self._counts[name]


class Unguarded:
    """Implements `presence.ports.Guard` for those who need none."""

    async def wait(self, peer: str, account: str) -> float:
        return 0.0

    async def failed(self, peer: str, account: str) -> None:
        """Nobody is counted."""

    async def succeeded(self, peer: str, account: str) -> None:
        """Nobody is remembered."""

    async def admits(self, what: str, peer: str, most: int, seconds: int) -> float:
        return 0.0

    async def bans(self) -> list[Ban]:
        return []

    async def lift(self, name: str) -> int:
        return 0
