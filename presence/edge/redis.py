"""The bus on Redis ≥ 7.0 or Valkey ≥ 8: `presence.ports.Bus` by one function per atomic step (docs/bus.md).

Functions may run twice with the effect of once: each link numbers its calls, and the server keeps the number
of the last one done. So a command whose answer was lost is sent again.

GAP Redis Cluster: the scripts also write the nodes' inboxes, which live in other slots; a cluster is refused.
GAP WAITAOF: with an external server its own `appendfsync` decides what survives the host.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import msgpack  # type: ignore[import-untyped]

from presence.address import Address
from presence.archive import COUNTS, position
from presence.edge import codec, inspection
from presence.edge.batches import Batches
from presence.edge.codec import base_key, encode, milliseconds, pairs
from presence.edge.inbox import InboxReader, entry_id, forget
from presence.edge.link import PATIENCE, Link, ReplyError, Word
from presence.edge.lua import Library
from presence.edge.server import parse_server
from presence.edge.traces import KEPT, TraceLog
from presence.errors import Condition, Conflict, Refused, StaleTag, Unavailable
from presence.ledger import (
    ARCHIVE_LIMIT,
    DEAD_SECONDS,
    DEDUP_SECONDS,
    INBOX_LIMIT,
    PENDING_LIMIT,
    SENDER_LIMIT,
)
from presence.messages import Accepted, Audience, Delivery, InstantMessage
from presence.model import LastSeen, Snapshot
from presence.ports import (
    AuthorisationChanged,
    Cell,
    Committed,
    Deliver,
    Endpoint,
    Failed,
    Inbound,
    KeptChanged,
    NodeInfo,
    RecordTaken,
    Relay,
    Settled,
    Submission,
    TraceEntry,
    Unarchived,
    Update,
)

DEDUP_MS = int(DEDUP_SECONDS * 1000)
LINK_SECONDS = 3600
"How long a process that died is remembered by its last call."
MARK_MARGIN_MS = 5_000
"Clocks of two nodes may differ by so much."
MARKS_KEPT = SOLE_KEPT = 100_000
ARCHIVE = "t:archive"
KEEPERS = "t:keepers"
SWEEP_BATCH = 200

ACCEPTED = {b"L": Accepted.LIVE, b"S": Accepted.STORED, b"X": Accepted.DROPPED, b"D": Accepted.DUPLICATE}
STATE = {Delivery.DELIVERED: b"d", Delivery.UNREACHABLE: b"u", Delivery.REFUSED: b"r"}


class RedisBus:
    """Implements `presence.ports.Bus`; one per process, made by `RedisBus.connect(url, name="xmpp-1")`."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "tandem",
        clock: Callable[[], float] = time.time,
        pending_limit: int = PENDING_LIMIT,
        sender_limit: int = SENDER_LIMIT,
        inbox_limit: int = INBOX_LIMIT,
        trace_limit: int = KEPT,
        archive_limit: int = ARCHIVE_LIMIT,
        patience: float = PATIENCE,
    ) -> None:
        """`name`: for CLIENT LIST. `clock` serves the few calls that carry no time.
        `archive_limit`: messages that may wait for the archive; 0 when there is none. Raises ValueError for a
        URL that cannot be used."""
        self._server = parse_server(url)
        self._name = name
        self._clock = clock
        self._bound = str(inbox_limit).encode()
        self._archives = archive_limit > 0
        self._archive_limit = archive_limit
        self._patience = patience
        library = Library()
        self._function = library.functions
        self._link = Link(
            self._server, name=name, setup=(("FUNCTION", "LOAD", library.source),), patience=patience
        )
        common = (DEDUP_MS, pending_limit, archive_limit, sender_limit)
        submit, settle = (library.functions[name] for name in ("submit", "settle"))
        self._submissions = Batches(
            self._link, lambda now: (submit, self._bound, now, *common), numbered=True
        )
        self._settlements = Batches(self._link, lambda now: (settle, self._bound, now, next(self._tokens)))
        self._blocking: dict[str, Link] = {}
        self._readers: dict[str, InboxReader] = {}
        self._traces = TraceLog(self._link, trace_limit)
        self._marks: dict[str, int] = {}
        "Address → when its mark in t:due:messages fires; before that, submissions need not mark it again."
        self._sole: set[str] = set()
        "Ids of messages for one endpoint alone, which is here: what is delivered needs not be looked up."
        self._joined: set[tuple[str, str]] = set()
        self._fenced: set[tuple[str, str]] = set()
        self._tokens = map(f"{os.urandom(5).hex()}{{:x}}".format, itertools.count())

    @property
    def breaks(self) -> int:
        return self._link.breaks

    @property
    def archive_limit(self) -> int:
        """Messages that may wait for the archive; 0 when there is none."""
        return self._archive_limit

    @classmethod
    async def connect(cls, url: str, **settings: Any) -> Self:
        """A connected bus. Raises `Unavailable` when there is none within `patience`."""
        bus = cls(url, **settings)
        try:
            await bus.start()
        except BaseException:
            await bus.close()
            raise
        return bus

    async def start(self) -> None:
        await self._link.start()
        info = await self._call(b"INFO", b"cluster")
        if b"cluster_enabled:1" in info:
            raise Unavailable("Redis Cluster is not supported yet: use a single server or Sentinel")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        self._traces.flush()
        forget(self._link.call("DEL", self._link.key))
        for link in (*self._blocking.values(), self._link):
            await link.close()

    # --- commands -----------------------------------------------------------------------------

    async def _call(self, *words: Word, again: bool = True, numbered: bool = False) -> Any:
        self._close_batches()
        try:
            return await self._link.call(*words, again=again, numbered=numbered)
        except ReplyError as error:
            raise Unavailable(str(error)) from error

    async def _run(self, name: str, *words: Word, again: bool = True, numbered: bool = False) -> Any:
        """One function about one key."""
        return await self._call(b"FCALL", self._function[name], b"1", *words, again=again, numbered=numbered)

    def _close_batches(self) -> None:
        """What is called now goes behind them, and what comes later behind it."""
        self._submissions.close()
        self._settlements.close()

    async def command(self, *words: Word) -> Any:
        """One command, at most once. Raises `Unavailable`."""
        return await self._call(*words, again=False)

    async def _all(self, commands: Iterable[tuple[Word, ...]], *, numbered: bool = False) -> list[Any]:
        """Many commands in one round trip."""
        self._close_batches()
        futures = [self._link.call(*words, numbered=numbered) for words in commands]
        answers = await asyncio.gather(*futures, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, ReplyError):
                raise Unavailable(str(answer)) from answer
            if isinstance(answer, BaseException):
                raise answer
        return answers

    async def commands(self, commands: Iterable[tuple[Word, ...]]) -> list[Any]:
        """Many commands that change nothing, in one round trip. Raises `Unavailable`."""
        return await self._all(commands)

    async def step(self, name: str, address: Address, *words: Word) -> Any:
        """A function about what hangs on an address; done once, even if sent again."""
        fixed = (base_key(address), int(self._clock() * 1000), self._bound, str(address))
        return await self._run(name, *fixed, *words, numbered=True)

    async def run(self, name: str, key: str, *words: Word) -> Any:
        """A function that may run twice."""
        return await self._run(name, key, *words)

    async def _blocking_link(self, name: str) -> Link:
        """A connection that one caller may block."""
        link = self._blocking.get(name)
        if link is None:
            link = self._blocking[name] = Link(
                self._server, name=f"{self._name}-{name}", patience=self._patience
            )
            await link.start()
        return link

    # --- changes ------------------------------------------------------------------------------

    async def commit(self, address: Address, update: Update, now: float, trace: str = "") -> Committed:
        answer = await self._call(*self._commit_words(address, update, now, trace=trace), numbered=True)
        if answer[0] == 0 and len(answer) == 3:
            name = answer[2].decode()
            raise StaleTag(name) if answer[1] == b"stale" else Conflict(name)
        version, changed, _, last, *sources = answer
        snapshot = Snapshot(
            address=address,
            version=int(version),
            sources=tuple([codec.decode_source(source) for source in sources]),
            last_seen=codec.decode_last_seen(last) if last else None,
        )
        return Committed(version=snapshot.version, changed=changed == 1, snapshot=snapshot)

    def _commit_words(
        self,
        address: Address,
        update: Update,
        now: float,
        *,
        trace: str = "",
        node: str = "",
        incarnation: str = "",
        maintain: bool = False,
    ) -> tuple[bytes | str | int, ...]:
        """`node` and `incarnation` sweep; `maintain` drives what is overdue."""
        tags = [(w.source.id, w.expect) for w in update.put_sources if w.expect is not None]
        payload = [
            [*tags, *update.expect_tags],
            [(cell.name, cell.expect) for cell in update.cells],
            update.drop_sources,
            update.drop_endpoints,
            False if update.only_owner is None else update.only_owner,
            [(write.source.id, codec.source_value(write)) for write in update.put_sources],
            [(endpoint.id, codec.endpoint_value(endpoint)) for endpoint in update.put_endpoints],
            [(cell.name, codec.cell_value(cell.expect + 1, cell.data)) for cell in update.cells],
            encode(update.farewell or LastSeen(at=now)),
            trace,
            encode(address),
            node,
            incarnation,
            maintain,
        ]
        return (
            *(b"FCALL", self._function["commit"], b"1", base_key(address), int(now * 1000), self._bound),
            msgpack.packb(payload, use_bin_type=False),
        )

    # --- reading ------------------------------------------------------------------------------

    async def snapshots(self, addresses: Sequence[Address], now: float) -> list[Snapshot]:
        return await self._read(addresses, now, [])

    async def watch(self, node: str, addresses: Sequence[Address], now: float) -> list[Snapshot]:
        if not addresses:
            return []
        first: list[tuple[bytes | str, ...]] = [
            ("SADD", f"t:node:{node}:watching", *(str(address) for address in addresses)),
            *(("SADD", f"{base_key(address)}:interest", node) for address in addresses),
        ]
        return await self._read(addresses, now, first)

    async def _read(
        self, addresses: Sequence[Address], now: float, first: list[tuple[bytes | str, ...]]
    ) -> list[Snapshot]:
        """The version is read before the sources: what changes in between is announced again."""
        commands = list(first)
        for address in addresses:
            key = base_key(address)
            commands += [("HMGET", f"{key}:meta", "ver", "last"), ("HGETALL", f"{key}:sources")]
        answers = (await self._all(commands))[len(first) :]
        return [
            codec.live_snapshot(address, int(meta[0] or 0), pairs(sources), meta[1], now)
            for address, meta, sources in zip(addresses, answers[::2], answers[1::2], strict=True)
        ]

    async def unwatch(self, node: str, addresses: Sequence[Address]) -> None:
        if addresses:
            names = [str(address) for address in addresses]
            await self._all(
                [
                    *(("SREM", f"{base_key(address)}:interest", node) for address in addresses),
                    ("SREM", f"t:node:{node}:watching", *names),
                ]
            )

    async def endpoints(self, address: Address, now: float) -> list[Endpoint]:
        stored = pairs(await self._call("HGETALL", f"{base_key(address)}:endpoints"))
        found = [codec.parse_endpoint(key, value) for key, value in sorted(stored.items())]
        return [e for e in found if e.lease.expires is None or e.lease.expires > now]

    async def tag(self, address: Address, source_id: str) -> str | None:
        value = await self._call("HGET", f"{base_key(address)}:sources", source_id)
        if value is None:
            return None
        head, _ = codec.parse_source_head(value)
        return head.tag if not head.expires or head.expires > self._clock() * 1000 else None

    async def cell(self, address: Address, name: str) -> Cell:
        return codec.parse_cell(await self._call("HGET", f"{base_key(address)}:cells", name))

    # --- messages -----------------------------------------------------------------------------

    async def submit(
        self, message: InstantMessage, now: float, dedup: str = "", through: Address | None = None
    ) -> Submission:
        address = str(through or message.recipient)
        words = self._submission(message, now, address, dedup, anyway=through is None)
        outcome = self._outcome(address, await self._submissions.call(now, f"t:{{{address}}}", *words))
        if isinstance(outcome, Refused):
            raise outcome
        return outcome

    def accept(
        self, message: InstantMessage, now: float, then: Callable[[Submission | Refused | Unavailable], None]
    ) -> None:
        address = str(message.recipient)

        def heard(answer: bytes | Unavailable) -> None:
            then(self._outcome(address, answer) if isinstance(answer, bytes) else answer)

        words = self._submission(message, now, address, "", anyway=True)
        self._submissions.ask(heard, now, f"t:{{{address}}}", *words)

    def _submission(
        self, message: InstantMessage, now: float, address: str, dedup: str, *, anyway: bool
    ) -> tuple[Word, ...]:
        """`anyway`: the sender's other clients get a copy though it is dropped."""
        marked = self._marks.get(address, 0) - MARK_MARGIN_MS > now * 1000
        flags = bytes(
            (
                48 + message.store,
                49 - marked,
                48 + (message.archived and self._archives),
                48 + message.copied,
                48 + anyway,
                48 + (message.audience is Audience.XMPP),
            )
        )
        return (
            message.id,
            dedup,
            encode(message),
            flags if message.expires is None else b"%s%d" % (flags, milliseconds(message.expires)),
            message.recipient_endpoint,
            str(message.sender),
            message.sender_endpoint,
        )

    def _outcome(self, address: str, answer: bytes) -> Submission | Refused:
        status, due, endpoints = answer.split(b"\0", 2)
        if status == b"F":
            return Refused(Condition.RESOURCE_CONSTRAINT, "too many messages wait for the recipient")
        if status == b"M":
            return Refused(Condition.RESOURCE_CONSTRAINT, "too many of your messages wait for the recipient")
        if due != b"0":
            if len(self._marks) >= MARKS_KEPT:
                self._marks.clear()
            self._marks[address] = int(due)
        return Submission(ACCEPTED[status], tuple(endpoints.decode().split("\0")) if endpoints else ())

    async def settle(
        self, recipient: Address, message_id: str, endpoint: str, delivery: Delivery, now: float
    ) -> Settled:
        answer = await self._settlements.call(now, base_key(recipient), message_id, endpoint, STATE[delivery])
        if isinstance(answer, bytes):
            return Settled(done=True, failed=codec.decode_message(answer))
        return Settled(done=answer == 1)

    def delivered(
        self,
        recipient: Address,
        message_id: str,
        endpoint: str,
        now: float,
        then: Callable[[Unavailable | None], None],
    ) -> None:
        state = STATE[Delivery.DELIVERED]
        if message_id in self._sole:
            self._sole.discard(message_id)
            state = b"D"
        self._settlements.tell(then, now, base_key(recipient), message_id, endpoint, state)

    # --- the way into the archive -------------------------------------------------------------

    async def unarchived(self, limit: int, timeout: float) -> list[Unarchived]:  # noqa: ASYNC109
        link = self._link
        wait: tuple[Word, ...] = ()
        if timeout > 0:
            link = await self._blocking_link("archive")
            wait = ("BLOCK", max(1, int(timeout * 1000)))
        words = ("XREAD", "COUNT", limit, *wait, "STREAMS", ARCHIVE, "0-0")
        try:
            answer = await link.call(*words, patience=timeout + PATIENCE)
        except ReplyError as error:
            raise Unavailable(str(error)) from error
        entries: list[list[Any]] = answer[0][1] if answer else []
        return [Unarchived(position(*entry_id(name)), fields[1]) for name, fields in entries]

    async def forget_unarchived(self, position: int) -> None:
        milliseconds, count = divmod(position, COUNTS)
        await self._call("XTRIM", ARCHIVE, "MINID", f"{milliseconds}-{count + 1}")

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        return bool(await self._run("lease", f"t:lease:{name}", holder, int(seconds * 1000)))

    # --- envelopes ----------------------------------------------------------------------------

    async def relay(self, envelope: Relay) -> int:
        words = (encode(envelope), envelope.kind.value, envelope.endpoint)
        sent = await self._engine("relay", envelope.address, *words, again=False)
        return int(sent)

    async def tell(self, address: Address, envelope: AuthorisationChanged | Failed | KeptChanged) -> None:
        await self._engine("tell", address, encode(envelope))

    async def _engine(self, name: str, address: Address, *words: bytes | str, again: bool = True) -> Any:
        now = int(self._clock() * 1000)
        return await self._run(name, base_key(address), now, self._bound, *words, again=again)

    async def broadcast(self, envelope: Inbound, node: str = "") -> None:
        oldest = self._clock() - DEAD_SECONDS
        await self._run("broadcast", "t:nodes", oldest, self._bound, encode(envelope), node)

    def _reader(self, node: str, link: Link) -> InboxReader:
        reader = self._readers.get(node)
        if reader is None:
            reader = self._readers[node] = InboxReader(link, node)
        return reader

    async def receive(self, node: str, timeout: float) -> list[Inbound]:  # noqa: ASYNC109
        link = await self._blocking_link(f"inbox-{node}")
        envelopes = await self._reader(node, link).receive(timeout)
        if len(self._sole) >= SOLE_KEPT:
            self._sole.clear()
        messages = [e for e in envelopes if isinstance(e, Deliver)]
        self._sole.update([e.message.id for e in messages if e.sole])
        if self._sole:  # what was owed to one alone may be owed to others since
            self._sole.difference_update([e.message.id for e in messages if not e.sole])
        return envelopes

    # --- records and nodes --------------------------------------------------------------------

    async def put_records(self, node: str, records: dict[str, bytes]) -> list[str]:
        if not records:
            return []
        flat = [word for pair in records.items() for word in pair]
        taken = await self._run("put", KEEPERS, node, *flat)
        return [key.decode() for key in taken]

    async def has_record(self, node: str, key: str) -> bool:
        return bool(await self._call("HEXISTS", f"t:node:{node}:records", key))

    async def take_record(self, node: str, key: str) -> bytes | None:
        words = (node, key, self._bound, encode(RecordTaken(key=key)))
        data: bytes | None = await self._run("take", KEEPERS, *words)
        return data

    async def drop_records(self, node: str, keys: Iterable[str]) -> None:
        if names := list(keys):
            await self._call("HDEL", f"t:node:{node}:records", *names)

    async def records(self, node: str) -> dict[str, bytes]:
        stored = pairs(await self._call("HGETALL", f"t:node:{node}:records"))
        return {key.decode(): value for key, value in stored.items()}

    async def join(self, info: NodeInfo) -> None:
        me = (info.name, info.incarnation)
        first = b"0" if me in self._joined else b"1"
        words = (info.name, info.incarnation, encode(info), first)
        if not await self._run("join", "t:nodes", *words):
            raise Conflict(f"{info.name} was taken for dead, or replaced: what it owned has ended")
        self._joined.add(me)
        forget(self._link.call("EXPIRE", self._link.key, LINK_SECONDS))

    async def leave(self, name: str) -> None:
        await self._call("HDEL", "t:nodes", name)
        self._joined = {me for me in self._joined if me[0] != name}

    async def nodes(self) -> list[NodeInfo]:
        stored = pairs(await self._call("HGETALL", "t:nodes"))
        return [codec.decode_node(value) for _, value in sorted(stored.items())]

    async def sweep(self, node: str, incarnation: str | None, now: float) -> int:
        if incarnation is None:
            await self._call("HDEL", "t:nodes", node)
        elif (node, incarnation) not in self._fenced:
            self._fenced.add((node, incarnation))
            link = await self._blocking_link(f"inbox-{node}")
            newest = await self._call("XREVRANGE", f"t:inbox:{node}", "+", "-", "COUNT", 1)
            if newest:
                self._reader(node, link).fence(newest[0][0])
        watched, held = await self._all(
            [("SMEMBERS", f"t:node:{node}:watching"), ("SMEMBERS", f"t:node:{node}:addresses")]
        )
        for batch in batches(watched):
            await self._all(("SREM", b"t:{" + name + b"}:interest", node) for name in batch)
            await self._call("SREM", f"t:node:{node}:watching", *batch)
        count = 0
        for batch in batches(held):
            commands = [
                self._commit_words(address_of(name), Update(), now, node=node, incarnation=incarnation or "")
                for name in batch
            ]
            answers = await self._all(commands, numbered=True)
            count += sum(answer[2] for answer in answers)
        return count

    async def maintain(self, now: float, limit: int = 100) -> int:
        keys = ("t:due:leases", "t:due:messages", "t:due:claimed")
        due = await self._call(b"FCALL", self._function["claim"], b"3", *keys, int(now * 1000), limit)
        commands = [self._commit_words(address_of(name), Update(), now, maintain=True) for name in due]
        await self._all(commands, numbered=True)
        return len(due)

    # --- inspection ---------------------------------------------------------------------------

    def trace(self, entry: TraceEntry) -> None:
        self._traces.add(entry)

    async def traces(
        self,
        *,
        trace: str = "",
        address: str = "",
        after: str = "",
        limit: int = 500,
        timeout: float = 0.0,  # noqa: ASYNC109
    ) -> tuple[str, list[TraceEntry]]:
        self._traces.flush()
        tail = await self._blocking_link("tail") if timeout > 0 else self._link
        try:
            return await self._traces.read(
                tail, trace=trace, address=address, after=after, limit=limit, seconds=timeout
            )
        except ReplyError as error:
            raise Unavailable(str(error)) from error

    async def inspect(self, address: Address, now: float) -> dict[str, Any]:
        return inspection.describe(address, await self._all(inspection.commands(address)))

    async def ping(self) -> float:
        began = time.perf_counter()
        await self._call("PING")
        return time.perf_counter() - began


def batches(names: list[bytes]) -> Iterable[list[bytes]]:
    return (names[start : start + SWEEP_BATCH] for start in range(0, len(names), SWEEP_BATCH))


def address_of(name: bytes) -> Address:
    """Of a canonical address, as the bus has it in its indexes."""
    local, _, domain = name.decode().rpartition("@")
    return Address(local, domain)
