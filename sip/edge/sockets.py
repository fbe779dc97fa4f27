"""Addresses as the sockets tell them."""

from __future__ import annotations

import socket
from functools import lru_cache

from starlette.requests import HTTPConnection

from presence.network import NOBODY_KNOWS, visitor_of


def plain_host(host: str) -> str:
    """An address as SIP writes it: IPv4 in its own form, no zone."""
    return host.removeprefix("::ffff:") if "." in host else host.partition("%")[0]


def client_of(connection: HTTPConnection) -> tuple[str, int]:
    """Host and port of who is behind an HTTP request, as far as the connection and trusted proxies say."""
    client = connection.client
    if client is None:
        return NOBODY_KNOWS, 0
    return visitor_of(plain_host(client.host), connection.headers), client.port


@lru_cache(maxsize=4096)
def local_address(peer: str) -> str:
    """Which of this machine's addresses a peer is reached from; a routing question, nothing is sent."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((peer, 9))
            return plain_host(str(probe.getsockname()[0]))
    except OSError:
        return "::1" if ":" in peer else "127.0.0.1"
