"""SIP over UDP: one socket, read until it is empty, answers from where the question came to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from sip import stun
from sip.edge.sockets import plain_host
from sip.flow import Flow

_TURN = 64
"Datagrams taken before others get their turn."
_PEERS = 20_000
"Flows kept ready-made."
_TEXT = 0x20
"Whatever begins with less is no SIP."
_SHORTEST = 16
"What is shorter is no SIP: keep-alives (`\\0`, `jaK`, CRLF), probes."


class UdpSocket:
    def __init__(self, sock: socket.socket, receive: Callable[[bytes, Flow], None]) -> None:
        self._sock = sock
        self._receive = receive
        self._six = sock.family == socket.AF_INET6
        host, self.port = sock.getsockname()[:2]
        self.host = plain_host(str(host))
        self.name = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        "By which flows name it."
        self._flows: dict[tuple[Any, ...], Flow] = {}
        self._buffer = bytearray(65_536)
        self._view = memoryview(self._buffer)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)

    def takes(self, host: str) -> bool:
        """Peers of this address family can be reached."""
        if ":" in host:
            return self._six
        return not self._six or self.host == "::"

    def _readable(self) -> None:
        for _ in range(_TURN):
            try:
                size, where = self._sock.recvfrom_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an ICMP error about an earlier datagram
            if size >= _SHORTEST:
                data = bytes(self._view[:size])
                if self._buffer[0] < _TEXT and stun.is_stun(data):
                    self._answer_stun(data, where)
                else:
                    self._receive(data, self._flow(where))

    def _answer_stun(self, data: bytes, where: tuple[Any, ...]) -> None:
        answer = stun.answer(data, plain_host(where[0]), where[1])
        if answer:
            with contextlib.suppress(OSError):
                self._sock.sendto(answer, where)

    def _flow(self, where: tuple[Any, ...]) -> Flow:
        flow = self._flows.get(where)
        if flow is None:
            if len(self._flows) >= _PEERS:
                self._flows.clear()
            flow = self._flows[where] = Flow("udp", self.name, plain_host(where[0]), where[1])
        return flow

    def send(self, flow: Flow, data: bytes) -> bool:
        """False when it cannot be sent at all; a full buffer is a lost datagram like any other."""
        host = f"::ffff:{flow.host}" if self._six and ":" not in flow.host else flow.host
        try:
            self._sock.sendto(data, (host, flow.port))
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
