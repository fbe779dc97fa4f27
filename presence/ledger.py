"""What hangs on one address, as a value: the model that both buses follow (docs/bus.md).

`presence.memory` keeps these; `presence.edge.redis` keeps the same in hashes, and its scripts do what the
methods here do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from presence.address import Address
from presence.errors import Conflict, StaleTag
from presence.messages import Audience, InstantMessage
from presence.model import LastSeen, Snapshot
from presence.ports import Cell, Endpoint, EndpointKind, Lease, SourceWrite, Submission, Update

DEDUP_SECONDS = 64.0
OVERDUE_SECONDS = 30.0
"An obligation nobody settled for so long is driven again."
DEAD_SECONDS = 10.0
PENDING_LIMIT = 1000
SENDER_LIMIT = 200
"""Messages of one sender that may wait for somebody for whom many wait: from half as many of anybody's on.
Where somebody is there to take them, half of all."""
LARGE = 16_384
"Bytes of a message that is weighed."
LARGE_LIMIT = 4_194_304
"Bytes of such messages that may wait for one address; of one sender, half of it."
INBOX_LIMIT = 100_000
TRACE_LIMIT = 100_000
ARCHIVE_LIMIT = 200_000
"Messages that may wait for the archive; beyond it nothing more is accepted for it."

OWED, UNREACHABLE, DELIVERED, REFUSED = "o", "u", "d", "r"


def live(lease: Lease, now: float) -> bool:
    return lease.expires is None or lease.expires > now


def owned_by_earlier(owner: str, node: str, incarnation: str | None) -> bool:
    """The owner is `node` under an incarnation other than this one (None: any)."""
    return owner.startswith(f"{node}/") and (incarnation is None or owner != f"{node}/{incarnation}")


@dataclass(slots=True)
class Waiting:
    """A stored message and where it stands with each endpoint it was ever sent to."""

    message: InstantMessage
    driven: float
    states: dict[str, str]
    crowded: bool = False
    "It was accepted while many waited."

    @property
    def in_flight(self) -> bool:
        return OWED in self.states.values()

    @property
    def taken(self) -> bool:
        return DELIVERED in self.states.values()


@dataclass(slots=True)
class Person:
    """Everything that hangs on one address."""

    address: Address
    version: int = 0
    last_seen: LastSeen | None = None
    sources: dict[str, SourceWrite] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    interest: set[str] = field(default_factory=set)
    pending: dict[str, Waiting] = field(default_factory=dict)
    "In order of acceptance."
    cells: dict[str, Cell] = field(default_factory=dict)
    seen: dict[str, tuple[float, str, Submission]] = field(default_factory=dict)
    "Dedup key → until, message id, answer."

    def snapshot(self, now: float) -> Snapshot:
        alive = {key for key, write in self.sources.items() if live(write.lease, now)}
        kept = [
            write.source
            for key, write in self.sources.items()
            if key in alive and (write.source.tied_to not in self.sources or write.source.tied_to in alive)
        ]
        return Snapshot(
            address=self.address,
            version=self.version,
            sources=tuple(sorted(kept, key=lambda source: source.id)),
            last_seen=self.last_seen,
        )

    def targets(self, message: InstantMessage, now: float) -> list[Endpoint]:
        """Where a message goes now: the endpoint it names while that lives, else every eligible one."""
        fit = [
            endpoint
            for endpoint in self.endpoints.values()
            if live(endpoint.lease, now)
            and (message.audience is Audience.ALL or endpoint.kind is EndpointKind.XMPP)
        ]
        named = [endpoint for endpoint in fit if endpoint.id == message.recipient_endpoint]
        return named or [endpoint for endpoint in fit if endpoint.eligible]

    def drop_source(self, key: str) -> None:
        """Drop a source and those tied to it."""
        if self.sources.pop(key, None) is not None:
            for tied in [k for k, write in self.sources.items() if write.source.tied_to == key]:
                del self.sources[tied]

    def drop_endpoint(self, key: str) -> None:
        if self.endpoints.pop(key, None) is not None:
            self.release(key)

    def release(self, key: str) -> None:
        """What was owed to this endpoint waits, or is settled if another one took it."""
        for message_id, waiting in list(self.pending.items()):
            if waiting.states.get(key) == OWED:
                waiting.states[key] = UNREACHABLE
                if waiting.taken and not waiting.in_flight:
                    del self.pending[message_id]

    def expire(self, now: float) -> None:
        for key in [k for k, write in self.sources.items() if not live(write.lease, now)]:
            self.drop_source(key)
        for key in [k for k, endpoint in self.endpoints.items() if not live(endpoint.lease, now)]:
            self.drop_endpoint(key)

    def due(self, now: float) -> bool:
        return (
            any(not live(write.lease, now) for write in self.sources.values())
            or any(not live(endpoint.lease, now) for endpoint in self.endpoints.values())
            or any(w.in_flight and w.driven + OVERDUE_SECONDS <= now for w in self.pending.values())
        )


def check(person: Person, update: Update, now: float) -> None:
    """Every condition of the update holds, or `StaleTag`, `Conflict`."""
    expected = [(w.source.id, w.expect) for w in update.put_sources if w.expect is not None]
    for key, tag in (*expected, *update.expect_tags):
        write = person.sources.get(key)
        if write is None or not live(write.lease, now) or write.tag != tag:
            raise StaleTag(key)
    for cell in update.cells:
        if person.cells.get(cell.name, Cell(0, b"")).version != cell.expect:
            raise Conflict(cell.name)


def printable(value: Any) -> Any:
    """Builtins for humans; bytes only by their length, for bodies and payloads are nobody's business."""
    match value:
        case msgspec.Struct():
            return printable(msgspec.structs.asdict(value))
        case dict():
            return {str(key): printable(item) for key, item in value.items()}
        case list() | tuple():
            return [printable(item) for item in value]
        case bytes():
            return f"{len(value)} bytes"
        case _:
            return value


STATES = {OWED: "owed", UNREACHABLE: "unreachable", DELIVERED: "delivered", REFUSED: "refused"}


def pending_summary(message: InstantMessage, states: dict[str, str]) -> dict[str, Any]:
    """A waiting message without its content."""
    return {
        "id": message.id,
        "trace": message.trace,
        "sender": str(message.sender),
        "kind": str(message.kind),
        "created": message.created,
        "expires": message.expires,
        "endpoints": {endpoint: STATES.get(state, state) for endpoint, state in sorted(states.items())},
    }
