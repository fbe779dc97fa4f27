"""Builders for tests of rooms."""

from __future__ import annotations

from typing import Any

from presence.address import Address
from presence.messages import InstantMessage, Kind
from presence.model import PresenceTuple, Text
from presence.rooms.model import (
    Affiliated,
    Affiliation,
    Attendance,
    Configuration,
    Head,
    Occupant,
    Role,
    Room,
)

TEA = Address("tea", "rooms.example.org")
ALICE = Address("alice", "example.org")
BOB = Address("bob", "example.org")
CAROL = Address("carol", "example.org")
DAVE = Address("dave", "example.org")
NOW = 1_800_000_000.0


def attendance(
    address: Address = ALICE, token: str = "", *, node: str = "xmpp-1", owner: str = "", endpoint: str = ""
) -> Attendance:
    return Attendance(
        address=address,
        endpoint=endpoint or "xmpp:desk",
        token=token or address.local,
        node=node,
        owner=owner or f"{node}/a",
        presence=PresenceTuple(id=""),
    )


def occupant(
    address: Address = ALICE, role: Role = Role.PARTICIPANT, nick: str = "", *, node: str = "xmpp-1"
) -> Occupant:
    """Whose nickname and token are the person's name."""
    return Occupant(
        nick=nick or address.local,
        address=address,
        role=role,
        attendances=(attendance(address, node=node),),
    )


def head(*, creator: Address = ALICE, locked: bool = False, **configuration: Any) -> Head:
    chosen = Configuration(**configuration)
    return Head(configuration=chosen, creator=creator, created=NOW, secret=b"secret", locked=locked)


def room(
    *occupants: Occupant,
    affiliations: dict[Address, Affiliation] | None = None,
    nicks: dict[Address, str] | None = None,
    locked: bool = False,
    **configuration: Any,
) -> Room:
    """Alice's."""
    standing = {ALICE: Affiliation.OWNER} | (affiliations or {})
    reserved = nicks or {}
    affiliated = [Affiliated(a, standing[a], reserved.get(a, "")) for a in standing]
    return Room(TEA, 1, head(locked=locked, **configuration), occupants, affiliated)


def said(text: str = "hello", name: str = "m1", nick: str = "alice") -> InstantMessage:
    return InstantMessage(
        id=name,
        trace=f"t-{name}",
        sender=TEA,
        sender_tuple=nick,
        recipient=TEA,
        kind=Kind.GROUPCHAT,
        bodies=(Text(text),),
        created=NOW,
        copied=False,
        opaque={"xmpp": b"\xff\x00<active/>"},
    )
