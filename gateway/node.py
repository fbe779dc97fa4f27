"""One process's life on the bus: it joins, clears what its earlier self left, serves its door, beats, and
leaves.

Four loops run side by side and outlive an unreachable bus: the heartbeat, the inbox, the janitor (what is due
on the bus, nodes that died), and the measure of how late the event loop is. What they need to decide is in
the bus; the process may die at any moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import assert_never

import structlog

from gateway.admin import inquiry
from gateway.backoff import Backoff
from gateway.exits import Exit
from gateway.metrics import process_samples
from gateway.web import WebServer
from gateway.wiring import Backend
from presence.errors import Conflict, Unavailable
from presence.ports import (
    AccountChanged,
    AuthorisationChanged,
    Copy,
    Deliver,
    Door,
    Failed,
    Inbound,
    Inquiry,
    KeptChanged,
    NodeInfo,
    PresenceChanged,
    RecordTaken,
    Relay,
    Restating,
    Waiting,
    Word,
)
from presence.rooms.ports import RoomChanged

log = structlog.get_logger()

SAVE_ROOMS = 10.0
"Seconds between looks for rooms that the database was not told of."
DEAD_AFTER = 10.0
"Seconds without a heartbeat after which any node may sweep this one."
JANITOR_BATCH = 100


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between what a node does over and over."""

    beat: float = 3.0
    janitor: float = 1.0
    inbox: float = 5.0
    "Longest wait for an envelope."
    lag: float = 1.0


class DeclaredDead(Exception):
    """Others swept this node while it slept: what it holds is gone from the bus, so it must start anew."""


class Node:
    """Everything one process is, from start to stop."""

    def __init__(
        self,
        *,
        role: str,
        backend: Backend,
        door: Door,
        drain: float,
        web: WebServer | None = None,
        clock: Callable[[], float] = time.time,
        pace: Pace = Pace(),
    ) -> None:
        """`drain`: seconds the door may take to stop. `clock`: Unix seconds."""
        self.door = door
        self._web = web
        self._role = role
        self._backend = backend
        self._bus = backend.bus
        self._metrics = backend.metrics
        self._name = backend.node
        self._incarnation = backend.incarnation
        self._clock = clock
        self._drain = drain
        self._pace = pace
        self._started = clock()
        self._breaks = self._bus.breaks
        self._rooms = backend.service.rooms
        self._rooms_saved = 0.0
        self._archive_waits = False
        "It could not be written."
        self._bus_since = 0.0
        "Since when the bus has answered without a break; 0 while it does not."
        self._opened = asyncio.Event()
        "The door has started: before, it could do nothing with an envelope."

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None]) -> Exit:
        """Serve until `stop`. Returns `CONFIG` when a listener cannot be opened, `RETRY` when declared
        dead."""
        if not await self._arrive(stop):
            await self._backend.close()
            return Exit.OK
        code = Exit.RETRY
        try:
            async with asyncio.TaskGroup() as group:
                loops = [
                    group.create_task(self._forever(step), name=step.__name__)
                    for step in (self._beat, self._inbox, self._janitor, self._archive, self._lag)
                ]
                code = await self._serve(stop, on_ready)
                for loop in loops:
                    loop.cancel()
        except* DeclaredDead:
            log.error("declared_dead", after=DEAD_AFTER)
        finally:
            if code is not Exit.RETRY:  # else the name may be another process's by now
                await self._goodbye()
            await self._backend.close()
        return code

    async def _serve(self, stop: asyncio.Event, on_ready: Callable[[], None]) -> Exit:
        try:
            await self.door.start()
            self._opened.set()
            if self._web is not None:
                await self._web.start()
        except OSError as error:
            log.error("cannot_listen", error=error.strerror or str(error))
            await self._stop_door()
            return Exit.CONFIG
        try:
            on_ready()
            await stop.wait()
        finally:
            await self._stop_door()
        return Exit.OK

    async def _arrive(self, stop: asyncio.Event) -> bool:
        """Join and end what an earlier incarnation left, before anyone can connect. False when stopped
        before."""
        backoff = Backoff(first=0.2, longest=5.0)
        first = True
        while not stop.is_set():
            try:
                if first:
                    first = False
                    await self._backend.connect()
                await self._backend.store.migrate()
                await self._bus.join(self._info())
                swept = await self._bus.sweep(self._name, self._incarnation, self._clock())
                if self._rooms is not None:
                    await self._rooms.sweep(self._name, self._incarnation)
            except Unavailable as error:
                wait = backoff.wait()
                log.warning("waiting_for_bus_or_store", error=str(error), retry_in=wait)
                await _sleep_unless(stop, wait)
                continue
            self._bus_since = self._clock()
            log.info("joined", role=self._role, incarnation=self._incarnation, swept=swept)
            return True
        return False

    async def _stop_door(self) -> None:
        try:
            async with asyncio.timeout(self._drain):
                if self._web is not None:
                    self._web.shut()
                await self.door.stop()
                if self._web is not None:
                    await self._web.stop()
        except TimeoutError:
            log.warning("drain_timed_out", drain=self._drain)

    async def _goodbye(self) -> None:
        try:
            async with asyncio.timeout(2):
                if self._rooms is not None:
                    await self._rooms.sweep(self._name, None)
                await self._bus.sweep(self._name, None, self._clock())
                await self._bus.leave(self._name)
        except (Unavailable, TimeoutError) as error:
            log.warning("left_without_goodbye", error=str(error))

    def _info(self) -> NodeInfo:
        return NodeInfo(
            name=self._name,
            role=self._role,
            incarnation=self._incarnation,
            started=self._started,
            beat=self._clock(),
            metrics=self._metrics.samples() | process_samples(),
        )

    async def reload(self) -> None:
        """Accounts, certificates and what else the door can change while it serves (SIGHUP)."""
        await self._look_at_accounts(force=True)
        await self.door.reload()
        if self._web is not None:
            await self._web.reload()

    async def _look_at_accounts(self, *, force: bool = False) -> None:
        """What changed where accounts are kept; who may not log in any more is shown out."""
        for change in await self._backend.accounts.refresh(force=force):
            log.info("account_gone" if change.gone else "password_changed", address=str(change.address))
            self.door.receive(change)

    # --- the loops ------------------------------------------------------------------------------

    async def _forever(self, step: Callable[[], Awaitable[float]]) -> None:
        """Repeat a step, pausing as long as it says; an unreachable bus or a defect delays it but never ends
        it."""
        backoff = Backoff(first=0.1, longest=3.0)
        while True:
            try:
                pause = await step()
                backoff.reset()
            except Unavailable as error:
                self._bus_lost(error)
                pause = backoff.wait()
            except DeclaredDead:
                raise
            except Exception:
                self._metrics.count("loop_errors_total", loop=step.__name__.strip("_"))
                log.exception("loop_failed", loop=step.__name__.strip("_"))
                pause = backoff.wait()
            await asyncio.sleep(pause)

    def _bus_lost(self, error: Unavailable) -> None:
        if self._bus_since:
            self._bus_since = 0.0
            self._metrics.gauge("bus_up", 0)
            log.error("bus_lost", error=str(error))

    async def _beat(self) -> float:
        try:
            await self._bus.join(self._info())
        except Conflict as error:
            raise DeclaredDead from error
        if not self._bus_since:
            self._bus_since = self._clock()
            log.info("bus_back")
        self._metrics.gauge("bus_up", 1)
        breaks = self._bus.breaks
        if breaks != self._breaks:
            self._breaks = breaks
            if isinstance(self.door, Restating):  # whoever took over may lack what was written last
                log.info("restating", breaks=breaks)
                await self.door.restate()
        return self._pace.beat

    async def _inbox(self) -> float:
        await self._opened.wait()
        for envelope in await self._bus.receive(self._name, self._pace.inbox):
            try:
                await self._take(envelope)
            except Unavailable:
                raise
            except Exception:  # a defect in handling one must not cost the others
                self._metrics.count("envelope_errors_total", kind=type(envelope).__name__)
                log.exception("envelope_failed", kind=type(envelope).__name__)
        return 0.0

    async def _take(self, envelope: Inbound) -> None:
        match envelope:
            case (
                Deliver()
                | Copy()
                | PresenceChanged()
                | Relay()
                | AuthorisationChanged()
                | Failed()
                | KeptChanged()
                | Waiting()
                | Word()
                | RecordTaken()
                | RoomChanged()
            ):
                self.door.receive(envelope)
            case AccountChanged():
                self._backend.service.forget(envelope.address)
                self.door.receive(envelope)
            case Inquiry():
                await inquiry.reply(self._bus, self._name, envelope, self.door.sessions())
            case _:
                assert_never(envelope)

    async def _janitor(self) -> float:
        now = self._clock()
        await self._look_at_accounts()
        if await self._bus.maintain(now, JANITOR_BATCH) == JANITOR_BATCH:
            return 0.0
        # After an outage of the bus, the others get the time to beat again before anyone counts as dead.
        if self._bus_since and now - self._bus_since > DEAD_AFTER:
            for node in await self._bus.nodes():
                if node.name != self._name and now - node.beat > DEAD_AFTER:
                    if self._rooms is not None:  # first: what is begun and not ended, another begins again
                        await self._rooms.sweep(node.name, None)
                    swept = await self._bus.sweep(node.name, None, now)
                    await self._bus.leave(node.name)
                    log.warning("node_died", died=node.name, silent=round(now - node.beat, 1), swept=swept)
        if self._rooms is not None and now - self._rooms_saved > SAVE_ROOMS:
            await self._rooms.save_all()
            self._rooms_saved = now
        return self._pace.janitor

    async def _archive(self) -> float:
        """One process writes: the admin's, which has the least to do, unless there is none."""
        archiver = self._backend.archiver
        if archiver is None:
            return self._pace.beat
        if self._role != "admin" and self._clock() - self._started < self._pace.beat:
            return self._pace.beat
        try:
            pause = await archiver.step()
        except Unavailable as error:  # of the database, most likely: the bus is the other loops' affair
            if not self._archive_waits:
                self._archive_waits = True
                log.error("archive_waits", error=str(error))
            return self._pace.janitor
        if self._archive_waits:
            self._archive_waits = False
            log.info("archive_goes_on")
        return pause

    async def _lag(self) -> float:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await asyncio.sleep(self._pace.lag)
        late = loop.time() - before - self._pace.lag
        self._metrics.gauge("loop_lag_seconds", round(max(0.0, late), 4))
        return 0.0


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
