"""Addresses as the sockets tell them."""

from __future__ import annotations

import socket
from functools import lru_cache


def plain_host(host: str) -> str:
    """An address as SIP writes it: IPv4 in its own form, no zone."""
    return host.removeprefix("::ffff:") if "." in host else host.partition("%")[0]


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
