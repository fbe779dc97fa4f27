"""What a stream's negotiation wants done, in the order it goes to the wire (see `xmpp.negotiation`)."""

from __future__ import annotations

from dataclasses import dataclass

from presence.address import Address
from xmpp.errors import StreamError
from xmpp.host import BoundSession


@dataclass(frozen=True, slots=True)
class Send:
    text: str


@dataclass(frozen=True, slots=True)
class Opened:
    """Our stream header (RFC 6120 §4.7)."""

    id: str
    domain: str
    to: str
    "Who the client said it is; empty when it did not."


@dataclass(frozen=True, slots=True)
class StartTls:
    """Send `proceed`, then speak TLS and expect a new stream."""

    proceed: str


@dataclass(frozen=True, slots=True)
class NewStream:
    """The client begins a new stream now (after SASL)."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    address: Address
    mechanism: str


@dataclass(frozen=True, slots=True)
class LoginFailed:
    """For the log and the counters; the client's answer is a `Send`."""

    who: str
    mechanism: str
    condition: str
    why: str


@dataclass(frozen=True, slots=True)
class Bound:
    """Negotiation is over: send the answers before anything the session has sent."""

    session: BoundSession
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """End the stream, with an error or politely."""

    error: StreamError | None = None


Effect = Opened | Send | StartTls | NewStream | LoggedIn | LoginFailed | Bound | Close
