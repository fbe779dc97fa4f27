"""Asking RADIUS servers over UDP (RFC 2865): the first that answers decides.

Each question has a socket of its own, so that nobody can guess where an answer would be read. A server that
did not answer is left alone for a while that grows; when all of them are, the question fails at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
from pyrad.packet import AccessRequest, AuthPacket, PacketError

from presence.edge.accounts.endpoint import parse_host_port
from presence.edge.accounts.radius_digest import ACCEPT, CHALLENGE, REJECT, Attributes
from presence.errors import Unavailable

log = structlog.get_logger()

FIRST_REST, LONGEST_REST = 1.0, 15.0
"Seconds a silent server is left alone."
MAX_WAITING = 256
"Questions under way at once."


@dataclass(slots=True)
class _Server:
    host: str
    port: int
    silent: int = 0
    "Questions in a row it did not answer."
    rests_until: float = 0.0

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class RadiusClient:
    def __init__(
        self,
        servers: Sequence[str],
        secret: bytes,
        *,
        timeout: float,
        tries: int,
        require_message_authenticator: bool,
        clock: Callable[[], float],
    ) -> None:
        """`servers`: `HOST:PORT`, best first. `timeout` in seconds for each of `tries` with each server."""
        self._servers = [_Server(*parse_host_port(text)) for text in servers]
        self._secret = secret
        self._timeout = timeout
        self._tries = tries
        self._require = require_message_authenticator
        self._clock = clock
        self._places = asyncio.Semaphore(MAX_WAITING)

    async def ask(self, attributes: Attributes) -> bool:
        """Access-Accept or not. Raises `Unavailable` when no server answers."""
        if self._places.locked():
            raise Unavailable("too many questions to RADIUS are under way")
        async with self._places:
            for server in self._servers:
                if server.rests_until > self._clock():
                    continue
                packet = self._packet(attributes)
                code = await self._ask_one(server, packet)
                if code is not None:
                    self._answered(server)
                    return code == ACCEPT
                self._was_silent(server)
        raise Unavailable("no RADIUS server answers")

    def _packet(self, attributes: Attributes) -> AuthPacket:
        packet = AuthPacket(code=AccessRequest, secret=self._secret)
        packet.authenticator = packet.CreateAuthenticator()
        for kind, value in attributes:
            if kind in packet:
                packet[kind].append(value)
            else:
                packet[kind] = [value]
        packet.add_message_authenticator()
        return packet

    async def _ask_one(self, server: _Server, packet: AuthPacket) -> int | None:
        """The code of its answer; None when it gave none."""
        data = packet.RequestPacket()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Conversation(packet, answer, self._require, str(server)),
                remote_addr=(server.host, server.port),
            )
        except OSError:
            return None
        try:
            for _ in range(self._tries):
                transport.sendto(data)
                await asyncio.wait([answer], timeout=self._timeout)
                if answer.done():
                    return answer.result()
        except OSError:
            return None
        finally:
            transport.close()
            answer.cancel()
        return None

    def _answered(self, server: _Server) -> None:
        if server.silent:
            log.info("radius_answers_again", server=str(server))
        server.silent = 0

    def _was_silent(self, server: _Server) -> None:
        rest = min(FIRST_REST * 2.0 ** min(server.silent, 10), LONGEST_REST)
        server.rests_until = self._clock() + rest
        server.silent += 1
        if server.silent == 1:
            log.warning("radius_silent", server=str(server), retry_in=rest)


class _Conversation(asyncio.DatagramProtocol):
    """Waits for the one answer that is signed for this question; ignores all others."""

    def __init__(self, packet: AuthPacket, answer: asyncio.Future[int], require: bool, server: str) -> None:
        self._packet = packet
        self._answer = answer
        self._require = require
        self._server = server

    def datagram_received(self, data: bytes, addr: Any) -> None:
        try:
            reply = self._packet.CreateReply(packet=data)
            genuine = self._packet.VerifyReply(reply, data, enforce_ma=self._require)
        except (PacketError, ValueError, IndexError):
            genuine = False
        if not genuine:
            hint = "wrong secret, or no Message-Authenticator"
            log.warning("radius_answer_ignored", server=self._server, reason=hint)
            return
        code = cast(int, reply.code)
        if code in (ACCEPT, REJECT, CHALLENGE) and not self._answer.done():
            self._answer.set_result(code)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there (ICMP)."""
        if not self._answer.done():
            self._answer.set_exception(OSError(str(exc)))
