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

    def document(self, watcher: Address, presentity: Address) -> PresenceDocument | None:
        """What the watcher may see of it; None before its first snapshot, and when nobody here watches it."""
        return self._table.seen(presentity, watcher)

    def watchers(self, presentity: Address) -> tuple[Subscription, ...]:
        return self._table.watchers(presentity)

    async def listen(self, subscription: Subscription) -> None:
        """From now on it hears of what it is notified of. Raises `Unavailable`."""
        feed = subscription.feed
        wanted = {subscription.presentity} if feed is None else set(await feed.load())
        now = set(self._table.watched_by(subscription))
        fresh = [
            each
            for each in sorted(wanted - now)
            if self._table.add(each, subscription) or not self._table.known(each)
        ]
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
        for snapshot in await self._read(fresh):
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
            if subscription is not but and subscription.active and not subscription.veiled:
                self._changed(subscription, snapshot.address)

    async def _watch(self, presentities: Sequence[Address], but: Subscription | None = None) -> None:
        for snapshot in await self._read(presentities):
            self.show(snapshot, but=but)

    async def _read(self, presentities: Sequence[Address]) -> list[Snapshot]:
        """Hear of them from now on; what each is now, and what of it may be shown to whom."""
        found: list[Snapshot] = []
        for start in range(0, len(presentities), CHUNK):
            chunk = presentities[start : start + CHUNK]
            found += await self._service.watch(chunk)
            rules = await self._service.privacy.of(chunk)
            for each in chunk:
                self._table.restrict(each, rules.get(each))
        return found

    async def reread(self, presentity: Address) -> None:
        """What of it may be shown to whom may have changed. Raises `Unavailable`."""
        rules = (await self._service.privacy.of([presentity])).get(presentity)
        if self._table.restrict(presentity, rules) is None and rules is None:
            return
        for subscription in self._table.watchers(presentity):
            if subscription.active and not subscription.veiled:
                self._changed(subscription, presentity)

    def _changed(self, subscription: Subscription, presentity: Address) -> None:
        told = subscription.feed.presence(presentity) if subscription.feed is not None else True
        if told is None:
            self._reload(subscription)
        elif told:
            self._tell(subscription)

    def _discard(self, subscription: Subscription, presentities: Iterable[Address]) -> None:
        left = [each for each in presentities if self._table.discard(each, subscription)]
        if left:
            self._runtime.spawn(self._service.unwatch(left))
