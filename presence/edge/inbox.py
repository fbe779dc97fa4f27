"""Reading a node's inbox: a stream that is trimmed as it is read."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import structlog

from presence.edge.codec import SCHEMA, decode_inbound
from presence.edge.link import PATIENCE, Link, ReplyError
from presence.errors import Unavailable
from presence.ports import Copy, Deliver, Inbound, Inquiry, PresenceChanged, RecordTaken, Relay, Word
from presence.rooms.ports import RoomChanged

log = structlog.get_logger()

BATCH = 500
TRIM_ENTRIES, TRIM_SECONDS = 100, 1.0
"What was read is trimmed when it is so much, or so old: not at each read, which would double the commands."


class InboxReader:
    """Reads one inbox in order, on a connection of its own, because it blocks there.

    What an earlier incarnation of the node left is read first. Of that, up to the fence which the sweep sets,
    what can be stale is skipped: messages are driven again by their obligations, snapshots are read anew.
    Failures and changes of authorisation and accounts are kept.
    """

    def __init__(self, link: Link, node: str) -> None:
        self._link = link
        self._key = f"t:inbox:{node}"
        self._cursor = b"0-0"
        self._fence = (0, 0)
        self._untrimmed = 0
        self._trimmed_at = 0.0

    def fence(self, entry: bytes) -> None:
        """Id of the last entry meant for an earlier incarnation."""
        self._fence = entry_id(entry)

    async def receive(self, seconds: float) -> list[Inbound]:
        """Next envelopes; [] after `seconds`."""
        self._trim()
        block = ("BLOCK", max(1, int(seconds * 1000))) if seconds > 0 else ()
        try:
            answer = await self._link.call(
                "XREAD",
                "COUNT",
                BATCH,
                *block,
                "STREAMS",
                self._key,
                self._cursor,
                patience=seconds + PATIENCE,
            )
        except ReplyError as error:
            raise Unavailable(str(error)) from error
        if not answer:
            return []
        entries: list[list[Any]] = answer[0][1]
        self._cursor = entries[-1][0]
        self._untrimmed += len(entries)
        fresh = entry_id(entries[0][0]) > self._fence
        envelopes = []
        for entry, fields in entries:
            old = not fresh and entry_id(entry) <= self._fence
            for at in range(0, len(fields), 2):
                envelope = self._decode(fields[at], fields[at + 1])
                if envelope is not None and not (old and stale(envelope)):
                    envelopes.append(envelope)
        return envelopes

    def _decode(self, schema: bytes, payload: bytes) -> Inbound | None:
        if schema != SCHEMA:
            log.warning("envelope_of_unknown_schema", schema=schema[:20])
            return None
        try:
            return decode_inbound(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("envelope_unreadable", error=str(error))
            return None

    def _trim(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._untrimmed >= TRIM_ENTRIES or (self._untrimmed and now - self._trimmed_at > TRIM_SECONDS):
            milliseconds, sequence = entry_id(self._cursor)
            forget(self._link.call("XTRIM", self._key, "MINID", f"{milliseconds}-{sequence + 1}"))
            self._untrimmed = 0
            self._trimmed_at = now


def stale(envelope: Inbound) -> bool:
    return isinstance(
        envelope, PresenceChanged | Deliver | Copy | Relay | Word | RoomChanged | Inquiry | RecordTaken
    )


def entry_id(entry: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = entry.partition(b"-")
    return int(milliseconds), int(sequence)


def forget(future: asyncio.Future[Any]) -> None:
    """Nobody waits for this answer."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
