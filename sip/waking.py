"""When phones are woken that sleep (RFC 8599 §5): for a message, and before their registration ends.

A phone is rung once and then given time to register; each time it does not, it is left alone for longer. Who
is to be woken before a registration ends is known to the process it was made at, and to the next one of that
name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import structlog

from presence.address import Address, parse_address
from presence.errors import InvalidAddress, Unavailable
from presence.guarding import Windows
from presence.ports import Metrics
from presence.service import PresenceService
from sip.bindings import Binding
from sip.push import BEFORE, Bell, Pns, Verdict, push_contact, verdict
from sip.registrar import Registrar
from sip.runtime import Runtime
from sip.uri import parse_uri

log = structlog.get_logger()

BUCKET = 30.0
"Seconds a phone has to register after it was rung (RFC 8599 §5.2); it takes about two (§5.6.2)."
AWAKE = 30.0
"""Seconds after its REGISTER for which a phone that can be woken is believed to be awake where no connection
shows it (RFC 8599 §5.6.2)."""
_REST = 60.0
"Seconds after a ring that nobody answered before the next one; twice as many after each further one."
_LONGEST_REST = 3600.0
_PER_MINUTE = 30
"Rings for one account, however many phones it says it has, wherever they lead."
_MOST = 100_000
"Phones remembered."
_RECORD = "push:"
_CLAIM = 60.0


@dataclass(frozen=True, slots=True)
class Rung:
    """What a push service answered."""

    status: int = 0
    "Of HTTP; 0: nothing, or it was not asked."
    retry_after: float = 0.0
    "Seconds; 0: it did not say."
    error: str = ""


class Ringer(Protocol):
    """HTTP."""

    def __call__(self, bell: Bell) -> Coroutine[Any, Any, Rung]:
        """Never raises."""


async def no_push(bell: Bell) -> Rung:
    """A `Ringer` where no push service is reached."""
    return Rung()


class Woken(StrEnum):
    """What came of trying."""

    RUNG = "rung"
    "The phone may register within `BUCKET` seconds."
    GONE = "gone"
    "It cannot be woken any more."
    LATER = "later"
    "Not now."


def dozes(phone: Binding, now: float) -> bool:
    """It has to be woken first, unless its own connection to us says otherwise."""
    return phone.wakes and phone.refreshed + AWAKE < now


@dataclass(slots=True)
class _Rest:
    rung: float
    until: float
    "When it may be rung again."
    unanswered: int
    taken: bool = True
    "By the push service, as far as is known."


_Phone = tuple[Address, str]
"Account and binding id."


class Waker:
    def __init__(
        self,
        services: Mapping[str, Pns],
        ring: Ringer,
        registrar: Registrar,
        service: PresenceService,
        runtime: Runtime,
        metrics: Metrics,
    ) -> None:
        self._services = services
        self._ring = ring
        self._registrar = registrar
        self._service = service
        self._runtime = runtime
        self._metrics = metrics
        self._resting: OrderedDict[_Phone, _Rest] = OrderedDict()
        self._rings = Windows()
        self._due: dict[_Phone, float] = {}
        "Who has to be woken when, to renew a registration."

    def __len__(self) -> int:
        return len(self._due)

    async def wake(self, address: Address, binding: Binding) -> Woken:
        """Raises `Unavailable`."""
        phone, now = (address, binding.id), self._runtime.now()
        rest = self._resting.get(phone)
        if rest is not None and binding.refreshed > rest.rung:
            rest = None  # it has come, perhaps to another process
        if rest is not None and now < rest.until:
            return Woken.RUNG if rest.taken and now - rest.rung < BUCKET else Woken.LATER
        contact = push_contact(parse_uri(binding.contact))
        service = self._services.get(contact.provider) if contact is not None else None
        left = int(binding.expires - now)
        # RFC 8599 §5.5: no more of it once the registration is over.
        if contact is None or service is None or not binding.wakes or left <= 0:
            return Woken.LATER
        if self._rings.add(str(address), now, 60.0)[0] > _PER_MINUTE:
            return Woken.LATER
        rest = self._rested(phone, rest, now)
        rung = await self._ring(service.bell(contact, now, left))
        found = verdict(rung.status)
        self._metrics.count("sip_pushes_total", service=service.name, outcome=found.value)
        if found is Verdict.TAKEN:
            return Woken.RUNG
        log.info(
            "phone_not_rung",
            address=str(address),
            endpoint=binding.endpoint,
            service=service.name,
            status=rung.status,
            error=rung.error,
        )
        rest.taken = False
        rest.until = max(rest.until, now + min(rung.retry_after, _LONGEST_REST))
        if found is Verdict.GONE:
            self._due.pop(phone, None)
            await self._registrar.unpush(address, binding)
            return Woken.GONE
        return Woken.LATER

    def _rested(self, phone: _Phone, before: _Rest | None, now: float) -> _Rest:
        unanswered = before.unanswered + 1 if before is not None else 1
        pause = min(_REST * 2 ** min(unanswered - 1, 10), _LONGEST_REST)
        rest = self._resting[phone] = _Rest(now, now + pause, unanswered)
        self._resting.move_to_end(phone)
        if len(self._resting) > _MOST:
            self._resting.popitem(last=False)
        return rest

    # --- registrations ----------------------------------------------------------------------------------

    def registered(self, address: Address, binding: Binding) -> None:
        """It has heard of it: the phone is awake."""
        phone = (address, binding.id)
        self._resting.pop(phone, None)
        if binding.wakes:
            self._due[phone] = binding.expires - BEFORE
        elif self._due.pop(phone, None) is not None:
            self._runtime.spawn(self._forget(phone))

    async def keep(self, address: Address, binding: Binding) -> None:
        """A phone has registered: before it hears of that, the next process of this name is to know, too."""
        phone = (address, binding.id)
        if not binding.wakes or phone in self._due:
            return
        try:
            await self._service.put_records({self._key(phone): b"1"})
        except Unavailable as error:
            log.warning("push_not_kept", address=str(phone[0]), error=str(error))

    def _key(self, phone: _Phone) -> str:
        """Each process keeps its own: a phone may come to another one."""
        return f"{_RECORD}{self._service.node} {phone[0]} {phone[1]}"

    async def _forget(self, phone: _Phone) -> None:
        try:
            await self._service.drop_records([self._key(phone)])
        except Unavailable as error:
            log.warning("push_not_kept", address=str(phone[0]), error=str(error))

    def tidy(self) -> None:
        """Now and then: wake whose registrations end soon."""
        now = self._runtime.now()
        for phone, due in list(self._due.items()):
            if due <= now:
                del self._due[phone]
                self._runtime.spawn(self._renew(phone))

    async def _renew(self, phone: _Phone) -> None:
        """Look whether it has renewed it elsewhere, else wake it."""
        address, id = phone
        try:
            binding = await self._registrar.fell_asleep(address, id)
            if binding is None:
                await self._forget(phone)
                return
            now = self._runtime.now()
            if binding.expires - BEFORE > now:
                self._due.setdefault(phone, binding.expires - BEFORE)
                return
            if await self._service.claims(f"{_RECORD}{address} {id}", _CLAIM):
                await self.wake(address, binding)
            # Should nobody answer, there may be time for another try; and its record has to go in the end.
            self._due.setdefault(phone, now + _REST)
        except Unavailable as error:
            self._due.setdefault(phone, self._runtime.now() + _REST)
            log.warning("push_failed", address=str(address), error=str(error))

    async def resume(self) -> None:
        """Take up what an earlier process of this name left: its connections are no more. Raises
        `Unavailable`."""
        if not self._services:
            return
        useless = []
        for key in await self._service.records():
            if not key.startswith(_RECORD):
                continue
            phone = _read(key)
            binding = await self._registrar.fell_asleep(*phone) if phone is not None else None
            if phone is None or binding is None:
                useless.append(key)
            else:
                self._due.setdefault(phone, binding.expires - BEFORE)
        if useless:
            await self._service.drop_records(useless)


def _read(key: str) -> _Phone | None:
    rest, _, id = key.rpartition(" ")
    name = rest.rpartition(" ")[2]
    try:
        return parse_address(name), id
    except InvalidAddress:
        return None
