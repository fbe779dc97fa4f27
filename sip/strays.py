"""Subscriptions whose phone may have come back to another process of this server (RFC 6665 §4.2.2).

A connection ends, or the process that held it; the phone connects anew and registers, and the kernel gives it
to whichever process it likes. Who has a subscription without a way to its phone asks around for it, and
again when the phone's owner is heard to have come somewhere; whoever has the phone takes it over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice

from presence.address import Address
from presence.errors import Unavailable
from presence.ports import EndpointKind
from presence.service import PresenceService
from sip.dialogs import Dialogs
from sip.flow import Flow
from sip.notification import Phones
from sip.runtime import Runtime, Timer
from sip.subscription import Subscription
from sip.uri import parse_uri
from sip.words import Arrived, Stray, Strays, encode

_GATHERED = 0.5
"Seconds in which what is to be said is gathered: where one connection ends, many do."
_AT_ONCE = 200
"Of them, in one word."


class StrayDialogs:
    def __init__(
        self,
        service: PresenceService,
        runtime: Runtime,
        dialogs: Dialogs,
        phones: Phones,
        adopt: Callable[[str, Flow], object],
    ) -> None:
        """`adopt`: take over a subscription, and notify it on a connection of this process."""
        self._service = service
        self._runtime = runtime
        self._dialogs = dialogs
        self._phones = phones
        self._adopt = adopt
        self._lost: dict[str, None] = {}
        "Keys of those that have no way since a moment ago."
        self._came: dict[Address, None] = {}
        self._met: set[Flow] = set()
        "Connections whose phones the others have been told of."
        self._timer: Timer | None = None

    # --- what happens here ----------------------------------------------------------------------------

    def lost(self, subscription: Subscription) -> None:
        """It has no way to its phone any more, or not yet."""
        self._lost[subscription.key] = None
        self._arm()

    def arrived(self, watcher: Address, flow: Flow) -> None:
        """A phone registered over a connection, perhaps not for the first time."""
        if flow.reliable and not flow.routed and flow not in self._met:
            self._met.add(flow)
            self._came[watcher] = None
            self._arm()

    def left(self, flow: Flow) -> None:
        self._met.discard(flow)

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self._runtime.call_later(_GATHERED, self._turn)

    def _turn(self) -> None:
        self._timer = None
        people, self._came = self._came, {}
        lost, self._lost = self._lost, {}
        self._runtime.spawn(self._tell(people, self._without_a_way(map(self._dialogs.find, lost))))

    async def _tell(self, people: Iterable[Address], strays: Iterable[Stray]) -> None:
        """Best effort: with its next refresh a phone finds its subscription all the same."""
        people, strays = iter(people), iter(strays)
        with suppress(Unavailable):
            while some := tuple(islice(people, _AT_ONCE)):
                await self._service.say(EndpointKind.SIP, encode(Arrived(some)))
            while missed := tuple(islice(strays, _AT_ONCE)):
                await self._service.say(EndpointKind.SIP, encode(Strays(missed)))

    def _without_a_way(self, subscriptions: Iterable[Subscription | None]) -> list[Stray]:
        return [
            Stray(each.key, each.watcher, each.dialog.remote_target)
            for each in subscriptions
            if each is not None and each.flow is None and each.begun and not each.ending
        ]

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # --- what is heard of others ----------------------------------------------------------------------

    def they_arrived(self, word: Arrived) -> None:
        mine = [each for watcher in word.people for each in self._dialogs.of(watcher)]
        if strays := self._without_a_way(mine):
            self._runtime.spawn(self._tell((), strays))

    def they_miss(self, word: Strays) -> None:
        for each in word.subscriptions:
            flow = self._phones.connection_to(each.watcher, parse_uri(each.target))
            if flow is not None:
                self._adopt(each.key, flow)
