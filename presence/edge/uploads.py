"""Uploaded files in a directory that all processes share (XEP-0363).

    secret             what tickets are signed with
    owners/OWNER/ID.SIZE.UNTIL    one empty file for each slot and each file: what a person's share is made
                                  of; with `.part` while the file comes
    files/XX/ID        a file; ID.json says what it is; ID.part while it comes

Everything here blocks: it runs in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from presence.address import Address
from presence.uploads import Limits, QuotaReached, Slot, Ticket, owner_of, patience_for, slot, verify

log = structlog.get_logger()

_ID = re.compile(r"[\w-]{32}", re.ASCII)
MAX_OPEN = 50
"Slots of one person that nothing was put into."
GATHERED = 262_144
"Bytes written at once."
LEFT_OVER = 86_400.0
"Seconds after which a file that never became whole is deleted."


class Taken(Exception):
    """Something was, or is being, put into this slot."""


class Broken(Exception):
    """What came is not what was announced."""


class Meta(msgspec.Struct, frozen=True):
    """What is known of a file."""

    name: str
    type: str
    owner: str
    expires: int
    "Unix seconds; 0: never."


@dataclass(frozen=True, slots=True)
class Stored:
    path: Path
    meta: Meta


@dataclass(frozen=True, slots=True)
class _Share:
    """One file in somebody's share."""

    path: Path
    id: str
    size: int
    until: int
    coming: bool
    "Its file is on its way."


@dataclass(frozen=True, slots=True)
class _Coming:
    """A file that is being put."""

    file: BinaryIO
    part: Path
    share: Path


class DirectoryUploads:
    """Implements `presence.uploads.Uploads`."""

    def __init__(
        self,
        directory: Path,
        settings: Limits,
        clock: Callable[[], float] = time.time,
        patience: Callable[[int], float] = patience_for,
    ) -> None:
        """`patience`: seconds a file of that size may take to come."""
        self._directory = directory
        self._settings = settings
        self._clock = clock
        self._patience = patience
        self._secret = b""

    @property
    def max_size(self) -> int:
        """Bytes of one file."""
        return self._settings.max_size

    def prepare(self) -> None:
        """Raises `OSError`."""
        for name in ("owners", "files"):
            (self._directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._directory / "secret"
        with contextlib.suppress(FileExistsError):
            made = self._directory / f"secret.{secrets.token_hex(8)}"
            with open(made, "xb", opener=_private) as opened:
                opened.write(secrets.token_bytes(32))
            try:
                os.link(made, file)  # whole, or not at all: another process may be doing the same
            finally:
                made.unlink()
        self._secret = file.read_bytes()

    # --- slots --------------------------------------------------------------------------------------------

    async def reserve(
        self, owner: Address, base: str, name: str, type: str, size: int, *, expires: float | None = None
    ) -> Slot:
        """See `presence.uploads.Uploads`."""
        return slot(await self.claim(owner, name, type, size, expires=expires), base, self._secret)

    async def claim(
        self, owner: Address, name: str, type: str, size: int, *, expires: float | None = None
    ) -> Ticket:
        """Room for one file. Raises `QuotaReached`, `OSError`."""
        now = self._clock()
        kept = self._settings.days * 86_400
        ends = min(filter(None, (now + kept if kept else 0, expires)), default=0)
        ticket = Ticket(
            id=secrets.token_urlsafe(24),
            owner=owner_of(owner),
            name=name,
            type=type,
            size=size,
            until=int(now + self._settings.slot_lifetime),
            expires=int(ends),
        )
        await asyncio.to_thread(self._reserve, ticket, now)
        return ticket

    async def release(self, ticket: Ticket) -> None:
        """Nothing will be put there."""
        await asyncio.to_thread(self._slot(ticket).unlink, missing_ok=True)

    def _reserve(self, ticket: Ticket, now: float) -> None:
        directory = self._owner(ticket.owner)
        directory.mkdir(mode=0o700, exist_ok=True)
        with _locked(directory.with_suffix(".lock")):
            shares = list(self._shares(directory, now))
            used = sum(share.size for share in shares)
            ends = sorted(share.until for share in shares if share.until)
            if self._settings.quota and used + ticket.size > self._settings.quota:
                raise QuotaReached("all your room for files is taken", ends[0] if ends else 0)
            if self._settings.max_files and len(shares) >= self._settings.max_files:
                raise QuotaReached("you have as many files as one may have", ends[0] if ends else 0)
            soon = now + self._settings.slot_lifetime  # what lasts longer is a file
            opened = [s for s in shares if s.coming or self._unused(s, soon)]
            if len(opened) >= MAX_OPEN:
                raise QuotaReached("first use the slots you have", min(share.until for share in opened))
            (directory / f"{ticket.id}.{ticket.size}.{ticket.until}").touch()

    def _unused(self, share: _Share, soon: float) -> bool:
        return 0 < share.until <= soon and not self._path(share.id).exists()

    def _shares(self, directory: Path, now: float) -> Iterator[_Share]:
        """What counts; what has ended is forgotten."""
        for entry in os.scandir(directory):
            id, size, until, *coming = entry.name.split(".")
            share = _Share(Path(entry.path), id, int(size), int(until), bool(coming))
            if share.until and share.until <= now:
                with contextlib.suppress(FileNotFoundError):
                    share.path.unlink()
            else:
                yield share

    def ticket(self, text: str) -> Ticket | None:
        """What may be put, if the ticket is ours and not too old."""
        found = verify(text, self._secret)
        return found if found is not None and found.until >= self._clock() else None

    # --- files --------------------------------------------------------------------------------------------

    async def put(
        self, ticket: Ticket, type: str, chunks: AsyncIterator[bytes], *, at_most: bool = False
    ) -> int:
        """Take a file in, whole or not at all, while it counts for its owner; returns its size in bytes.
        `at_most`: it may be smaller than announced. Raises `Taken`, `Broken`, `TimeoutError`, `OSError`."""
        patience = self._patience(ticket.size)
        coming = await asyncio.to_thread(self._begin, ticket, self._clock() + patience)
        try:
            async with asyncio.timeout(patience):
                size = await self._write(ticket, coming.file, chunks)
                if size != ticket.size and not at_most:
                    raise Broken
            await asyncio.to_thread(self._keep, ticket, type, coming, size)
        except BaseException:
            await asyncio.to_thread(self._give_up, ticket, coming)
            raise
        return size

    def _begin(self, ticket: Ticket, until: float) -> _Coming:
        path, slot = self._path(ticket.id), self._slot(ticket)
        share = slot.with_name(f"{ticket.id}.{ticket.size}.{int(until) + 1}.part")
        with _locked(slot.parent.with_suffix(".lock")):
            if path.exists() or not slot.exists():
                raise Taken
            path.parent.mkdir(mode=0o700, exist_ok=True)
            part = path.with_suffix(".part")
            try:
                file = open(part, "xb", opener=_private)  # noqa: SIM115 - closed when it is whole, or given up
            except FileExistsError:
                raise Taken from None
            slot.rename(share)
        return _Coming(file, part, share)

    async def _write(self, ticket: Ticket, file: BinaryIO, chunks: AsyncIterator[bytes]) -> int:
        came, gathered = 0, bytearray()
        async for chunk in chunks:
            came += len(chunk)
            if came > ticket.size:
                raise Broken
            gathered += chunk
            if len(gathered) >= GATHERED:
                await asyncio.to_thread(file.write, bytes(gathered))
                gathered.clear()
        await asyncio.to_thread(file.write, bytes(gathered))
        return came

    def _give_up(self, ticket: Ticket, coming: _Coming) -> None:
        """The slot may be used again, if it is still good."""
        coming.file.close()
        coming.part.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            coming.share.rename(self._slot(ticket))

    def _keep(self, ticket: Ticket, type: str, coming: _Coming, size: int) -> None:
        coming.file.flush()
        os.fsync(coming.file.fileno())
        coming.file.close()
        path = self._path(ticket.id)
        meta = Meta(name=ticket.name, type=type, owner=ticket.owner, expires=ticket.expires)
        with open(path.with_suffix(".json"), "wb", opener=_private) as described:
            described.write(msgspec.json.encode(meta))
        coming.share.with_name(f"{ticket.id}.{size}.{ticket.expires}").touch()
        coming.share.unlink(missing_ok=True)
        coming.part.rename(path)
        _sync(path.parent)

    def find(self, id: str) -> Stored | None:
        """A file that is whole and not over."""
        if not _ID.fullmatch(id):
            return None
        path = self._path(id)
        try:
            meta = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Meta)
        except (OSError, msgspec.MsgspecError):
            return None
        if not path.exists() or (meta.expires and meta.expires <= self._clock()):
            return None
        return Stored(path, meta)

    # --- cleaning -----------------------------------------------------------------------------------------

    def clean(self) -> int:
        """Delete what is over; returns how many files. One process at a time does it."""
        with contextlib.suppress(BlockingIOError), _locked(self._directory / "cleaning.lock", wait=False):
            return self._clean(self._clock())
        return 0

    def _clean(self, now: float) -> int:
        for directory in (self._directory / "owners").iterdir():
            if directory.is_dir():
                with _locked(directory.with_suffix(".lock")):
                    for _ in self._shares(directory, now):
                        pass
        deleted = 0
        for described in (self._directory / "files").glob("*/*.json"):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                meta = msgspec.json.decode(described.read_bytes(), type=Meta)
                if meta.expires and meta.expires <= now:
                    described.with_suffix("").unlink(missing_ok=True)
                    described.unlink()
                    deleted += 1
        for part in (self._directory / "files").glob("*/*.part"):
            with contextlib.suppress(OSError):
                if part.stat().st_mtime < now - LEFT_OVER:
                    part.unlink()
        return deleted

    def _slot(self, ticket: Ticket) -> Path:
        """Its share while nothing was put into it."""
        return self._owner(ticket.owner) / f"{ticket.id}.{ticket.size}.{ticket.until}"

    def _owner(self, owner: str) -> Path:
        return self._directory / "owners" / owner

    def _path(self, id: str) -> Path:
        return self._directory / "files" / id[:2] / id


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(directory: Path) -> None:
    """What was renamed in it stays so over a crash of the host."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextlib.contextmanager
def _locked(file: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock that all processes know. Raises `BlockingIOError` instead of waiting."""
    with open(file, "wb", opener=_private) as opened:
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
