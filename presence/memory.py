"""The bus in one process's memory: the reference model of `presence.ports.Bus`, for unit tests.

Nothing survives and nothing is shared with other processes. `presence.edge.redis` keeps the same contract;
`tests/presence/test_bus_contract.py` holds both to it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from presence.address import Address
from presence.archive import position_at
from presence.errors import Condition, Conflict, Refused, Unavailable
from presence.ledger import (
    ARCHIVE_LIMIT,
    DEAD_SECONDS,
    DEDUP_SECONDS,
    DELIVERED,
    INBOX_LIMIT,
    LARGE,
    LARGE_LIMIT,
    OVERDUE_SECONDS,
    OWED,
    PENDING_LIMIT,
    REFUSED,
    SENDER_LIMIT,
    TRACE_LIMIT,
    UNREACHABLE,
    Person,
    Waiting,
    check,
    live,
    owned_by_earlier,
    pending_summary,
    printable,
)
from presence.messages import Accepted, Delivery, InstantMessage
from presence.model import LastSeen, Snapshot, Source
from presence.ports import (
    AuthorisationChanged,
    Cell,
    Committed,
    Copy,
    Deliver,
    Endpoint,
    EndpointKind,
    Failed,
    Inbound,
    Inquiry,
    KeptChanged,
    NodeInfo,
    PresenceChanged,
    RecordTaken,
    Relay,
    Settled,
    Submission,
    TraceEntry,
    Unarchived,
    Update,
    Word,
)

_STALE = (PresenceChanged, Deliver, Copy, Relay, Word, Inquiry, RecordTaken)
"Envelopes that mean nothing to the next incarnation."


class MemoryBus:
    """Implements `presence.ports.Bus`. `clock` serves the few calls that carry no time."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        pending_limit: int = PENDING_LIMIT,
        sender_limit: int = SENDER_LIMIT,
        inbox_limit: int = INBOX_LIMIT,
        archive_limit: int = ARCHIVE_LIMIT,
    ) -> None:
        self.breaks = 0
        self._clock = clock
        self._pending_limit = pending_limit
        self._sender_limit = sender_limit
        self._inbox_limit = inbox_limit
        self._archive_limit = archive_limit
        self._unarchived: list[Unarchived] = []
        self._archive_position = 0
        self._archive_arrival = asyncio.Event()
        self._leases: dict[str, tuple[str, float]] = {}
        self._people: dict[Address, Person] = {}
        self._inboxes: dict[str, deque[Inbound]] = {}
        self._arrivals: dict[str, asyncio.Event] = {}
        self._nodes: dict[str, NodeInfo] = {}
        self._joined: set[tuple[str, str]] = set()
        self._records: dict[str, dict[str, bytes]] = {}
        self._traces: deque[TraceEntry] = deque(maxlen=TRACE_LIMIT)
        self._traced = 0
        self._trace_arrival = asyncio.Event()

    def _person(self, address: Address) -> Person:
        person = self._people.get(address)
        if person is None:
            person = self._people[address] = Person(address)
        return person

    # --- changes ------------------------------------------------------------------------------

    async def commit(self, address: Address, update: Update, now: float, trace: str = "") -> Committed:
        person = self._person(address)
        check(person, update, now)
        before = {key: write.source for key, write in person.sources.items()}
        person.expire(now)
        only = update.only_owner
        for key in update.drop_sources:
            if key in person.sources and only in (None, person.sources[key].lease.owner):
                person.drop_source(key)
        for key in update.drop_endpoints:
            if key in person.endpoints and only in (None, person.endpoints[key].lease.owner):
                person.drop_endpoint(key)
        for write in update.put_sources:
            person.sources[write.source.id] = write
        for endpoint in update.put_endpoints:
            old = person.endpoints.get(endpoint.id)
            if old is not None and (old.lease.owner, old.node) != (endpoint.lease.owner, endpoint.node):
                person.drop_endpoint(endpoint.id)
            person.endpoints[endpoint.id] = endpoint
        for cell in update.cells:
            if cell.data:
                person.cells[cell.name] = Cell(cell.expect + 1, cell.data)
            else:
                person.cells.pop(cell.name, None)
        changed = self._announce(person, before, now, trace, update.farewell)
        self._drive(person, now, put={endpoint.id for endpoint in update.put_endpoints})
        return Committed(version=person.version, changed=changed, snapshot=person.snapshot(now))

    def _announce(
        self,
        person: Person,
        before: dict[str, Source],
        now: float,
        trace: str = "",
        farewell: LastSeen | None = None,
    ) -> bool:
        """If the sources differ from before: a new version, and the snapshot to whoever is interested."""
        if before == {key: write.source for key, write in person.sources.items()}:
            return False
        person.version = max(person.version + 1, int(now * 1000))
        if before and not person.sources:
            person.last_seen = farewell or LastSeen(at=now)
        envelope = PresenceChanged(snapshot=person.snapshot(now), trace=trace)
        for node in sorted(person.interest):
            self.post(node, envelope)
        return True

    def _drive(
        self, person: Person, now: float, *, put: set[str] | None = None, again: set[str] | None = None
    ) -> None:
        """Send what waits to the endpoints that may take it.

        A waiting message goes to live targets it never went to, and to an endpoint just `put` that missed it.
        `again` names endpoints that get once more whatever they still owe an answer for.
        """
        put, again = put or set(), again or set()
        for message_id, waiting in list(person.pending.items()):
            if waiting.message.expires is not None and waiting.message.expires <= now:
                del person.pending[message_id]
                continue
            waits = not waiting.in_flight
            chosen = []
            for endpoint in person.targets(waiting.message, now):
                state = waiting.states.get(endpoint.id)
                if (state is None and waits) or (state == UNREACHABLE and endpoint.id in put):
                    chosen.append(endpoint)
            repeated = [person.endpoints[k] for k, s in waiting.states.items() if s == OWED and k in again]
            if chosen or repeated:
                waiting.driven = now
                waiting.states.update({endpoint.id: OWED for endpoint in chosen})
                self._deliver(waiting.message, chosen + repeated, delayed=True)

    def _deliver(self, message: InstantMessage, endpoints: list[Endpoint], *, delayed: bool) -> None:
        nodes: dict[str, list[str]] = {}
        for endpoint in endpoints:
            nodes.setdefault(endpoint.node, []).append(endpoint.id)
        for node, ids in nodes.items():
            self.post(node, Deliver(message=message, endpoints=tuple(ids), delayed=delayed))

    # --- reading ------------------------------------------------------------------------------

    async def snapshots(self, addresses: Sequence[Address], now: float) -> list[Snapshot]:
        nobody = Person
        return [(self._people.get(address) or nobody(address)).snapshot(now) for address in addresses]

    async def watch(self, node: str, addresses: Sequence[Address], now: float) -> list[Snapshot]:
        for address in addresses:
            self._person(address).interest.add(node)
        return await self.snapshots(addresses, now)

    async def unwatch(self, node: str, addresses: Sequence[Address]) -> None:
        for address in addresses:
            self._person(address).interest.discard(node)

    async def endpoints(self, address: Address, now: float) -> list[Endpoint]:
        kept = self._person(address).endpoints.values()
        return sorted((e for e in kept if live(e.lease, now)), key=lambda endpoint: endpoint.id)

    async def tag(self, address: Address, source_id: str) -> str | None:
        write = self._person(address).sources.get(source_id)
        return write.tag if write is not None and live(write.lease, self._clock()) else None

    async def cell(self, address: Address, name: str) -> Cell:
        return self._person(address).cells.get(name, Cell(0, b""))

    # --- messages -----------------------------------------------------------------------------

    async def submit(
        self, message: InstantMessage, now: float, dedup: str = "", through: Address | None = None
    ) -> Submission:
        return self._submit(message, now, dedup, through)

    def accept(
        self, message: InstantMessage, now: float, then: Callable[[Submission | Refused | Unavailable], None]
    ) -> None:
        outcome: Submission | Refused
        try:
            outcome = self._submit(message, now)
        except Refused as refusal:
            outcome = refusal
        then(outcome)

    def _submit(
        self, message: InstantMessage, now: float, dedup: str = "", through: Address | None = None
    ) -> Submission:
        person = self._person(through or message.recipient)
        key = dedup or message.id
        until, seen_id, answer = person.seen.get(key, (0.0, "", Submission(Accepted.STORED)))
        if until > now:
            return answer if seen_id == message.id else Submission(Accepted.DUPLICATE, answer.endpoints)
        if message.store and len(person.pending) >= self._pending_limit:
            self._drive(person, now)  # what has expired makes room
            if len(person.pending) >= self._pending_limit:
                raise Refused(Condition.RESOURCE_CONSTRAINT, "too many messages wait for the recipient")
        targets = person.targets(message, now)
        crowded = message.store and len(person.pending) * 2 >= self._sender_limit
        most = self._pending_limit / 2 if targets else self._sender_limit
        if crowded and self._crowding(person, message.sender) >= most:
            raise Refused(Condition.RESOURCE_CONSTRAINT, "too many of your messages wait for the recipient")
        if message.store and self._too_heavy(person, message):
            raise Refused(Condition.RESOURCE_CONSTRAINT, "too many of your messages wait for the recipient")
        kept = message.archived and self._archive_limit > 0
        if kept:
            self.check_archive()
        ids = tuple(endpoint.id for endpoint in targets)
        if message.store:
            person.pending[message.id] = Waiting(message, now, dict.fromkeys(ids, OWED), crowded)
            answer = Submission(Accepted.LIVE if ids else Accepted.STORED, ids)
        else:
            answer = Submission(Accepted.LIVE if ids else Accepted.DROPPED, ids)
        self._deliver(message, targets, delayed=False)
        if kept and answer.accepted is not Accepted.DROPPED:
            self.file(message)
        if message.copied and (ids or through is None):
            self._copy(message, person, ids, now)
        person.seen[key] = (now + DEDUP_SECONDS, message.id, answer)
        if len(person.seen) > 4096:
            person.seen = {k: entry for k, entry in person.seen.items() if entry[0] > now}
        return answer

    @staticmethod
    def _crowding(person: Person, sender: Address) -> int:
        return sum(each.crowded and each.message.sender == sender for each in person.pending.values())

    @staticmethod
    def _too_heavy(person: Person, message: InstantMessage) -> bool:
        size = len(msgspec.msgpack.encode(message))
        if size <= LARGE:
            return False
        waiting = [
            (each.message, len(msgspec.msgpack.encode(each.message))) for each in person.pending.values()
        ]
        large = [(other.sender, weight) for other, weight in waiting if weight > LARGE]
        theirs = size + sum(weight for sender, weight in large if sender == message.sender)
        return size + sum(weight for _, weight in large) > LARGE_LIMIT or theirs > LARGE_LIMIT / 2

    def check_archive(self) -> None:
        if len(self._unarchived) >= self._archive_limit > 0:
            raise Refused(Condition.RESOURCE_CONSTRAINT, "the archive does not keep up")

    def file(self, message: InstantMessage) -> None:
        """On its way into the archive."""
        self._archive_position = max(self._archive_position + 1, position_at(self._clock()))
        self._unarchived.append(Unarchived(self._archive_position, msgspec.msgpack.encode(message)))
        self._archive_arrival.set()

    def _copy(self, message: InstantMessage, person: Person, addressed: tuple[str, ...], now: float) -> None:
        """To the XMPP clients of both that it was not addressed to."""
        own = message.sender == person.address
        sending = message.sender_endpoint
        self._post_copies(message, person, {*addressed, sending} if own else set(addressed), now, sent=False)
        if not own and message.sender in self._people:
            self._post_copies(message, self._people[message.sender], {sending}, now, sent=True)

    def _post_copies(
        self, message: InstantMessage, person: Person, without: set[str], now: float, *, sent: bool
    ) -> None:
        nodes: dict[str, list[str]] = {}
        for endpoint in sorted(person.endpoints.values(), key=lambda e: e.id):
            xmpp = endpoint.kind is EndpointKind.XMPP
            if xmpp and endpoint.id not in without and live(endpoint.lease, now):
                nodes.setdefault(endpoint.node, []).append(endpoint.id)
        for node, ids in nodes.items():
            self.post(node, Copy(message=message, endpoints=tuple(ids), sent=sent))

    async def unarchived(self, limit: int, timeout: float) -> list[Unarchived]:  # noqa: ASYNC109
        if not self._unarchived and timeout > 0:
            self._archive_arrival.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._archive_arrival.wait()
            except TimeoutError:
                return []
        return self._unarchived[:limit]

    async def forget_unarchived(self, position: int) -> None:
        self._unarchived = [each for each in self._unarchived if each.position > position]

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        now = self._clock()
        other, until = self._leases.get(name, (holder, 0.0))
        if other != holder and until > now:
            return False
        self._leases[name] = (holder, now + seconds)
        return True

    async def settle(
        self, recipient: Address, message_id: str, endpoint: str, delivery: Delivery, now: float
    ) -> Settled:
        return self._settle(recipient, message_id, endpoint, delivery, now)

    def delivered(
        self,
        recipient: Address,
        message_id: str,
        endpoint: str,
        now: float,
        then: Callable[[Unavailable | None], None],
    ) -> None:
        self._settle(recipient, message_id, endpoint, Delivery.DELIVERED, now)
        then(None)

    def _settle(
        self, recipient: Address, message_id: str, endpoint: str, delivery: Delivery, now: float
    ) -> Settled:
        person = self._person(recipient)
        waiting = person.pending.get(message_id)
        state = waiting.states.get(endpoint) if waiting else None
        new = {
            Delivery.DELIVERED: DELIVERED,
            Delivery.UNREACHABLE: UNREACHABLE,
            Delivery.REFUSED: REFUSED,
        }[delivery]
        if waiting is None or state not in (OWED, UNREACHABLE) or state == new:
            return Settled(done=False)
        waiting.states[endpoint] = new
        if waiting.in_flight:
            return Settled(done=False)
        if waiting.taken:
            del person.pending[message_id]
            return Settled(done=True)
        self._drive(person, now)
        if UNREACHABLE in waiting.states.values() or waiting.in_flight:
            return Settled(done=False)
        person.pending.pop(message_id, None)
        return Settled(done=True, failed=waiting.message)

    # --- envelopes ----------------------------------------------------------------------------

    async def relay(self, envelope: Relay) -> int:
        now = self._clock()
        nodes = {
            endpoint.node
            for endpoint in self._person(envelope.address).endpoints.values()
            if live(endpoint.lease, now)
            and endpoint.kind is envelope.kind
            and envelope.endpoint in ("", endpoint.id)
        }
        for node in sorted(nodes):
            self.post(node, envelope)
        return len(nodes)

    async def tell(self, address: Address, envelope: AuthorisationChanged | Failed | KeptChanged) -> None:
        person = self._person(address)
        for node in sorted({endpoint.node for endpoint in person.endpoints.values()} | person.interest):
            self.post(node, envelope)

    async def broadcast(self, envelope: Inbound, node: str = "") -> None:
        oldest = self._clock() - DEAD_SECONDS
        for each in sorted(name for name, info in self._nodes.items() if info.beat >= oldest):
            if node in ("", each):
                self.post(each, envelope)

    def post(self, node: str, envelope: Inbound) -> None:
        inbox = self._inboxes.get(node)
        if inbox is None:
            inbox = self._inboxes[node] = deque(maxlen=self._inbox_limit)
        inbox.append(envelope)
        self._arrival(node).set()

    def _arrival(self, node: str) -> asyncio.Event:
        return self._arrivals.setdefault(node, asyncio.Event())

    async def receive(self, node: str, timeout: float) -> list[Inbound]:  # noqa: ASYNC109
        if not self._inboxes.get(node):
            self._arrival(node).clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._arrival(node).wait()
            except TimeoutError:
                return []
        return self.drain(node)

    def drain(self, node: str) -> list[Inbound]:
        """What is in the inbox now, without waiting."""
        inbox = self._inboxes.pop(node, None)
        return list(inbox) if inbox else []

    # --- records and nodes --------------------------------------------------------------------

    async def put_records(self, node: str, records: dict[str, bytes]) -> list[str]:
        others = [kept for other, kept in self._records.items() if other != node]
        taken = [key for key in records if any(key in kept for kept in others)]
        self._records.setdefault(node, {}).update({k: v for k, v in records.items() if k not in taken})
        return taken

    async def drop_records(self, node: str, keys: Iterable[str]) -> None:
        kept = self._records.get(node, {})
        for key in keys:
            kept.pop(key, None)

    async def records(self, node: str) -> dict[str, bytes]:
        return dict(self._records.get(node, {}))

    async def has_record(self, node: str, key: str) -> bool:
        return key in self._records.get(node, {})

    async def take_record(self, node: str, key: str) -> bytes | None:
        mine = self._records.setdefault(node, {})
        for other, kept in self._records.items():
            if other != node and key not in mine and key in kept:
                mine[key] = kept.pop(key)
                self.post(other, RecordTaken(key=key))
        return mine.get(key)

    async def join(self, info: NodeInfo) -> None:
        me = (info.name, info.incarnation)
        known = self._nodes.get(info.name)
        if me in self._joined and (known is None or known.incarnation != info.incarnation):
            raise Conflict(f"{info.name} was taken for dead, or replaced: what it owned has ended")
        self._joined.add(me)
        self._nodes[info.name] = info

    async def leave(self, name: str) -> None:
        info = self._nodes.pop(name, None)
        if info is not None:
            self._joined.discard((name, info.incarnation))

    async def nodes(self) -> list[NodeInfo]:
        return [self._nodes[name] for name in sorted(self._nodes)]

    async def sweep(self, node: str, incarnation: str | None, now: float) -> int:
        inbox = self._inboxes.pop(node, deque())
        if incarnation is None:
            self._nodes.pop(node, None)
        else:
            for envelope in inbox:
                if not isinstance(envelope, _STALE):
                    self.post(node, envelope)
        count = 0
        for person in self._people.values():
            person.interest.discard(node)
            before = {key: write.source for key, write in person.sources.items()}
            ended = [
                k for k, w in person.sources.items() if owned_by_earlier(w.lease.owner, node, incarnation)
            ]
            lost = [
                k for k, e in person.endpoints.items() if owned_by_earlier(e.lease.owner, node, incarnation)
            ]
            for key in ended:
                person.drop_source(key)
            for key in lost:
                person.drop_endpoint(key)
            self._announce(person, before, now)
            again = {k for k, e in person.endpoints.items() if e.node == node and incarnation is not None}
            self._drive(person, now, again=again)
            count += bool(ended or lost)
        return count

    async def maintain(self, now: float, limit: int = 100) -> int:
        due = [person for person in self._people.values() if person.due(now)][:limit]
        for person in due:
            before = {key: write.source for key, write in person.sources.items()}
            person.expire(now)
            self._announce(person, before, now)
            self._drive(person, now)
            for waiting in person.pending.values():
                if waiting.in_flight and waiting.driven + OVERDUE_SECONDS <= now:
                    waiting.driven = now
                    owed = [person.endpoints[k] for k, s in waiting.states.items() if s == OWED]
                    self._deliver(waiting.message, owed, delayed=True)
        return len(due)

    # --- inspection ---------------------------------------------------------------------------

    def trace(self, entry: TraceEntry) -> None:
        self._traces.append(entry)
        self._traced += 1
        self._trace_arrival.set()

    async def traces(
        self,
        *,
        trace: str = "",
        address: str = "",
        after: str = "",
        limit: int = 500,
        timeout: float = 0.0,  # noqa: ASYNC109
    ) -> tuple[str, list[TraceEntry]]:
        position = self._traced if after == "$" else int(after or 0)
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            oldest = self._traced - len(self._traces)
            found: list[TraceEntry] = []
            for position in range(max(position, oldest), self._traced):  # noqa: B020
                entry = self._traces[position - oldest]
                if trace in ("", entry.trace) and address in ("", entry.address, entry.peer):
                    found.append(entry)
                    if len(found) >= limit:
                        return str(position + 1), found
            position = self._traced
            self._trace_arrival.clear()
            if found or asyncio.get_running_loop().time() >= deadline:
                return str(position), found
            try:
                async with asyncio.timeout_at(deadline):
                    await self._trace_arrival.wait()
            except TimeoutError:
                return str(position), []

    async def inspect(self, address: Address, now: float) -> dict[str, Any]:
        person = self._person(address)
        return {
            "address": str(address),
            "version": person.version,
            "last_seen": msgspec.to_builtins(person.last_seen),
            "sources": [
                {"source": printable(w.source), "lease": printable(w.lease), "tag": w.tag}
                for _, w in sorted(person.sources.items())
            ],
            "endpoints": [printable(endpoint) for _, endpoint in sorted(person.endpoints.items())],
            "interest": sorted(person.interest),
            "pending": [
                pending_summary(waiting.message, waiting.states) for waiting in person.pending.values()
            ],
            "cells": {
                name: {"version": cell.version, "bytes": len(cell.data)}
                for name, cell in sorted(person.cells.items())
            },
        }

    async def ping(self) -> float:
        return 0.0

    async def close(self) -> None:
        return None
