"""The trace: one capped stream, many hops to an entry."""

from __future__ import annotations

import asyncio

from presence.edge.codec import SCHEMA, decode_traces, encode
from presence.edge.inbox import forget
from presence.edge.link import PATIENCE, Link
from presence.ports import TraceEntry

KEY = "t:trace"
FLUSH_SECONDS = 0.1
FLUSH_ENTRIES = 200
BATCH = 200
KEPT = 100_000
"Hops kept, roughly."


class TraceLog:
    """Buffers what this process has to tell, and reads what all have told."""

    def __init__(self, link: Link, kept: int = KEPT) -> None:
        self._link = link
        self._kept = kept
        self._buffer: list[TraceEntry] = []
        self._usual = 1.0
        "Running mean of hops in an entry, by which the stream's bound is counted."
        self._timer: asyncio.TimerHandle | None = None

    def add(self, entry: TraceEntry) -> None:
        self._buffer.append(entry)
        if len(self._buffer) >= FLUSH_ENTRIES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._buffer:
            return
        self._usual += (len(self._buffer) - self._usual) / 16
        bound = max(100, int(self._kept / self._usual))
        payload = encode(self._buffer)
        self._buffer = []
        forget(self._link.call("XADD", KEY, "MAXLEN", "~", bound, "*", SCHEMA, payload, again=False))

    async def read(
        self, tail: Link, *, trace: str, address: str, after: str, limit: int, seconds: float
    ) -> tuple[str, list[TraceEntry]]:
        """`tail` is where it may block. A cursor is an entry's id, `/n` when only n of its hops were read."""
        deadline = asyncio.get_running_loop().time() + seconds
        cursor = after or "0-0"
        if after == "$":
            newest = await self._link.call("XREVRANGE", KEY, "+", "-", "COUNT", 1)
            cursor = newest[0][0].decode() if newest else "0-0"
        found: list[TraceEntry] = []
        while True:
            entry, _, taken = cursor.partition("/")
            start = entry if taken else f"({entry}"
            batch = await self._link.call("XRANGE", KEY, start, "+", "COUNT", BATCH)
            for name, fields in batch:
                skip = int(taken) if taken and name.decode() == entry else 0
                hops = decode_traces(fields[1]) if fields[0] == SCHEMA else []
                for position, hop in enumerate(hops[skip:], skip + 1):
                    if trace in ("", hop.trace) and address in ("", hop.address, hop.peer):
                        found.append(hop)
                        if len(found) >= limit:
                            return f"{name.decode()}/{position}", found
                cursor = name.decode()
            left = deadline - asyncio.get_running_loop().time()
            if len(batch) == BATCH:
                continue
            cursor = cursor.partition("/")[0]
            if found or left <= 0:
                return cursor, found
            await tail.call(
                "XREAD",
                *("COUNT", 1, "BLOCK", max(1, int(left * 1000)), "STREAMS", KEY, cursor),
                patience=left + PATIENCE,
            )
