"""What subscriptions here hear of: whose presence this process follows on the bus, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from presence.address import Address
from presence.model import PresenceDocument, Snapshot
from presence.service import PresenceService
from presence.watching import WatchTable
from sip.runtime import Runtime
from sip.subscription import Subscription

CHUNK = 500
"Presentities or records that go to the bus at once."


@lru_cache(maxsize=1024)
def nobody(address: Address) -> PresenceDocument:
    """What those see who are blocked without being told: somebody who is not there, and never was."""
    return PresenceDocument(address=address, version=0)


class Hearing:
    """`tell` is called for each subscription that has something new to say, `reload` for each that does not
    know until it has read all of it again."""

    def __init__(
        self,
        service: PresenceService,
        runtime: Runtime,
        tell: Callable[[Subscription], None],
        reload: Callable[[Subscription], None],
    ) -> None:
        self._service = service
        self._runtime = runtime
        self._tell = tell
        self._reload = reload
        self._table: WatchTable[Subscription] = WatchTable(service.compose)

    def __contains__(self, presentity: Address) -> bool:
        return presentity in self._table

    def document(self, presentity: Address) -> PresenceDocument | None:
        """What is known of it; None before its first snapshot, and when nobody here watches it."""
        return self._table.document(presentity)

    def watchers(self, presentity: Address) -> tuple[Subscription, ...]:
        return self._table.watchers(presentity)

    async def listen(self, subscription: Subscription) -> None:
        """From now on it hears of what it is notified of. Raises `Unavailable`."""
        feed = subscription.feed
        wanted = {subscription.presentity} if feed is None else set(await feed.load())
        now = set(self._table.watched_by(subscription))
        fresh = [each for each in sorted(wanted - now) if self._table.add(each, subscription)]
        self._discard(subscription, now - wanted)
        await self._watch(fresh, but=subscription)

    async def take_up(self, subscriptions: Sequence[Subscription]) -> None:
        """As `listen`, but reads the presence they are about in one go, and tells nobody of it. Feeds are
        left out."""
        fresh = [
            subscription.presentity
            for subscription in subscriptions
            if subscription.feed is None and self._table.add(subscription.presentity, subscription)
        ]
        for start in range(0, len(fresh), CHUNK):
            for snapshot in await self._service.watch(fresh[start : start + CHUNK]):
                self._table.update(snapshot)

    async def restate(self) -> None:
        """Watch everything once more: the bus may have forgotten who is interested."""
        await self._watch(self._table.presentities())

    def leave(self, subscription: Subscription) -> None:
        """It hears of nothing any more."""
        self._discard(subscription, self._table.watched_by(subscription))

    def show(self, snapshot: Snapshot, *, but: Subscription | None = None) -> None:
        """Tell all who watch; `but` one that is told when it knows all it listens to."""
        change = self._table.update(snapshot)
        if change is None or not change.visible:
            return
        for subscription in self._table.watchers(snapshot.address):
            if subscription is but or subscription.veiled or not subscription.active:
                continue
            told = subscription.feed.presence(snapshot.address) if subscription.feed is not None else True
            if told is None:
                self._reload(subscription)
            elif told:
                self._tell(subscription)

    async def _watch(self, presentities: Sequence[Address], but: Subscription | None = None) -> None:
        for start in range(0, len(presentities), CHUNK):
            for snapshot in await self._service.watch(presentities[start : start + CHUNK]):
                self.show(snapshot, but=but)

    def _discard(self, subscription: Subscription, presentities: Iterable[Address]) -> None:
        left = [each for each in presentities if self._table.discard(each, subscription)]
        if left:
            self._runtime.spawn(self._service.unwatch(left))
