"""Who is behind an HTTP request, as far as the connection and trusted proxies can say."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from presence.network import visitor_of


@dataclass(frozen=True, slots=True)
class Visitor:
    peer: str
    "IP address, of the client itself where a trusted proxy says so."
    secure: bool
    "HTTPS all the way from the client, or to a trusted proxy."

    @property
    def local(self) -> bool:
        """On this machine."""
        return self.peer in ("127.0.0.1", "::1")

    @property
    def security(self) -> str:
        """For `tandem sessions`."""
        return "HTTPS" if self.secure else ""


def visitor(connection: HTTPConnection) -> Visitor:
    """The server has put what trusted proxies say into the scope."""
    peer = connection.client.host if connection.client is not None else ""
    peer = visitor_of(peer.removeprefix("::ffff:"), connection.headers)
    return Visitor(peer, connection.scope["scheme"] in ("https", "wss"))
