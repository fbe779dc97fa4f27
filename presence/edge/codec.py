"""Bytes on the bus: MessagePack by msgspec, readable by any MessagePack library (docs/bus.md).

Values the scripts must look into are a MessagePack header followed by the payload, which they never decode.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgpack  # type: ignore[import-untyped]
import msgspec

from presence.address import Address
from presence.messages import InstantMessage
from presence.model import LastSeen, Snapshot, Source
from presence.ports import (
    Cell,
    Endpoint,
    EndpointKind,
    Inbound,
    Lease,
    NodeInfo,
    SourceWrite,
    TraceEntry,
)

SCHEMA = b"1"
"Name of the stream field that holds an envelope or a batch of trace entries of this schema."

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
_inbound_decoder: msgspec.msgpack.Decoder[Inbound] = msgspec.msgpack.Decoder(Inbound)
decode_inbound = _inbound_decoder.decode
decode_message = msgspec.msgpack.Decoder(InstantMessage).decode
decode_source = msgspec.msgpack.Decoder(Source).decode
decode_last_seen = msgspec.msgpack.Decoder(LastSeen).decode
decode_node = msgspec.msgpack.Decoder(NodeInfo).decode
decode_traces = msgspec.msgpack.Decoder(list[TraceEntry]).decode


class SourceHead(msgspec.Struct, frozen=True, array_like=True):
    """What the scripts read of a stored source."""

    expires: int
    "Unix milliseconds; 0: only its owner keeps it alive."
    owner: str
    tag: str
    tied_to: str


class EndpointValue(msgspec.Struct, frozen=True, array_like=True):
    """A stored endpoint, whole."""

    expires: int
    owner: str
    node: str
    kind: EndpointKind
    eligible: bool


_decode_head = msgspec.msgpack.Decoder(SourceHead).decode
_decode_endpoint = msgspec.msgpack.Decoder(EndpointValue).decode
_decode_owed = msgspec.msgpack.Decoder(list[int | str]).decode


def milliseconds(seconds: float | None) -> int:
    """0 stands for never."""
    return 0 if seconds is None else int(seconds * 1000)


def seconds(value: int) -> float | None:
    return value / 1000 if value else None


def base_key(address: Address) -> str:
    """What all keys of an address begin with; the braces are the cluster's hash tag."""
    return f"t:{{{address}}}"


def source_value(write: SourceWrite) -> bytes:
    lease = write.lease
    head = SourceHead(milliseconds(lease.expires), lease.owner, write.tag, write.source.tied_to)
    return encode(head) + encode(write.source)


def header_size(value: bytes) -> int:
    unpacker = msgpack.Unpacker()
    unpacker.feed(value)
    unpacker.skip()
    return int(unpacker.tell())


def parse_source_head(value: bytes) -> tuple[SourceHead, bytes]:
    """Header and payload."""
    end = header_size(value)
    return _decode_head(value[:end]), value[end:]


def endpoint_value(endpoint: Endpoint) -> bytes:
    lease = endpoint.lease
    return encode(
        EndpointValue(
            milliseconds(lease.expires), lease.owner, endpoint.node, endpoint.kind, endpoint.eligible
        )
    )


def parse_endpoint(endpoint_id: bytes, value: bytes) -> Endpoint:
    found = _decode_endpoint(value)
    return Endpoint(
        id=endpoint_id.decode(),
        kind=found.kind,
        node=found.node,
        lease=Lease(expires=seconds(found.expires), owner=found.owner),
        eligible=found.eligible,
    )


def cell_value(version: int, data: bytes) -> bytes:
    return encode(version) + data if data else b""


def parse_cell(value: bytes | None) -> Cell:
    if value is None:
        return Cell(0, b"")
    size = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}.get(value[0], 1)
    return Cell(msgspec.msgpack.decode(value[:size], type=int), value[size:])


def parse_pending(value: bytes) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """When it was accepted, endpoint and state letter of each, and the message."""
    end = header_size(value)
    fields = _decode_owed(value[:end])
    states = tuple((str(fields[i]), str(fields[i + 1])) for i in range(5, len(fields), 2))
    return int(fields[0]), states, value[end:]


def live_snapshot(
    address: Address, version: int, values: dict[bytes, bytes], last: bytes | None, now: float
) -> Snapshot:
    """What is live of the stored sources: neither expired nor tied to one that is."""
    heads = {key.decode(): parse_source_head(value) for key, value in values.items()}
    limit = milliseconds(now)
    alive = {key for key, (head, _) in heads.items() if not head.expires or head.expires > limit}
    kept = [
        decode_source(payload)
        for key, (head, payload) in sorted(heads.items())
        if key in alive and (head.tied_to not in heads or head.tied_to in alive)
    ]
    return Snapshot(
        address=address,
        version=version,
        sources=tuple(kept),
        last_seen=decode_last_seen(last) if last else None,
    )


def pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """HGETALL's answer."""
    it = iter(flat)
    return dict(zip(it, it, strict=True))
