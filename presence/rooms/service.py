"""Rooms on the bus: an action is decided on what the room was last known to be, and done if it still is.

Where a process has somebody in a room it keeps two copies. `head` is the newest state it knows of, for
decisions. `shown` is what its people were told, moved on by the inbox alone: so all events are shown in the
one order that all processes have them in, whoever decided them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from presence.address import Address
from presence.errors import Condition, Refused, Unavailable
from presence.messages import InstantMessage
from presence.rooms.decisions import Bounds, Entry, Step, create, enter, leave
from presence.rooms.events import Departure, Updated
from presence.rooms.model import Configuration, Delta, Occupant, Room
from presence.rooms.ports import Creation, Listed, Recall, RoomBus, RoomChanged, RoomStore, Write

log = structlog.get_logger()

MAX_ATTEMPTS = 100
"Times an action is decided again because the room had changed meanwhile."
MAX_COMING = 1000
Lock = AbstractAsyncContextManager[None]
Decide = Callable[[Room | None], Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Who may make rooms, and how many."""

    domains: dict[str, str] = field(default_factory=dict)
    "Domain with rooms → domain with accounts it stands beside, empty for all."
    anyone_creates: bool = True
    per_domain: int = 10_000
    per_account: int = 100
    joined: int = 200
    rate: float = 5.0
    burst: int = 40
    max_message: int = 65_536
    bounds: Bounds = field(default_factory=Bounds)
    archive: bool = True
    "There is one."


@dataclass(slots=True)
class _Copy:
    head: Room
    shown: Room


@dataclass(slots=True)
class _Turn:
    lock: Lock
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """An envelope as the door needs it."""

    before: Room
    "The room as it was when it is no more, else as it is. Not to be kept, nor `after`."
    after: Room
    envelope: RoomChanged
    missed: bool = False
    "Others before it did not come: `resync` tells what is so now."


class Rooms:
    """One per process. Events come back through `receive`, also those of the process's own actions."""

    def __init__(
        self,
        *,
        node: str,
        owner: str,
        policy: Policy,
        bus: RoomBus,
        store: RoomStore,
        clock: Callable[[], float],
        secret: Callable[[], bytes],
        lock: Callable[[], Lock],
    ) -> None:
        """`owner`: `NODE/INCARNATION`. `secret`: new random bytes. `lock`: a new fair mutex."""
        self.policy = policy
        self.node = node
        self.owner = owner
        self.clock = clock
        self._bus = bus
        self._store = store
        self._secret = secret
        self._lock = lock
        self._copies: dict[Address, _Copy] = {}
        self._turns: dict[Address, _Turn] = {}
        self._coming: dict[str, Room] = {}
        """State after an action of ours that brings the first of ours into a room, by its mark. Where it is
        not known whether it was done, it stays until others follow."""
        self._marks = 0

    def serves(self, domain: str) -> bool:
        return domain in self.policy.domains

    # --- doing --------------------------------------------------------------------------------

    async def enter(self, room: Address, entry: Entry, configuration: Configuration) -> None:
        """`configuration` is for a room that is made by it. Raises `Refused`."""

        def decide(found: Room | None) -> Step:
            if found is not None:
                return enter(found, entry)
            if not self.policy.anyone_creates:
                raise Refused(Condition.NOT_ALLOWED, "nobody makes rooms here")
            creator = entry.attendance.address
            made = create(creator, configuration, self._secret(), self.clock(), locked=True)
            assert made.head is not None
            step = enter(Room(room, 0, made.head, (), made.affiliated), entry, created=True)
            delta = Delta(head=made.head, affiliated=made.affiliated, occupants=step.delta.occupants)
            return Step(delta=delta, events=step.events, wish=step.wish, created=True)

        await self.act(room, decide)

    async def act(self, room: Address, decide: Decide, *, known: bool = True) -> Step:
        """Decide and do it; when this returns the bus has it. Raises `Refused`, `Unavailable`.

        What one process asks for is done in the order it was asked for. `known`: what this process knows of
        the room may be right.
        """
        async with self._turn(room):
            for attempt in range(MAX_ATTEMPTS):
                state = await self._newest(room, known=known and attempt == 0)
                step = decide(state)
                write = self._write(room, state, step)
                if write is None:
                    return step
                if await self._commit(room, state, step, write):
                    return step
        raise Unavailable("the room changes faster than it can be decided on")

    @asynccontextmanager
    async def _turn(self, room: Address) -> AsyncIterator[None]:
        turn = self._turns.get(room)
        if turn is None:
            turn = self._turns[room] = _Turn(self._lock())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting and self._turns.get(room) is turn:
                del self._turns[room]

    async def _newest(self, room: Address, *, known: bool) -> Room | None:
        copy = self._copies.get(room)
        if known and copy is not None and not copy.head.gone:
            return copy.head
        state = await self.look(room)
        copy = self._copies.get(room)
        if copy is not None and state is not None and state.version > copy.head.version:
            copy.head = state.copy()
        return state

    async def look(self, room: Address) -> Room | None:
        """The room as it is now; one that only the database has is made live."""
        for _ in range(MAX_ATTEMPTS):
            reading = await self._bus.read(room)
            if reading.room is not None:
                return reading.room
            if reading.unsaved:  # it is gone, and the database does not know yet
                await self._save(room)
                continue
            kept = await self._store.load_room(room)
            if kept is None:
                return None
            delta = Delta(head=kept.head, affiliated=tuple(kept.affiliated.values()))
            envelope = RoomChanged(
                room=room,
                version=self._version(kept.version),
                previous=0,
                mark="",
                delta=delta,
                events=(),
            )
            no_limit = Creation(kept.head.creator, 1 << 40, 1 << 40)
            await self._bus.write(Write(envelope=envelope, listed=_listed(kept), creation=no_limit))
        raise Unavailable("the room cannot be read")

    def known(self, room: Address) -> Room | None:
        """The newest state, if somebody of this process is in the room. Not to be kept, nor changed."""
        copy = self._copies.get(room)
        return copy.head if copy is not None and not copy.head.gone else None

    async def find(self, room: Address) -> Room:
        """To look at, when what was asked for before is done. Raises `Refused` ITEM_NOT_FOUND."""
        async with self._turn(room):
            found = self.known(room) or await self.look(room)
        if found is None:
            raise Refused(Condition.ITEM_NOT_FOUND, "there is no such room")
        return found

    def _version(self, before: int) -> int:
        return max(before + 1, int(self.clock() * 1000))

    def _write(self, room: Address, state: Room | None, step: Step) -> Write | None:
        delta = step.delta
        if not delta.changes and not step.events:
            return None
        previous = state.version if state is not None else 0
        version = self._version(previous) if delta.changes else previous
        self._marks += 1
        after = state
        if delta.changes:
            after = _applied(room, state, version, delta)
        assert after is not None
        before_nodes = state.nodes if state is not None else frozenset[str]()
        nodes = before_nodes | after.nodes
        if step.only:
            nodes = frozenset(each.node for each in after.occupants[step.only].attendances)
        envelope = RoomChanged(
            room=room,
            version=version,
            previous=previous,
            mark=f"{self.owner}:{self._marks}",
            delta=delta,
            events=step.events,
        )
        persistent = after.configuration.persistent or (state is not None and state.configuration.persistent)
        wish = step.wish
        recall = None
        if wish is not None:
            most = after.configuration.history
            if wish.messages is not None:
                most = min(most, wish.messages)
            recall = Recall(self.node, 0 if wish.characters == 0 else most, wish.since or 0.0)
        configuration = after.configuration
        return Write(
            envelope=envelope,
            nodes=tuple(sorted(nodes)),
            recall=recall,
            history=step.history,
            history_limit=configuration.history,
            history_bytes=self.policy.bounds.max_history_bytes,
            archived=step.archived if self.policy.archive else None,
            strike=step.strike,
            joined=tuple(sorted(after.nodes - before_nodes)),
            parted=tuple(sorted(before_nodes - after.nodes)),
            listed=_listed(after) if delta.changes and not delta.gone else None,
            creation=self._creation(after) if state is None else None,
            creator=after.head.creator if delta.gone else None,
            unsaved=delta.gone or (delta.lasting and persistent),
        )

    def _creation(self, made: Room) -> Creation:
        return Creation(made.head.creator, self.policy.per_domain, self.policy.per_account)

    async def _commit(self, room: Address, state: Room | None, step: Step, write: Write) -> bool:
        mark = write.envelope.mark
        first = self.node in write.joined
        if first:
            self._coming[mark] = _applied(room, state, write.envelope.version, step.delta)
            if len(self._coming) > MAX_COMING:
                del self._coming[next(iter(self._coming))]
        try:
            done = await self._bus.write(write)
        except Refused:
            self._coming.pop(mark, None)
            raise
        if not done:
            self._coming.pop(mark, None)
            return False
        if write.creation is not None:
            log.info("room_made", room=str(room), address=str(write.creation.creator))
        elif step.delta.gone:
            log.info("room_gone", room=str(room))
        copy = self._copies.get(room)
        if copy is not None and copy.head.version == write.envelope.previous:
            copy.head.apply(write.envelope.version, step.delta)
        if write.unsaved:
            await self._save_soon(room)
        return True

    # --- the database -------------------------------------------------------------------------

    async def _save_soon(self, room: Address) -> None:
        try:
            await self._save(room)
        except Unavailable as error:  # the bus remembers that it is to be done
            log.warning("room_not_saved", room=str(room), reason=str(error))

    async def _save(self, room: Address) -> None:
        reading = await self._bus.read(room)
        found = reading.room
        if found is not None and found.configuration.persistent:
            await self._store.save_room(found)
            version = found.version
        else:
            version = found.version if found is not None else self._version(0)
            await self._store.drop_room(room, version, archive=found is None)
        await self._bus.saved(room, version)

    async def save_all(self) -> int:
        """What some process could not tell the database. Returns how many rooms."""
        waiting = await self._bus.unsaved()
        for room in waiting:
            async with self._turn(room):
                await self._save(room)
        return len(waiting)

    async def strike(self, room: Address, id: str, stone: InstantMessage) -> bool:
        """See `RoomStore.strike`."""
        return await self._store.strike(room, id, stone)

    async def listing(self, domain: str, *, hidden: bool = False) -> list[Listed]:
        """Public rooms of a domain, in the order of their addresses; with `hidden`, all of them."""
        found = {each.room: each for each in await self._store.persistent_rooms(domain)}
        found.update((each.room, each) for each in await self._bus.listing(domain))
        return [found[room] for room in sorted(found) if hidden or found[room].public]

    # --- what comes of it ---------------------------------------------------------------------

    def receive(self, envelope: RoomChanged) -> Shown | None:
        """The next envelope of the inbox, if it is any news for who is here."""
        room = envelope.room
        coming = self._coming.pop(envelope.mark, None)
        copy = self._copies.get(room)
        if copy is None:
            if coming is None:
                return None
            self._copies[room] = copy = _Copy(coming, coming.copy())
            return Shown(copy.shown, copy.shown, envelope)
        missed = copy.shown.version != envelope.previous
        if missed and envelope.version <= copy.shown.version:
            return None
        if missed and coming is not None:
            copy.head, copy.shown = coming, coming.copy()
            return Shown(copy.shown, copy.shown, envelope, missed=True)
        changes = envelope.delta.changes
        before = copy.shown.copy() if changes and _needs_before(envelope) else copy.shown
        if changes:
            copy.shown.apply(envelope.version, envelope.delta)
            if copy.head.version == envelope.previous:
                copy.head.apply(envelope.version, envelope.delta)
            elif copy.head.version < envelope.version:
                copy.head = copy.shown.copy()
        if copy.shown.gone or not copy.shown.has_node(self.node):
            del self._copies[room]
        return Shown(before, copy.shown, envelope, missed=missed)

    async def resync(self, room: Address) -> tuple[Room, Room] | None:
        """What those here were shown last, and what is so now; None when nobody here is in the room."""
        async with self._turn(room):
            found = await self.look(room)
            copy = self._copies.get(room)
            if copy is None:
                return None
            before = copy.shown
            after = found or Room(room, before.version, before.head)
            log.warning("room_shown_anew", room=str(room))
            copy.head, copy.shown = after, after.copy()
            if not after.has_node(self.node):
                del self._copies[room]
            return before, after

    # --- the ends of processes ----------------------------------------------------------------

    async def sweep(self, node: str, incarnation: str | None) -> int:
        """Whoever was there by a process that is dead leaves. `incarnation`: the living one, if there is.
        Returns how many rooms were visited."""
        living = f"{node}/{incarnation}"
        rooms = await self._bus.inhabited(node)

        def decide(found: Room | None) -> Step:
            tokens = [
                each.token
                for occupant in (found.occupants.values() if found is not None else ())
                for each in occupant.attendances
                if each.node == node and (incarnation is None or each.owner != living)
            ]
            return leave(found, tuple(tokens), Departure.LOST)

        for room in rooms:
            await self.act(room, decide)
        return len(rooms)

    async def restate(self) -> None:
        """The bus may have forgotten who is here: say it again."""
        for room, copy in list(self._copies.items()):
            kept = copy.shown.copy()
            await self.act(room, _Restating(kept, self.owner), known=False)


class _Restating:
    """Puts back into a room whom a process has there."""

    def __init__(self, kept: Room, owner: str) -> None:
        self._kept = kept
        self._owner = owner

    def __call__(self, found: Room | None) -> Step:
        back: list[Occupant] = []
        for occupant in self._kept.occupants.values():
            there = found.occupants.get(occupant.nick) if found is not None else None
            if there is not None and there.address != occupant.address:
                continue  # the nickname is somebody else's by now
            missing = tuple(
                each
                for each in occupant.attendances
                if each.owner == self._owner and (found is None or found.by_token(each.token) is None)
            )
            if missing:
                others = there.attendances if there is not None else ()
                back.append(replace(there or occupant, attendances=(*others, *missing)))
        events = tuple(Updated(nick=each.nick) for each in back)
        if found is not None:
            return Step(delta=Delta(occupants=tuple(back)), events=events if back else ())
        if not back:
            return Step()
        affiliated = tuple(self._kept.affiliated.values())
        delta = Delta(head=self._kept.head, occupants=tuple(back), affiliated=affiliated)
        return Step(delta=delta, events=events)


def _needs_before(envelope: RoomChanged) -> bool:
    return envelope.delta.gone or any(each.__struct_config__.tag == "destroyed" for each in envelope.events)


def _applied(room: Address, state: Room | None, version: int, delta: Delta) -> Room:
    if state is None:
        assert delta.head is not None
        made = Room(room, version, delta.head)
        made.apply(version, delta)
        return made
    after = state.copy()
    after.apply(version, delta)
    return after


def _listed(room: Room) -> Listed:
    configuration = room.configuration
    return Listed(
        room=room.address,
        name=configuration.name,
        public=configuration.public and not room.head.locked,
        occupants=len(room.occupants),
    )
