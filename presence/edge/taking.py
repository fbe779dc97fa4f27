"""A file that somebody sends over HTTP, into the directory (`presence.edge.uploads`)."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator

import structlog
from starlette.requests import ClientDisconnect, Request

from presence.edge.uploads import Broken, DirectoryUploads, Taken
from presence.uploads import Ticket

log = structlog.get_logger()

PAUSE = 30.0
"Seconds without a byte after which an upload is given up."


async def chunks(request: Request) -> AsyncIterator[bytes]:
    """A request's body as it comes. Raises `ClientDisconnect`, `TimeoutError`."""
    stream = request.stream()
    while True:
        async with asyncio.timeout(PAUSE):
            chunk = await anext(stream, None)
        if chunk is None:
            return
        yield chunk


class NotTaken(Exception):
    """`status`, and a word for humans."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text


async def take(
    uploads: DirectoryUploads, ticket: Ticket, type: str, body: AsyncIterator[bytes], *, at_most: bool = False
) -> int:
    """`DirectoryUploads.put` for who is at the other end. Raises `NotTaken`."""
    try:
        size = await uploads.put(ticket, type, body, at_most=at_most)
    except Taken:
        raise NotTaken(409, "something was put there already") from None
    except (Broken, ClientDisconnect, TimeoutError):
        raise NotTaken(400, "what came is not what was announced") from None
    except OSError as error:
        log.error("upload_failed", error=error.strerror or str(error))
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise NotTaken(507 if full else 500, "it cannot be kept") from None
    log.info("file_uploaded", owner=ticket.owner, size=size)
    return size
