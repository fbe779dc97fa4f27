"""Builders for tests of the bus."""

from __future__ import annotations

from collections.abc import Iterable

from presence.address import Address
from presence.messages import InstantMessage
from presence.model import PresenceTuple, Source, Text
from presence.ports import (
    Bus,
    Deliver,
    Endpoint,
    EndpointKind,
    Inbound,
    Lease,
    NodeInfo,
    PresenceChanged,
    SourceWrite,
    Update,
)

ALICE = Address("alice", "example.org")
BOB = Address("bob", "example.org")
CAROL = Address("carol", "example.org")


class Clock:
    """The time both bus and test go by."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def source(
    name: str = "laptop",
    *,
    note: str = "",
    owner: str = "xmpp-1/a",
    expires: float | None = None,
    tag: str = "",
    expect: str | None = None,
    tied_to: str = "",
) -> SourceWrite:
    notes = (Text(note),) if note else ()
    return SourceWrite(
        source=Source(id=name, tuples=(PresenceTuple(id=name, notes=notes),), tied_to=tied_to),
        lease=Lease(expires=expires, owner=owner),
        tag=tag,
        expect=expect,
    )


def endpoint(
    name: str = "xmpp:laptop",
    *,
    node: str = "xmpp-1",
    owner: str = "xmpp-1/a",
    expires: float | None = None,
    eligible: bool = True,
) -> Endpoint:
    return Endpoint(
        id=name,
        kind=EndpointKind(name.partition(":")[0]),
        node=node,
        lease=Lease(expires=expires, owner=owner),
        eligible=eligible,
    )


PHONE = endpoint("sip:phone", node="sip-1", owner="", expires=1_800_003_600.0)
"A UDP registration: leased by time alone."
LAPTOP = endpoint()


def message(name: str = "m1", **fields: object) -> InstantMessage:
    usual: dict[str, object] = {
        "id": name,
        "trace": f"t-{name}",
        "sender": BOB,
        "sender_endpoint": "sip:desk",
        "recipient": ALICE,
        "bodies": (Text("Grüße 🐘 <&>\n"),),
        "created": 1_800_000_000.0,
        "opaque": {"xmpp": b"\xff\x00<active/>"},
        "copied": False,
    }
    return InstantMessage(**{**usual, **fields})  # type: ignore[arg-type]


def node(name: str, beat: float, incarnation: str = "a") -> NodeInfo:
    role = name.partition("-")[0]
    return NodeInfo(name=name, role=role, incarnation=incarnation, started=beat, beat=beat)


async def put(bus: Bus, now: float, *endpoints: Endpoint, address: Address = ALICE) -> None:
    await bus.commit(address, Update(put_endpoints=endpoints), now)


async def inbox(bus: Bus, name: str) -> list[Inbound]:
    """What is in a node's inbox now."""
    return await bus.receive(name, 0)


async def delivered(bus: Bus, name: str) -> list[tuple[str, tuple[str, ...], bool]]:
    """Message id, endpoints and whether it is delayed, of what a node has to deliver now."""
    found = await inbox(bus, name)
    return [(e.message.id, e.endpoints, e.delayed) for e in found if isinstance(e, Deliver)]


def ids(sources: Iterable[Source]) -> list[str]:
    return [found.id for found in sources]


def shown(envelopes: Iterable[Inbound]) -> list[tuple[str, list[str]]]:
    """Address and source ids of each presence change."""
    return [
        (str(e.snapshot.address), ids(e.snapshot.sources))
        for e in envelopes
        if isinstance(e, PresenceChanged)
    ]
