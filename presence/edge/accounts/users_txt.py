"""Accounts in a reTurn `users.txt`, shared with the TURN server and read again when it changes.

The whole file is read into a new table, which then takes the place of the old one. A file that is being
written is left alone until it has been the same for two looks; one that is gone or unreadable changes
nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from presence.address import Address
from presence.edge.accounts import AccountSettings, Backend
from presence.edge.accounts.borrowed import PLAIN, BorrowedAccounts
from presence.edge.accounts.proofs import matches_ha1, stored_ha1
from presence.edge.accounts.settings import UsersTxtSettings
from presence.edge.accounts.users_file import Entry, Parsed, parse_users
from presence.edge.database import Database
from presence.errors import Unavailable
from presence.ports import Account, AccountChanged, Accounts, DigestAlgorithm

log = structlog.get_logger()

LOOK_EVERY = 1.0
"Seconds between two looks at the file's size and times."
MAX_SIZE = 256 * 1024 * 1024
_NOBODY = ("0" * 32, "nobody:nowhere")
"What an unknown user's password is compared with, so that it takes as long as anybody's."

_State = tuple[int, int, int]


class UsersTxt:
    """Implements `presence.edge.accounts.borrowed.Keeper`."""

    place = "users.txt"
    tells_who = True
    mechanisms = PLAIN

    def __init__(self, settings: UsersTxtSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = settings.file or Path("users.txt")
        self._settings = settings
        self._clock = clock
        self._table: Parsed | None = None
        self._only_md5 = True
        self._read: _State | None = None
        "Of the file as it was read."
        self._seen: _State | None = None
        "At the last look."
        self._next_look = 0.0
        self._changes: list[AccountChanged] = []
        "Who lost their place, or has another password, since the last `refresh`."
        self._reading = asyncio.Lock()

    @property
    def algorithms(self) -> tuple[DigestAlgorithm, ...]:
        """What all of the file can prove: SHA-256 needs plain passwords."""
        return (DigestAlgorithm.MD5,) if self._only_md5 else (DigestAlgorithm.SHA256, DigestAlgorithm.MD5)

    async def find(self, address: Address) -> Account | None:
        entry = (await self._entries()).entries.get(address)
        return entry.account() if entry is not None else None

    async def check_password(self, address: Address, password: str) -> bool:
        """Refused accounts' passwords are right or wrong like others': `Account.enabled` decides."""
        account = await self.find(address)
        if account is not None and account.password:
            return hmac.compare_digest(account.password.encode(), password.encode())
        hashed, spelling = stored_ha1(account) if account is not None else _NOBODY
        return matches_ha1(password, hashed, spelling) and account is not None

    async def list(self) -> list[Account]:
        return [entry.account() for entry in (await self._entries()).entries.values()]

    async def refresh(self, *, force: bool) -> Sequence[AccountChanged]:
        """Look at the file, or read it whatever it looks like."""
        try:
            await self._entries(force=force)
        except Unavailable:
            return ()
        changes, self._changes = self._changes, []
        return changes

    async def close(self) -> None:
        """Nothing is held open."""

    async def _entries(self, *, force: bool = False) -> Parsed:
        """The table, read anew where the file has changed. Raises `Unavailable` while there never was one."""
        now = self._clock()
        if force or self._table is None or now >= self._next_look:
            async with self._reading:
                if force or self._table is None or now >= self._next_look:
                    self._next_look = now + LOOK_EVERY
                    await self._look(force)
        if self._table is None:
            raise Unavailable("users.txt cannot be read")
        return self._table

    async def _look(self, force: bool) -> None:
        try:
            state = _state(self._path)
            settled = state == self._seen or self._table is None or force
            changed = state != self._read or force
            self._seen = state
            if not (changed and settled):
                return
            table = await asyncio.to_thread(_load, self._path, self._settings)
        except OSError as error:
            if self._seen is not None or self._table is None:
                log.error("users_file_unreadable", file=str(self._path), error=error.strerror or str(error))
            self._seen = None
            return
        self._read = state
        self._take(table)

    def _take(self, table: Parsed) -> None:
        before, self._table = self._table, table
        self._only_md5 = not table.entries or any(entry.ha1 for entry in table.entries.values())
        for problem in table.problems:
            log.warning("users_line_skipped", file=str(self._path), line=problem.line, reason=problem.text)
        log.info("users_file_read", file=str(self._path), accounts=len(table.entries), skipped=table.broken)
        if before is None:
            return
        for address, old in before.entries.items():
            new = table.entries.get(address)
            if not old.enabled:
                continue
            if new is None or not new.enabled:
                self._changes.append(AccountChanged(address=address, gone=True))
            elif not _same_password(old, new):
                self._changes.append(AccountChanged(address=address, renewed=True))


def _same_password(old: Entry, new: Entry) -> bool:
    """Also where one line has the password and the other its HA1."""
    if (old.password, old.ha1, old.realm) == (new.password, new.ha1, new.realm):
        return True
    return not (old.password and new.password) and stored_ha1(old.account()) == stored_ha1(new.account())


def _state(path: Path) -> _State:
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size, found.st_ino


def _load(path: Path, settings: UsersTxtSettings) -> Parsed:
    if path.stat().st_size > MAX_SIZE:
        raise OSError(0, f"it is larger than {MAX_SIZE} bytes")
    return parse_users(path.read_bytes(), secrets=settings.second_column, domains=settings.domains)


def _open(settings: AccountSettings, database: Database) -> Accounts:
    return BorrowedAccounts(UsersTxt(settings.users_txt), database)


def _problems(settings: AccountSettings) -> list[str]:
    file = settings.users_txt.file
    if file is None:
        return ["accounts.users_txt.file: the backend users_txt needs it"]
    try:
        _load(file, settings.users_txt)
    except OSError as error:
        return [f"accounts.users_txt.file: {file}: {error.strerror or error}"]
    return []


def _hints(settings: AccountSettings) -> list[str]:
    file = settings.users_txt.file
    if file is None or _problems(settings):
        return []
    table = _load(file, settings.users_txt)
    found = [f"{file}, line {problem.line}: {problem.text}; skipped" for problem in table.problems]
    elsewhere = sum(1 for entry in table.entries.values() if not entry.account().ha1)
    if elsewhere:
        found.append(f"{file}: {elsewhere} HA1 are of another realm; their phones cannot log in")
    return found


BACKEND = Backend(
    "users_txt",
    "a reTurn users.txt with passwords or HA1, shared with the TURN server",
    _open,
    problems=_problems,
    hints=_hints,
)
