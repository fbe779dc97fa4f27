"""Ports for the servers of tests. Each is given out once on the whole machine, whoever else is testing.

A port that was only free when somebody looked may be somebody else's when it is bound: another process's that
looked too, or a client's that the kernel gave just this one. So these are below those that Linux gives to
clients, in blocks that processes hold for as long as they live.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterator

FIRST, BEYOND = 10_000, 32_768
"From 32768 on they are the kernel's to give (ip_local_port_range)."
BLOCK = 128
_held: list[socket.socket] = []


def free_port() -> int:
    """A port free on UDP and TCP of both families, for nobody but the caller."""
    for port in _ports:
        if _free(port):
            return port
    raise AssertionError(f"all ports from {FIRST} to {BEYOND - 1} are taken")


@functools.cache
def one_of(ports: range) -> int:
    """A free one of a few, always the same in this process, for programs that know no others."""
    for port in ports:
        if _free(port) and _hold(port):
            return port
    raise AssertionError(f"all ports from {ports[0]} to {ports[-1]} are taken")


def _numbers() -> Iterator[int]:
    for first in range(FIRST, BEYOND, BLOCK):
        if _hold(first):
            yield from range(first, min(first + BLOCK, BEYOND))


def _hold(first: int) -> bool:
    """Whether the block, or the port, with that number is now this process's."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(f"\0tandem-test-ports-{first}")
    except OSError:  # another process has it
        lock.close()
        return False
    _held.append(lock)
    return True


_ports = _numbers()


def _free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET6, kind) as probe:
            try:
                probe.bind(("::", port))
            except OSError:
                return False
    return True
