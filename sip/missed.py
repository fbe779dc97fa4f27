"""Calls that people received and did not answer, told in their XMPP clients: once for each call, however many
phones rang, in however many processes they told of it.

Tandem carries no calls. It hears of them by what phones publish and what followed servers say (`sip.calls`):
a call that rang and ended without ever being confirmed (RFC 4235 §3.7.1) was missed. Whether it was answered
elsewhere is known a moment later, and while any phone of theirs rings, nothing is certain.

What the processes have to know of each other are two marks on the bus by Call-ID: that it rang, and its fate,
answered or told, whichever came first. A PBX that rings several phones makes a call of its own to each of
them; these are one by who calls and when, for which there are two more marks, for seconds.

A process that dies between a call's end and its notice tells nobody; phones have lists of their own.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import structlog

from presence.address import Address
from presence.errors import Refused, Unavailable
from presence.messages import Audience, InstantMessage
from presence.model import Text
from presence.ports import Accounts, Metrics
from presence.service import PresenceService
from sip.addressing import to_address, to_uri, to_xmpp_uri
from sip.calls import Call
from sip.errors import ProtocolError
from sip.limits import Rate
from sip.runtime import Runtime
from sip.uri import Uri, parse_uri

log = structlog.get_logger()

GRACE = 4.0
"""Seconds from a call's end to its notice, and between looks whether something still rings: the phone that
answered tells of it at the same time as those that ring no more."""
PATIENCE = 180.0
"Seconds after which nothing still rings, whatever is said."
_AGAIN = 2.0
"Seconds until the bus is tried again."
_RINGING = 3600.0
"Seconds for which it is known that a call rang."
_DAY = 86_400.0
"Seconds for which a call's fate is known."
_LEGS = 10.0
"Seconds for which it is known that a caller was answered: its PBX ends its calls to the other phones."
_TOGETHER = 3.0
"Seconds within which a PBX ends its calls to all phones."
_MOST = 20_000
"Calls remembered."
_PER_SECOND, _AT_ONCE = 1 / 60, 20
"Calls of one person that are noticed at all."
_PEOPLE = 10_000
_MAX_NAME = 100
"Characters of a contact's name."
_MAX_CALLER = 120
"""Characters of a caller's address: who calls chooses it, and could say something in it, or lead somewhere
with its slashes, in the domain's name."""
_NUMBER = re.compile(r"\+?[0-9A-Fa-f*#().-]{1,40}")


class Turn(IntEnum):
    """How far it has come; it never goes back."""

    RANG = 1
    OVER = 2
    ANSWERED = 3


@dataclass(slots=True)
class Received:
    """A call somebody received, as one process knows it."""

    address: Address
    "Who received it."
    name: str
    "Names the call to all processes."
    caller: str
    "The URI that somebody says it came from; empty: nobody says."
    since: float
    turn: Turn
    rang: bool = False
    alone: bool = False
    "When it began to ring, no other call of its caller had just been answered."
    over: float = 0.0
    "When it was over. Unix seconds."


class Log:
    """Calls that people received; pure."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, Received] = OrderedDict()
        self._rate = Rate(_PER_SECOND, _PEOPLE, burst=_AT_ONCE / _PER_SECOND)

    def heard(self, address: Address, calls: Iterable[Call], now: float) -> list[tuple[Received, Turn]]:
        """What is new in what somebody says of a person's calls. Calls without a Call-ID cannot be told from
        each other, and are left out; so are those of people who receive too many."""
        news = []
        for call in calls:
            if not (call.received and call.call_id):
                continue
            turn = _turn(call)
            name = _name(address, call.call_id)
            known = self._calls.get(name)
            if known is None:
                if self._rate.wait(str(address), now):
                    continue
                known = self._calls[name] = Received(address, name, call.caller, now, turn)
                self._forget(now)
            elif turn <= known.turn:
                continue
            known.turn = turn
            known.caller = known.caller or call.caller
            known.rang = known.rang or turn is Turn.RANG
            if turn is Turn.OVER:
                known.over = now
            news.append((known, turn))
        return news

    def _forget(self, now: float) -> None:
        while len(self._calls) > _MOST or next(iter(self._calls.values())).since < now - _RINGING:
            self._calls.popitem(last=False)


def _turn(call: Call) -> Turn:
    if call.talking or call.answered:
        return Turn.ANSWERED
    return Turn.OVER if call.over else Turn.RANG


def _name(address: Address, call_id: str) -> str:
    return hashlib.blake2b(f"{address} {call_id}".encode("utf-8", "replace"), digest_size=12).hexdigest()


def _legs(call: Received) -> str:
    """Names all calls of that caller to that person."""
    return _name(call.address, caller_of(call.caller)[0])


def caller_of(text: str) -> tuple[str, Address | None]:
    """The URI of a caller without anything that is not their address, and the address where it is one; empty
    for nobody, for who withholds it (RFC 3323 §4.1.1.3) and for what cannot be shown."""
    try:
        uri = parse_uri(text)
        if uri.scheme == "tel":
            return (f"tel:{uri.user}", None) if _NUMBER.fullmatch(uri.user) else ("", None)
        if uri.scheme == "sips":
            uri = Uri("sip", uri.user, uri.host)
        address = to_address(uri)
    except ProtocolError:
        return "", None
    shown = to_uri(address)
    if not address.local or address.domain.endswith(".invalid") or len(shown) > _MAX_CALLER or "/" in shown:
        return "", None
    return shown, address


class MissedCalls:
    """Tells people of them.

    The notice comes from the domain, not from the caller: who called is what a phone, or another server, was
    told by whoever called, and nobody's word for it is good enough to put a message into their mouth and into
    the archive of both. For the same reason the caller's display name is not shown: a stranger could have the
    domain say anything. The caller's address is in the text, as a URI that clients make a link of, with the
    name the person gave a contact.

    Phones have lists of their own and are sent nothing.
    """

    def __init__(
        self,
        service: PresenceService,
        accounts: Accounts,
        runtime: Runtime,
        metrics: Metrics,
        *,
        enabled: bool,
    ) -> None:
        self._service = service
        self._accounts = accounts
        self._runtime = runtime
        self._metrics = metrics
        self._enabled = enabled
        self._log = Log()

    def heard(self, address: Address, calls: Iterable[Call]) -> None:
        """A phone of theirs, or a server that is followed, has said so much of their calls."""
        if not self._enabled:
            return
        for call, turn in self._log.heard(address, calls, self._runtime.now()):
            if turn is Turn.OVER:
                self._later(GRACE, call, turn)
            else:
                self._runtime.spawn(self._take(call, turn))

    def _later(self, delay: float, call: Received, turn: Turn) -> None:
        self._runtime.call_later(delay, lambda: self._runtime.spawn(self._take(call, turn)))

    async def _take(self, call: Received, turn: Turn) -> None:
        try:
            match turn:
                case Turn.RANG:
                    await self._service.first(f"rang {call.name}", "rang", _RINGING)
                    call.alone = await self._unanswered(call)
                case Turn.ANSWERED:
                    await self._service.first(f"call {call.name}", "answered", _DAY)
                    await self._service.first(f"talk {_legs(call)}", "answered", _LEGS)
                case Turn.OVER:
                    await self._decide(call)
        except Unavailable as error:
            log.warning("missed_call_waits", error=str(error), retry_in=_AGAIN)
            self._later(_AGAIN, call, turn)

    async def _decide(self, call: Received) -> None:
        if call.turn is Turn.ANSWERED:
            return
        if self._runtime.now() < call.over + PATIENCE and await self._rings(call.address):
            self._later(GRACE, call, Turn.OVER)
            return
        # Another process may have heard it ring, or this one in an earlier life: then the mark is taken.
        if not call.rang and await self._service.first(f"rang {call.name}", "never", 0.001):
            return
        if call.alone and not await self._unanswered(call):
            return
        uri, caller = caller_of(call.caller)
        if not await self._wanted(call.address, caller):
            return
        if not await self._service.first(f"call {call.name}", self._service.owner, _DAY):
            return
        if await self._service.first(f"missed {_legs(call)}", call.name, _TOGETHER):
            await self._tell(call, await self._words(call.address, uri, caller))

    async def _unanswered(self, call: Received) -> bool:
        """No call of that caller to that person was answered in the last seconds."""
        return await self._service.first(f"talk {_legs(call)}", "nobody", 0.001)

    async def _rings(self, address: Address) -> bool:
        """A phone of theirs does, of which perhaps another process has heard."""
        (snapshot,) = await self._service.snapshots([address])
        return any(source.person is not None and source.person.ringing for source in snapshot.sources)

    async def _wanted(self, address: Address, caller: Address | None) -> bool:
        account = await self._accounts.find(address)
        if account is None or account.phone_only or caller == address:
            return False
        return caller is None or not await self._service.blocking.blocks(address, caller)

    async def _words(self, address: Address, uri: str, caller: Address | None) -> str:
        if not uri:
            return "Missed call from somebody unknown"
        if caller is None:
            return f"Missed call from {uri}"
        if await self._service.knows(caller):
            uri = to_xmpp_uri(caller)
        item = await self._service.item(address, caller)
        name = " ".join(item.name.split())[:_MAX_NAME]
        return f"Missed call from {name}: {uri}" if name else f"Missed call from {uri}"

    async def _tell(self, call: Received, words: str) -> None:
        message = InstantMessage(
            id="",
            trace="",
            created=call.over,
            sender=Address("", call.address.domain),
            recipient=call.address,
            bodies=(Text(words, "en"),),
            audience=Audience.XMPP,
        )
        try:
            await self._service.submit(message, f"missed {call.name}")
        except Refused as refusal:
            log.info("missed_call_not_told", address=str(call.address), reason=refusal.condition.value)
        else:
            self._metrics.count("sip_missed_calls_total")
