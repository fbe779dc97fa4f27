"""presence/edge/codec.py and docs/bus.md: what is on the bus can be read by anyone, and is documented."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest

from presence.edge import codec, schema
from presence.edge.redis import RedisBus
from presence.errors import Condition
from presence.messages import Failure
from presence.model import LastSeen, Snapshot, Source
from presence.ports import (
    AccountChanged,
    AuthorisationChanged,
    Copy,
    Deliver,
    EndpointKind,
    Failed,
    Inbound,
    Inquiry,
    KeptChanged,
    PresenceChanged,
    RecordTaken,
    Relay,
    TraceEntry,
    Update,
    Waiting,
    Word,
)
from presence.rooms.events import Entered, Left, Said
from presence.rooms.model import Delta
from presence.rooms.ports import RoomChanged
from presence.subscriptions import RosterItem
from tests.support.buses import ALICE, BOB, LAPTOP, PHONE, endpoint, message, put, source
from tests.support.rooms import TEA, head, occupant, said

NOW = 1_800_000_000.0
PAGE = Path(__file__).parents[2] / "docs/bus.md"

EXAMPLES: list[Inbound] = [
    PresenceChanged(
        snapshot=Snapshot(address=ALICE, version=7, sources=(source().source,), last_seen=LastSeen(NOW)),
        trace="t",
    ),
    Deliver(message=message(), endpoints=("xmpp:laptop",), delayed=True),
    Copy(message=message(), endpoints=("xmpp:tablet",), sent=True),
    Relay(address=ALICE, endpoint="", kind=EndpointKind.XMPP, payload=b"\xff"),
    AuthorisationChanged(
        owner=ALICE, contact=BOB, item=RosterItem(contact=BOB), previous=RosterItem(contact=BOB)
    ),
    Failed(
        failure=Failure(
            message_id="m",
            trace="t",
            origin_id="o",
            sender=BOB,
            sender_endpoint="",
            recipient=ALICE,
            condition=Condition.FORBIDDEN,
        )
    ),
    AccountChanged(address=ALICE),
    KeptChanged(owner=ALICE),
    RecordTaken(key="sip-dialog:0af3"),
    Word(kind=EndpointKind.SIP, node="sip-1", payload=b"\x93abc"),
    Waiting(message=message()),
    RoomChanged(
        room=TEA,
        version=3,
        previous=2,
        mark="xmpp-1/a:1",
        delta=Delta(head=head(), occupants=(occupant(ALICE),), left=("bob",)),
        events=(Entered(nick="alice", token="t"), Left(occupant=occupant(BOB)), Said(message=said())),
        history=(said(),),
    ),
    Inquiry(id="1", asker="admin-1"),
]


def test_there_is_an_example_of_every_envelope() -> None:
    assert {type(example) for example in EXAMPLES} == set(schema.ENVELOPES)


@pytest.mark.parametrize("envelope", EXAMPLES, ids=lambda envelope: type(envelope).__name__)
def test_every_envelope_comes_back_and_reads_with_plain_msgpack(envelope: Inbound) -> None:
    data = codec.encode(envelope)
    assert codec.decode_inbound(data) == envelope
    plain = msgpack.unpackb(data)
    assert plain["type"] == type(envelope).__struct_config__.tag
    assert msgspec.convert(plain, Inbound) == envelope


@pytest.fixture
async def bus(valkey: str) -> AsyncIterator[RedisBus]:
    async with RedisBus(valkey, clock=lambda: NOW) as bus:
        await bus._call("FLUSHALL")
        yield bus


async def values(bus: RedisBus, key: str) -> list[list[Any]]:
    """Every value of a hash as the sequence of MessagePack objects it is."""
    found = []
    for value in await bus._call("HVALS", key):
        unpacker = msgpack.Unpacker()
        unpacker.feed(value)
        found.append(list(unpacker))
    return found


async def test_what_the_scripts_write_reads_with_plain_msgpack(bus: RedisBus) -> None:
    await bus.watch("sip-1", [ALICE], NOW)
    await bus.commit(
        ALICE,
        Update(put_sources=(source(tag="e", expires=NOW + 5),), put_endpoints=(LAPTOP, PHONE)),
        NOW,
        "trace",
    )
    await bus.submit(message(), NOW)
    bus.trace(TraceEntry(trace="t", at=NOW, node="n", hop="submitted"))
    await bus.traces()
    ((head, stored),) = await values(bus, "t:{alice@example.org}:sources")
    assert head == [int(NOW + 5) * 1000, "xmpp-1/a", "e", ""]
    assert msgspec.convert(stored, Source) == source().source
    assert [0, "xmpp-1/a", "xmpp-1", "xmpp", True] in [
        value for (value,) in await values(bus, "t:{alice@example.org}:endpoints")
    ]
    ((head, stored),) = await values(bus, "t:{alice@example.org}:pending")
    assert head[1:5] == [int(NOW) * 1000, 0, "all", ""]
    assert stored["id"] == "m1"
    entries = await bus._call("XRANGE", "t:inbox:sip-1", "-", "+")
    plain = [msgpack.unpackb(fields[1]) for _, fields in entries]
    assert [envelope["type"] for envelope in plain] == ["presence", "deliver"]
    assert plain[0]["snapshot"]["address"] == ["alice", "example.org"]
    assert plain[0]["trace"] == "trace"
    ((_, fields),) = await bus._call("XRANGE", "t:trace", "-", "+")
    assert msgpack.unpackb(fields[1])[0]["hop"] == "submitted"


async def test_every_kind_of_key_is_documented(bus: RedisBus) -> None:
    page = PAGE.read_text(encoding="utf-8")
    await bus.watch("sip-1", [ALICE], NOW)
    await put(bus, NOW, endpoint(expires=NOW + 9))
    await bus.commit(ALICE, Update(put_sources=(source(),)), NOW)
    await bus.submit(message(), NOW, "branch")
    await bus.put_records("sip-1", {"a": b"b"})
    await bus.lease("archiver", "admin-1/a", 9)
    await asyncio.gather(bus.maintain(NOW + 10), bus.maintain(NOW + 31))
    for name in await bus._call("KEYS", "*"):
        key = name.decode()
        known = (
            key.replace("{alice@example.org}", "{a}")
            .replace(":sip-1", ":NODE")
            .replace(":xmpp-1", ":NODE")
            .replace(":branch", ":NAME")
            .replace(":archiver", ":NAME")
        )
        if known.startswith("t:link:"):
            known = "t:link:ID"
        assert f"`{known}`" in page, key


def test_the_generated_part_of_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert schema.rewritten(page) == page, "run: python -m presence.edge.schema docs/bus.md"


@pytest.mark.parametrize("data", [b"", b"x", b"\xff\x00" * 5000])
@pytest.mark.parametrize("version", [1, 127, 128, 255, 256, 65_536, 2**40])
def test_cells_of_any_version_come_back(version: int, data: bytes) -> None:
    cell = codec.parse_cell(codec.cell_value(version, data) or None)
    assert (cell.version, cell.data) == ((version, data) if data else (0, b""))
