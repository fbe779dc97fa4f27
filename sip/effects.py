"""What the transaction layer wants done; the order of effects is the order on the wire."""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

from sip.message import Request, Response

Flow = Hashable
"Where bytes come from and go to; only the edge looks inside. Two are equal when they are the same path."
Key = tuple[Hashable, ...]
"Names one transaction."


class Send(msgspec.Struct, frozen=True):
    flow: Flow
    data: bytes


class Incoming(msgspec.Struct, frozen=True):
    """A new request; answer it with `respond(key, …)`."""

    key: Key
    request: Request
    flow: Flow


class Acknowledged(msgspec.Struct, frozen=True):
    """An ACK that belongs to a 2xx, thus to a dialog and not to a transaction (RFC 3261 §13.3.1.4)."""

    request: Request
    flow: Flow


class Cancelled(msgspec.Struct, frozen=True):
    """The peer gave up this INVITE: respond 487 (RFC 3261 §9.2). The CANCEL itself has been answered."""

    key: Key


class Provisional(msgspec.Struct, frozen=True):
    """A 1xx to our request; the final answer is still to come."""

    key: Key
    response: Response
    flow: Flow


class Answered(msgspec.Struct, frozen=True):
    """The final answer to our request. An INVITE may have several 2xx, one per branch (RFC 6026 §7.2)."""

    key: Key
    response: Response
    flow: Flow


class TimedOut(msgspec.Struct, frozen=True):
    """Nobody answered our request; or nobody acknowledged our answer to an INVITE."""

    key: Key


class TransportFailed(msgspec.Struct, frozen=True):
    """Our request could not be sent, or its flow broke before the answer."""

    key: Key


class Stray(msgspec.Struct, frozen=True):
    """A response to nothing we know of, e.g. one that came too late."""

    response: Response
    flow: Flow


Effect = (
    Send | Incoming | Acknowledged | Cancelled | Provisional | Answered | TimedOut | TransportFailed | Stray
)
