"""The xmpp processes of one host hand each other what belongs to another's BOSH session, over Unix sockets
that only their user can reach: whichever process the kernel gave an HTTP connection to, its requests find the
session."""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog

from presence.edge.embedded import socket_path
from presence.errors import Unavailable

log = structlog.get_logger()

_LENGTH = struct.Struct(">I")
_MOST = 64 * 1024 * 1024
_NAME = re.compile(r"[\w-]{1,64}", re.ASCII)


class Said(msgspec.Struct, frozen=True, array_like=True):
    """An answer to an HTTP request."""

    data: bytes
    status: int
    content_type: str


_decode = msgspec.msgpack.Decoder(Said).decode

Gone = Callable[[], Awaitable[None]]
"Returns when nobody waits for the answer any more."


class Neighbours:
    def __init__(self, directory: Path, node: str, answer: Callable[[bytes, Gone], Awaitable[Said]]) -> None:
        """`answer`: to the body of a request for a session of ours."""
        self._directory = directory
        self._node = node
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises `OSError`."""
        folder = self._directory / self._node
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(self._node)
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path)
        path.chmod(0o600)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path(self._node).unlink(missing_ok=True)

    def _path(self, node: str) -> Path:
        try:
            return socket_path(self._directory / node, "web.sock")
        except Unavailable as error:
            raise OSError(str(error)) from error

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def gone() -> None:
            await reader.read(1)

        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError):
            data = await _read(reader)
            _write(writer, msgspec.msgpack.encode(await self._answer(data, gone)))
            await writer.drain()

    def owner(self, sid: str) -> str:
        """Name of the process whose session it is, if it is not this one's; else empty."""
        node, dot, _ = sid.partition(".")
        return node if dot and node != self._node and _NAME.fullmatch(node) else ""

    async def ask(self, node: str, data: bytes, gone: Gone) -> Said | None:
        """Another process's answer; None when it is not there, or nobody waits any more."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._path(node))
        except OSError:
            return None
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, msgspec.MsgspecError):
            _write(writer, data)
            async with asyncio.TaskGroup() as group:
                answering = group.create_task(_read_if_any(reader))
                leaving = group.create_task(_wait(gone))
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                answering.cancel()
                leaving.cancel()
            if not answering.cancelled() and (said := answering.result()):
                return _decode(said)
        return None


async def _wait(gone: Gone) -> None:
    await gone()


async def _read_if_any(reader: asyncio.StreamReader) -> bytes:
    with contextlib.suppress(OSError, EOFError):
        return await _read(reader)
    return b""


async def _read(reader: asyncio.StreamReader) -> bytes:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > _MOST:
        raise EOFError
    return await reader.readexactly(length)


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(_LENGTH.pack(len(data)) + data)
