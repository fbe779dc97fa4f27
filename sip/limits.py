"""How many requests an address, and an account, may send: some at once, then a steady rate.

Of datagrams, whose senders may be forged, fewer are answered at all: answers are larger than what they
answer, and must not hit somebody who never asked. Where somebody has answered a challenge all are answered.

What comes on connections, of whatever kind, is read no faster than several times the rate.

An address hears 503 with Retry-After (RFC 3261 §21.5.4). An account, and an address behind a trusted proxy,
hear 480 with Retry-After: after a 503 the proxy would send nobody's requests for that time. What is exempt,
this machine at first, is not counted at all.
"""

from __future__ import annotations

from math import ceil

import structlog

from presence.address import Address
from presence.guarding import Exempt, network_of
from presence.ports import Metrics
from sip.errors import ProtocolError
from sip.flow import Flow
from sip.message import Request
from sip.settings import SipSettings
from sip.topology import Topology

log = structlog.get_logger()

BURST = 10.0
"Seconds' worth of requests that may come at once: phones that all come back after a power cut."
_TOLD = 60.0
"Seconds until it is logged again that somebody is too fast."
_CAPACITY = 50_000
_UNPROVEN = 0.2
"Part of the requests a network may send whose datagrams are answered before anybody there is known to be."
_REFUSED = 2.0
"The same for a network that somebody is known to be in: what is beyond the rate hears so, and then nothing."
_READ = 5.0
"Messages of all kinds that are read from a network's connections, as a multiple of the requests it may send."
_KNOWN_SECONDS = 3600.0
_BODY = 4096
"Bytes of a request's body that are as much work as another request."


class Rate:
    """Who may go on when. Times are seconds of one clock."""

    def __init__(self, per_second: float, capacity: int = _CAPACITY, burst: float = BURST) -> None:
        """`burst`: so many seconds' worth may come at once."""
        self._interval = 1 / per_second if per_second else 0.0
        self._burst = burst
        self._capacity = capacity
        self._due: dict[str, float] = {}
        "When all that was sent would have been sent at the steady rate."

    def __len__(self) -> int:
        return len(self._due)

    def wait(self, who: str, now: float, cost: float = 1.0) -> float:
        """Count a request: 0, or the seconds until one would be taken. Those turned away cost nothing."""
        if not self._interval:
            return 0.0
        excess = self.excess(who, now)
        if not excess:
            self.charge(who, now, cost)
        return excess

    def excess(self, who: str, now: float) -> float:
        """Seconds until another one would be taken."""
        return max(0.0, self._due.get(who, now) - now - self._burst)

    def charge(self, who: str, now: float, cost: float = 1.0) -> None:
        """Count what is done already: the next ones wait for it."""
        if who not in self._due and len(self._due) >= self._capacity:
            self._make_room(now)
        self._due[who] = max(self._due.get(who, now), now) + cost * self._interval

    def _make_room(self, now: float) -> None:
        """Forget who would not be known to have sent anything; else whoever came first."""
        self._due = {who: due for who, due in self._due.items() if due > now}
        while len(self._due) >= self._capacity:
            del self._due[next(iter(self._due))]


class Rates:
    """How much each network, and each account, asks of one process, whatever it comes over."""

    def __init__(self, settings: SipSettings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._exempt = Exempt(settings.unlimited)
        self._networks = Rate(settings.requests_per_address)
        self._accounts = Rate(settings.requests_per_account)
        self._asked = Rate(settings.requests_per_account)
        self._unproven = Rate(settings.requests_per_address * _UNPROVEN)
        self._proven = Rate(settings.requests_per_address * _REFUSED)
        self._read = Rate(settings.requests_per_address * _READ)
        self._known: dict[str, float] = {}
        "Network → until when somebody is known to be there."
        self._told: dict[str, float] = {}

    def answers(self, host: str, now: float) -> bool:
        """Whether a datagram from there is answered; counts it."""
        if host in self._exempt:
            return True
        network = network_of(host)
        rate = self._proven if self._known.get(network, 0.0) > now else self._unproven
        wait = rate.wait(network, now)
        if wait:
            self._tell("datagrams", network, wait, now)
        return not wait

    def reading(self, host: str, messages: int, now: float) -> float:
        """Seconds until more is to be read from a connection of that host: some messages have come, of
        whatever kind, broken ones and answers included."""
        if host in self._exempt:
            return 0.0
        network = network_of(host)
        self._read.charge(network, now, messages)
        wait = self._read.excess(network, now)
        return self._tell("messages", network, wait, now) if wait else 0.0

    def known(self, host: str, now: float) -> None:
        """Somebody there has got what we sent there."""
        network = network_of(host)
        if network not in self._known and len(self._known) >= _CAPACITY:
            del self._known[next(iter(self._known))]
        self._known[network] = now + _KNOWN_SECONDS

    def network(self, host: str, now: float) -> float:
        """Count a request of a host's network: 0, or the seconds it is too early."""
        if host in self._exempt:
            return 0.0
        network = network_of(host)
        wait = self._networks.wait(network, now)
        return self._tell("address", network, wait, now) if wait else 0.0

    def account(self, account: Address, host: str, now: float) -> float:
        """Count a request of an account, from a host: 0, or the seconds it is too early."""
        if host in self._exempt:
            return 0.0
        wait = self._accounts.wait(str(account), now)
        return self._tell("account", str(account), wait, now) if wait else 0.0

    def asking(self, account: Address, people: int, now: float) -> float:
        """Count so many people whom the account asks to see at once, with a list: 0, or the seconds it is too
        early. As many a second as it may send requests."""
        wait = self._asked.wait(str(account), now, people)
        return self._tell("lists", str(account), wait, now) if wait else 0.0

    def charge(self, account: Address, host: str, now: float, cost: float) -> None:
        """One of its requests was as much work as `cost` more."""
        if cost and host not in self._exempt:
            self._accounts.charge(str(account), now, cost)

    def _tell(self, kind: str, who: str, wait: float, now: float) -> float:
        self._metrics.count("sip_limited_total", kind=kind)
        if self._told.get(who, 0.0) <= now:
            if len(self._told) >= _CAPACITY:
                self._told.clear()
            self._told[who] = now + _TOLD
            log.warning("requests_limited", kind=kind, who=who)
        return wait


class Limits:
    """What SIP requests hear of them."""

    def __init__(self, rates: Rates, topology: Topology) -> None:
        self._rates = rates
        self._topology = topology

    def check_address(self, request: Request, flow: Flow, now: float) -> None:
        """Raises `ProtocolError` 503 or 480."""
        behind = self._topology.trusts(flow)
        host = self._topology.origin(request, flow) if behind else flow.host
        if behind and host == flow.host:
            # The proxy's own, or what it does not say the origin of.
            return
        wait = self._rates.network(host, now)
        if wait:
            raise _too_many(480 if behind else 503, wait)

    def check_account(self, account: Address, request: Request, flow: Flow, now: float) -> None:
        """What it brings is worth as many requests as it would fill. Raises `ProtocolError` 480."""
        host = self._topology.origin(request, flow)
        wait = self._rates.account(account, host, now)
        if wait:
            raise _too_many(480, wait)
        self._rates.charge(account, host, now, len(request.body) // _BODY)

    def check_list(self, account: Address, people: int, now: float) -> None:
        """Raises `ProtocolError` 480."""
        wait = self._rates.asking(account, people, now)
        if wait:
            raise _too_many(480, wait)


def _too_many(status: int, wait: float) -> ProtocolError:
    return ProtocolError(status, "Too Many Requests", (("Retry-After", str(ceil(wait))),))
