"""What rooms need of the bus and of the database.

`presence/edge/` implements both, `presence.rooms.memory` the bus for unit tests.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from presence.address import Address
from presence.messages import InstantMessage
from presence.rooms.events import Event
from presence.rooms.model import Delta, Room


class RoomChanged(msgspec.Struct, frozen=True, kw_only=True, tag="room"):
    """For every node that has somebody in the room, before or after it. All get all of them, in one order."""

    room: Address
    version: int
    "After it."
    previous: int
    "Version of the room it happened in; the same where nothing but words were exchanged."
    mark: str
    "Given by the process where it was decided."
    delta: Delta
    events: tuple[Event, ...]
    history: tuple[InstantMessage, ...] = ()
    "For the node of who enters: what was said before, oldest first."


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A room as those see it who look for one."""

    room: Address
    name: str = ""
    public: bool = True
    occupants: int = 0


class Recall(msgspec.Struct, frozen=True):
    """What was said before, for one node."""

    node: str
    most: int
    since: float = 0.0
    "Unix seconds."


class Creation(msgspec.Struct, frozen=True):
    """The room is new; it counts."""

    creator: Address
    per_domain: int
    per_account: int


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One atomic step: all of it happens, or nothing."""

    envelope: RoomChanged
    "`previous` is the version the room must have now (0: none), `version` the one it has then."
    nodes: tuple[str, ...] = ()
    "Whose inboxes get the envelope."
    recall: Recall | None = None
    history: InstantMessage | None = None
    history_limit: int = 0
    "Messages that are kept; the oldest go."
    history_bytes: int = 262_144
    "Bytes of them. When there are more, the oldest go until a quarter of that is free."
    archived: InstantMessage | None = None
    strike: str = ""
    "Id of a message to be taken out of what is shown to those who enter."
    joined: tuple[str, ...] = ()
    "Nodes that have somebody here now, and had nobody."
    parted: tuple[str, ...] = ()
    "The other way round."
    listed: Listed | None = None
    "What the list shows from now on; None: as before."
    creation: Creation | None = None
    creator: Address | None = None
    "Of a room that goes."
    unsaved: bool = False
    "The database has to be told."


class Reading(msgspec.Struct, frozen=True):
    room: Room | None
    "None: the bus knows of none."
    unsaved: bool
    "The database is behind: what it says about the room does not count."


class RoomBus(Protocol):
    """Live rooms. Every method may raise `Unavailable`."""

    async def read(self, room: Address) -> Reading: ...

    async def write(self, write: Write) -> bool:
        """False: the room has another version by now, and nothing happened. Raises `Refused`
        RESOURCE_CONSTRAINT: the archive does not keep up; there are too many rooms."""

    async def listing(self, domain: str) -> list[Listed]:
        """All live rooms, also those not listed."""

    async def inhabited(self, node: str) -> list[Address]:
        """Rooms that have somebody at the node."""

    async def unsaved(self) -> list[Address]:
        """Rooms the database has to be told of."""

    async def saved(self, room: Address, version: int) -> None:
        """It has been, up to this version."""


class RoomStore(Protocol):
    """Rooms that outlive their occupants. Every method may raise `Unavailable`."""

    async def load_room(self, room: Address) -> Room | None:
        """Without occupants."""

    async def save_room(self, room: Room) -> None:
        """Unless a later version is there already."""

    async def drop_room(self, room: Address, version: int, *, archive: bool) -> None:
        """Unless a later version is there. `archive`: with what was said."""

    async def persistent_rooms(self, domain: str) -> list[Listed]: ...

    async def strike(self, room: Address, id: str, stone: InstantMessage) -> bool:
        """Put something else in a message's place in the room's archive. False: it is not there (yet)."""
