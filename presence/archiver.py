"""Writing the archive: what the bus accepted for it goes into SQL, in groups and in order.

One process at a time does it, by a lease; two at once would do no harm, for what is kept already stays. The
bus forgets a message only when it is committed.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from presence.address import Address
from presence.archive import Filed, Parties, Preferences, addressed_tuple, position_at
from presence.history import decode_parties, keeps
from presence.ports import Archive, Bus, Metrics, Store

log = structlog.get_logger()

LEASE = "archiver"
LEASE_SECONDS = 8.0
WAIT = 3.0
"Seconds one step waits for a message; the lease outlasts it."
BATCH = 500
"Messages of a group: some milliseconds of work, so that the doors never wait long for a processor."
BREATH = 0.01
"Seconds between full groups, for the same reason."
PAUSE = 0.5
"""Seconds between groups: what comes meanwhile is committed together. A commit costs as much as writing a
hundred messages; who reads an archive looks through what waits."""
IDLE = 1.0
"Seconds until a process that has no lease asks again."
DAY = 86_400.0
EXPIRY_INTERVAL = 60.0
EXPIRY_BATCH = 2000


class Archiver:
    def __init__(
        self,
        *,
        holder: str,
        domains: frozenset[str],
        bus: Bus,
        archive: Archive,
        store: Store,
        metrics: Metrics,
        clock: Callable[[], float],
        days: float | None = None,
    ) -> None:
        """`holder` names the process. `days`: how long messages are kept; None: for ever."""
        self._holder = holder
        self._domains = domains
        self._bus = bus
        self._archive = archive
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._days = days
        self._expired_at = 0.0
        self._leased_at = 0.0

    async def step(self, wait: float = WAIT) -> float:
        """Write what waits, if it is ours to do. Returns the seconds until the next step. Raises
        `Unavailable`: then nothing is lost, and the next step does it again."""
        if not await self._ours():
            return IDLE
        waiting = await self._bus.unarchived(BATCH, wait)
        if waiting:
            parties = [(each, self._parties(each.message)) for each in waiting]
            known = [(each, found) for each, found in parties if found is not None]
            owners = {owner for _, found in known for owner in (found.sender, found.recipient)}
            wishes = await self._archive.preferences(sorted(owners))
            rows: list[Filed] = []
            for each, found in known:
                row = Filed(
                    position=each.position,
                    id=found.id,
                    sender=found.sender,
                    recipient=found.recipient,
                    sender_tuple=found.sender_tuple,
                    recipient_tuple=addressed_tuple(found.recipient_endpoint),
                    for_sender=await self._keeps(found.sender, wishes, found),
                    for_recipient=await self._keeps(found.recipient, wishes, found),
                    message=each.message,
                )
                if row.for_sender or row.for_recipient:
                    rows.append(row)
            await self._archive.write(rows)
            await self._bus.forget_unarchived(waiting[-1].position)
            self._metrics.count("archived_messages_total", len(rows))
            self._metrics.count("archive_commits_total")
        await self._expire()
        if not waiting:
            return 0.0
        return BREATH if len(waiting) == BATCH else PAUSE

    async def _ours(self) -> bool:
        """Whether this process writes now; it asks again when half of its time is over."""
        now = self._clock()
        if now < self._leased_at + LEASE_SECONDS / 2:
            return True
        if not await self._bus.lease(LEASE, self._holder, LEASE_SECONDS):
            return False
        self._leased_at = now
        return True

    def _parties(self, message: bytes) -> Parties | None:
        try:
            return decode_parties(message)
        except msgspec.MsgspecError as error:  # it must not hold up the others
            log.error("unarchived_unreadable", error=str(error), bytes=len(message))
            return None

    async def _keeps(self, owner: Address, wishes: dict[Address, Preferences], message: Parties) -> bool:
        if not owner.local or owner.domain not in self._domains:
            return False
        chosen = wishes.get(owner)
        return chosen is None or await keeps(self._store, owner, chosen, message)

    async def _expire(self) -> None:
        now = self._clock()
        if self._days is None or now - self._expired_at < EXPIRY_INTERVAL:
            return
        before = position_at(now - self._days * DAY)
        expired = await self._archive.expire(before, EXPIRY_BATCH)
        if expired:
            self._metrics.count("archive_expired_total", expired)
        if expired < EXPIRY_BATCH:
            self._expired_at = now
