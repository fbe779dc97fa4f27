"""Listening sockets from `HOST:PORT` settings."""

from __future__ import annotations

import socket
from functools import lru_cache
from typing import Any

from presence.listening import split_listen

_BUFFER = 4 * 1024 * 1024
"Bytes a burst of datagrams may wait in the kernel."


def bound(text: str, kind: socket.SocketKind, *, share: bool) -> list[socket.socket]:
    """One bound socket per address the setting stands for. `[::]` takes IPv4, too, and is 0.0.0.0 on
    machines without IPv6. `share`: several processes serve the same port. Raises `OSError` with the
    address."""
    try:
        host, port = split_listen(text)
    except ValueError as error:
        raise OSError(22, str(error)) from None
    try:
        found = socket.getaddrinfo(host or None, port, type=kind, flags=socket.AI_PASSIVE)
        return [_bind(family, kind, where, share) for family, *_, where in dict.fromkeys(found)]
    except OSError as error:
        if host == "::" and not has_ipv6():
            return bound(f"0.0.0.0:{port}", kind, share=share)
        raise OSError(error.errno, f"cannot listen on {text}: {error.strerror or error}") from None


def _bind(family: int, kind: socket.SocketKind, where: tuple[Any, ...], share: bool) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        if kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if where[0] == "::" else 1)
        sock.setblocking(False)
        sock.bind(where)
    except BaseException:
        sock.close()
        raise
    return sock


@lru_cache(maxsize=1)
def has_ipv6() -> bool:
    """This machine can use IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True
