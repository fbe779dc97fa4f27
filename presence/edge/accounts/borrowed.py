"""Accounts that are kept elsewhere, with what Tandem itself has to remember about them.

A `Keeper` knows who there is and whether a password is right. Beside it, SQL has who was disabled here, who
has used XMPP, and SCRAM keys derived from an HA1. Where a keeper cannot say who exists (RADIUS, LDAP, HTTP),
a person exists from the first login on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from msgspec.structs import replace
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from presence.address import Address, parse_address
from presence.edge.accounts.derived import DerivedKeys
from presence.edge.accounts.proofs import SCRAM_HASHES, stored_ha1
from presence.edge.database import Database
from presence.edge.entry import forget_tokens
from presence.edge.reading import Query
from presence.edge.tables import account_notes
from presence.errors import Condition, Refused, Unavailable
from presence.ports import Account, AccountChanged, DigestAlgorithm, DigestJudge, DigestQuestion, ScramKeys

CACHE_SECONDS = 30.0
CACHE_SIZE = 50_000
PLAIN = frozenset({"PLAIN"})
SCRAM = frozenset(f"SCRAM-{name}" for name in SCRAM_HASHES)
_notes = select(account_notes.c.address, account_notes.c.enabled, account_notes.c.phone_only)
_NOTE = Query(_notes.where(account_notes.c.address == bindparam("address")))


class Keeper(Protocol):
    """Where accounts are kept, and what can be proven there."""

    place: str
    "For people: `users.txt`, `RADIUS`."
    tells_who: bool
    "`find` and `list` are complete. Else a person exists here from the first login on."
    mechanisms: frozenset[str]
    "SASL mechanisms every account can prove."

    @property
    def algorithms(self) -> tuple[DigestAlgorithm, ...]:
        """SIP digest algorithms all accounts can prove, best first."""

    async def find(self, address: Address) -> Account | None: ...
    async def check_password(self, address: Address, password: str) -> bool:
        """Raises `Unavailable` where nobody can say."""

    async def list(self) -> list[Account]: ...
    async def refresh(self, *, force: bool) -> Sequence[AccountChanged]: ...
    async def close(self) -> None: ...


class BorrowedAccounts:
    """Implements `presence.ports.Accounts`."""

    reserved: frozenset[str] = frozenset()

    def __init__(
        self, keeper: Keeper, database: Database, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.keeper = keeper
        self.mechanisms = keeper.mechanisms | (SCRAM | {"DIGEST-MD5"} if keeper.tells_who else frozenset())
        self._database = database
        self._derived = DerivedKeys(database)
        self._clock = clock
        self._cache: dict[Address, tuple[float, Account | None]] = {}

    async def digests(self) -> tuple[DigestAlgorithm, ...]:
        """What the keeper says now."""
        return self.keeper.algorithms

    async def offers(self, address: Address | None) -> frozenset[str]:
        """What everybody can prove; SCRAM to those who have keys. DIGEST-MD5 shows nobody's name."""
        always = self.keeper.mechanisms | (self.mechanisms & {"DIGEST-MD5"})
        account = await self.find(address) if address is not None else None
        return always | {f"SCRAM-{name}" for name in account.scram} if account is not None else always

    async def find(self, address: Address) -> Account | None:
        """From the cache for seconds, else from the keeper and the notes."""
        now = self._clock()
        cached = self._cache.get(address)
        if cached is not None and cached[0] > now:
            return cached[1]
        account = await self._find(address)
        if len(self._cache) >= CACHE_SIZE:
            self._cache.clear()
        self._cache[address] = (now + CACHE_SECONDS, account)
        return account

    async def _find(self, address: Address) -> Account | None:
        if address.local in self.reserved:
            return None
        kept = await self.keeper.find(address)
        if kept is None and self.keeper.tells_who:
            return None
        notes = await self._database.rows(_NOTE, address=str(address))
        if not notes:
            account = kept
        else:
            _, enabled, phone_only = notes[0]
            account = kept or Account(address=address)
            account = replace(account, enabled=account.enabled and bool(enabled), phone_only=bool(phone_only))
        if account is None or account.scram:
            return account
        hashed, _ = stored_ha1(account)
        return replace(account, scram=await self._derived.load(address, hashed)) if hashed else account

    async def check_password(self, address: Address, password: str) -> bool:
        """Ask the keeper. The first right answer makes the person known, and SCRAM keys where they can be
        made."""
        if address.local in self.reserved or not await self.keeper.check_password(address, password):
            return False
        account = await self._known(address)
        if stored_ha1(account)[0]:
            await self._derived.complete(account, password, partial(self._keep, account))
        return True

    async def _keep(self, account: Account, made: Mapping[str, ScramKeys]) -> None:
        """SCRAM keys an account had none of."""
        await self._derived.put(account.address, {**account.scram, **made}, stored_ha1(account)[0])
        self.forget(account.address)

    async def _known(self, address: Address) -> Account:
        account = await self.find(address)
        if account is None:
            await self._note(address)
            self.forget(address)
            account = await self.find(address)
        return account if account is not None else Account(address=address)

    async def _note(self, address: Address, **values: bool) -> None:
        """Write what is remembered of one person."""
        while not await self._noted(address, values):
            pass  # another process has just made the row: now it is there to be changed

    async def _noted(self, address: Address, values: dict[str, bool]) -> bool:
        """False when another process made the person's row at the same time."""
        this = account_notes.c.address == str(address)
        row = {"address": str(address), "enabled": True, "phone_only": True, "since": time.time()}
        try:
            async with self._database.writing() as connection:
                if (await connection.execute(select(account_notes.c.address).where(this))).first() is None:
                    await connection.execute(insert(account_notes).values({**row, **values}))
                elif values:
                    await connection.execute(update(account_notes).where(this).values(**values))
        except Unavailable as error:
            if isinstance(error.__cause__, IntegrityError):
                return False
            raise
        return True

    async def keep_scram(self, address: Address, name: str, keys: ScramKeys) -> None:
        """See `presence.ports.Accounts.keep_scram`."""
        account = await self.find(address)
        if account is not None and stored_ha1(account)[0] and name not in account.scram:
            await self._keep(account, {name: keys})

    async def set_password(self, address: Address, password: str) -> None:
        """Raises `Refused` NOT_ALLOWED: it is not ours to change."""
        raise self._not_ours("passwords are changed")

    async def add(self, address: Address, password: str, *, invitation: str = "") -> None:
        """Raises `Refused` NOT_ALLOWED."""
        raise self._not_ours("accounts are made")

    async def delete(self, address: Address) -> None:
        """Raises `Refused` NOT_ALLOWED."""
        raise self._not_ours("accounts are deleted")

    def _not_ours(self, what: str) -> Refused:
        return Refused(Condition.NOT_ALLOWED, f"{what} in {self.keeper.place}, not here")

    async def list(self) -> list[Account]:
        """All accounts, by address; where the keeper cannot list them, those who have logged in."""
        kept = {account.address: account for account in await self.keeper.list()}
        async with self._database.reading() as connection:
            rows = [tuple(row) for row in await connection.execute(_notes)]
        for text, enabled, phone_only in rows:
            address = parse_address(text)
            if address not in kept and self.keeper.tells_who:
                continue
            account = kept.get(address) or Account(address=address)
            enabled = account.enabled and bool(enabled)
            kept[address] = replace(account, enabled=enabled, phone_only=bool(phone_only))
        return [kept[address] for address in sorted(kept)]

    async def seen_on_xmpp(self, address: Address) -> None:
        """Writes only the first time."""
        account = await self.find(address)
        if account is not None and account.phone_only:
            await self._note(address, phone_only=False)
            self.forget(address)

    async def set_enabled(self, address: Address, enabled: bool) -> None:
        """Here only; what the keeper refuses stays refused. Raises `Refused` ITEM_NOT_FOUND."""
        if await self.find(address) is None and self.keeper.tells_who:
            raise Refused(Condition.ITEM_NOT_FOUND, f"there is no account {address}")
        await self._note(address, enabled=enabled)
        if not enabled:
            async with self._database.writing() as connection:
                await forget_tokens(connection, address)
        self.forget(address)

    async def refresh(self, *, force: bool = False) -> Sequence[AccountChanged]:
        """Let the keeper look."""
        changes = await self.keeper.refresh(force=force)
        if force or changes:
            self._cache.clear()
        return changes

    def forget(self, address: Address) -> None:
        """Empty the cache for one address."""
        self._cache.pop(address, None)

    async def close(self) -> None:
        await self.keeper.close()


class JudgingKeeper(Keeper, DigestJudge, Protocol):
    """A keeper that is asked about every digest response."""


class JudgedAccounts(BorrowedAccounts):
    """Implements `presence.ports.DigestJudge`, too."""

    def __init__(
        self, keeper: JudgingKeeper, database: Database, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(keeper, database, clock)
        self._judge = keeper

    async def check_digest(self, address: Address, question: DigestQuestion) -> bool:
        """Ask the keeper. The first right answer makes the person known."""
        if address.local in self.reserved or not await self._judge.check_digest(address, question):
            return False
        await self._known(address)
        return True
