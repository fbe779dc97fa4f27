"""A flow: the path one peer's packets take, and the way back to it (RFC 5626 §3.1).

Requests to a phone always go down the flow it last spoke on, never to a host name it wrote: behind NATs
and on WebSockets there is no other way to reach it. So connections are used in both directions whether or not
they were offered for it (`alias`, RFC 5923).
"""

from __future__ import annotations

from typing import NamedTuple

from presence.guarding import network_of

ROUTED = "routed"


class Flow(NamedTuple):
    transport: str
    """udp, tcp, tls, ws, wss; `routed` for a way through a proxy, which is found anew for each request
    (RFC 3263)."""
    local: str
    "For UDP the address listened on, by which the socket is found again after a restart."
    host: str
    """The peer's address; IPv4 in its own form, IPv6 without brackets. URI of the next hop where it is
    routed."""
    port: int
    serial: int = 0
    "Tells connections of one process apart; 0 for UDP."

    @property
    def reliable(self) -> bool:
        return self.transport != "udp"

    @property
    def parameter(self) -> str:
        """The URI's `transport`; for WebSockets there is only one (RFC 7118 §5.2)."""
        return "ws" if self.transport == "wss" else self.transport

    @property
    def network(self) -> str:
        """What one peer can easily change its address within: an IPv4 address or an IPv6 /64."""
        return network_of(self.host)

    @property
    def routed(self) -> bool:
        return self.transport == ROUTED

    @property
    def remote(self) -> str:
        """`host:port` for people."""
        if self.transport == ROUTED:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.transport} {self.local} {self.host} {self.port} {self.serial}"


def routed(hop: str) -> Flow:
    """The way over a next hop's URI, whoever answers there."""
    return Flow(ROUTED, "", hop, 0)


def parse_flow(text: str) -> Flow:
    """What `str` wrote."""
    transport, local, host, port, serial = text.split(" ")
    return Flow(transport, local, host, int(port), int(serial))
