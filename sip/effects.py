"""What the transaction layer wants done; the order of effects is the order on the wire."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from sip.message import Request, Response

Flow = Hashable
"Where bytes come from and go to; only the edge looks inside. Two are equal when they are the same path."
Key = tuple[Hashable, ...]
"Names one transaction."


@dataclass(frozen=True, slots=True)
class Send:
    flow: Flow
    data: bytes


@dataclass(frozen=True, slots=True)
class Incoming:
    """A new request; answer it with `respond(key, …)`."""

    key: Key
    request: Request
    flow: Flow


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An ACK that belongs to a 2xx, thus to a dialog and not to a transaction (RFC 3261 §13.3.1.4)."""

    request: Request
    flow: Flow


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The peer gave up this INVITE: respond 487 (RFC 3261 §9.2). The CANCEL itself has been answered."""

    key: Key


@dataclass(frozen=True, slots=True)
class Provisional:
    """A 1xx to our request; the final answer is still to come."""

    key: Key
    response: Response
    flow: Flow


@dataclass(frozen=True, slots=True)
class Answered:
    """The final answer to our request. An INVITE may have several 2xx, one per branch (RFC 6026 §7.2)."""

    key: Key
    response: Response
    flow: Flow


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Nobody answered our request; or nobody acknowledged our answer to an INVITE."""

    key: Key


@dataclass(frozen=True, slots=True)
class TransportFailed:
    """Our request could not be sent, or its flow broke before the answer."""

    key: Key


@dataclass(frozen=True, slots=True)
class Stray:
    """A response to nothing we know of, e.g. one that came too late."""

    response: Response
    flow: Flow


Effect = (
    Send | Incoming | Acknowledged | Cancelled | Provisional | Answered | TimedOut | TransportFailed | Stray
)
