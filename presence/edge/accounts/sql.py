"""Accounts in Tandem's own database. Every proof is written whenever a password is set."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from presence.address import Address, parse_address
from presence.edge.accounts import AccountSettings, Backend
from presence.edge.accounts.derived import DerivedKeys
from presence.edge.accounts.proofs import (
    SCRAM_HASHES,
    ha1,
    matches,
    matches_ha1,
    matches_stored,
    proofs,
    stored_ha1,
)
from presence.edge.accounts.users_file import Entry
from presence.edge.database import Database, inserting
from presence.edge.entry import forget_tokens, use_invitation
from presence.edge.reading import Query
from presence.edge.sql import forget_person
from presence.edge.tables import accounts, credentials, derived_keys
from presence.errors import Condition, Refused, Unavailable
from presence.ports import Account, AccountChanged, Accounts, DigestAlgorithm, ScramKeys

CACHE_SECONDS = 30.0
CACHE_SIZE = 50_000
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ScramKeys).decode
_nobody = ScramKeys(salt=b"tandem has no such", iterations=10_000, stored_key=bytes(32), server_key=bytes(32))
"What an unknown user's password is checked against, so that it takes as long as anybody's."

_people = select(
    accounts.c.address, accounts.c.enabled, accounts.c.phone_only, credentials.c.kind, credentials.c.secret
).select_from(accounts.outerjoin(credentials, accounts.c.address == credentials.c.address))
_ONE = Query(_people.where(accounts.c.address == bindparam("address")))
_IMPORTED = Query(
    select(credentials.c.address)
    .where(credentials.c.kind == "own:HA1")
    .where(credentials.c.address.not_in(select(derived_keys.c.address)))
    .limit(1)
)
"Somebody without SCRAM keys."
_WITHOUT_SHA_512 = Query(
    select(accounts.c.address)
    .where(
        accounts.c.address.not_in(select(credentials.c.address).where(credentials.c.kind == "scram:SHA-512"))
    )
    .where(accounts.c.address.not_in(select(derived_keys.c.address)))
    .limit(1)
)
"Somebody whose keys are older than that mechanism."
_MD5_ONLY = (
    select(credentials.c.address)
    .where(credentials.c.kind == "ha1:MD5")
    .where(
        credentials.c.address.not_in(select(credentials.c.address).where(credentials.c.kind == "ha1:SHA-256"))
    )
    .limit(1)
)
"Somebody imported by an HA1, whose password was not seen yet."


@dataclass(slots=True)
class Adopted:
    """What became of imported accounts."""

    added: int = 0
    replaced: int = 0
    kept: int = 0
    left_out: int = 0
    "Of names that are the server's own."


class SqlAccounts:
    """Implements `presence.ports.Accounts`."""

    mechanisms = frozenset({"PLAIN", "DIGEST-MD5"} | {f"SCRAM-{name}" for name in SCRAM_HASHES})

    reserved: frozenset[str] = frozenset()

    def __init__(self, database: Database) -> None:
        self._database = database
        self._derived = DerivedKeys(database)
        self._cache: dict[Address, tuple[float, Account | None]] = {}
        self._asked: dict[Address, asyncio.Event] = {}
        "Look-ups under way: who asks meanwhile waits for their answer."
        self._everybodys = (0.0, self.mechanisms)
        "Until when every account is known to prove these."
        self._digests: tuple[DigestAlgorithm, ...] = ()
        self._digests_until = 0.0
        self._counting = asyncio.Lock()

    async def digests(self) -> tuple[DigestAlgorithm, ...]:
        """Only MD5 as long as somebody has but an imported HA1."""
        if self._digests_until <= time.monotonic():
            async with self._counting:
                if self._digests_until <= time.monotonic():
                    await self._count_digests()
        return self._digests

    async def _count_digests(self) -> None:
        try:
            async with self._database.reading() as connection:
                some = (await connection.execute(_MD5_ONLY)).first() is not None
        except Unavailable:
            if not self._digests:
                raise
        else:
            self._digests = (DigestAlgorithm.MD5,) if some else (DigestAlgorithm.SHA256, DigestAlgorithm.MD5)
        self._digests_until = time.monotonic() + CACHE_SECONDS

    async def offers(self, address: Address | None) -> frozenset[str]:
        """SCRAM to everybody, but for imported accounts that have not shown their password yet."""
        if address is not None:
            account = await self.find(address)
            if account is not None:
                without = {f"SCRAM-{name}" for name in SCRAM_HASHES if name not in account.scram}
                return self.mechanisms - without
        until, everybodys = self._everybodys
        now = time.monotonic()
        if until <= now:
            everybodys = self.mechanisms
            if await self._database.rows(_IMPORTED):
                everybodys = frozenset({"PLAIN", "DIGEST-MD5"})
            elif await self._database.rows(_WITHOUT_SHA_512):
                everybodys -= {"SCRAM-SHA-512"}
            self._everybodys = (now + CACHE_SECONDS, everybodys)
        return everybodys

    async def find(self, address: Address) -> Account | None:
        """From the cache for seconds, else from the database, once for all who ask at the same time."""
        while True:
            cached = self._cache.get(address)
            if cached is not None and cached[0] > time.monotonic():
                return cached[1]
            asked = self._asked.get(address)
            if asked is None:
                break
            await asked.wait()
        asked = self._asked[address] = asyncio.Event()
        try:
            account = await self._look_up(address)
            if self._asked.get(address) is asked:  # else it was forgotten meanwhile: this may be old
                if len(self._cache) >= CACHE_SIZE:
                    self._cache.clear()
                self._cache[address] = (time.monotonic() + CACHE_SECONDS, account)
            return account
        finally:
            if self._asked.get(address) is asked:
                del self._asked[address]
            asked.set()

    async def _look_up(self, address: Address) -> Account | None:
        if address.local in self.reserved:
            return None
        rows = await self._database.rows(_ONE, address=str(address))
        account = _account(rows) if rows else None
        if account is not None and account.own_ha1:
            account = replace(account, scram=await self._derived.load(address, account.own_ha1))
        return account

    async def check_password(self, address: Address, password: str) -> bool:
        """Against an HA1; where the spelling may differ, against the SHA-256 SCRAM keys, in a thread. A right
        password makes the SCRAM keys that are missing."""
        account = await self.find(address)
        if account is not None and account.own_ha1:
            right: bool | None = matches_ha1(password, *stored_ha1(account))
        elif (right := matches_stored(password, account)) is None:
            keys = account.scram.get("SHA-256", _nobody) if account is not None else _nobody
            right = await asyncio.to_thread(matches, password, keys, "SHA-256")
        if not right or account is None or not account.enabled:
            return False
        await self._derived.complete(account, password, partial(self._keep, account))
        if DigestAlgorithm.MD5 in account.ha1 and DigestAlgorithm.SHA256 not in account.ha1:
            await self._complete(account.address, password)
        return True

    async def _complete(self, address: Address, password: str) -> None:
        """The HA1 of newer phones, of a password that was found right."""
        hexed = ha1(address, password, DigestAlgorithm.SHA256)
        row = {"address": str(address), "kind": f"ha1:{DigestAlgorithm.SHA256}", "secret": hexed.encode()}
        with suppress(Unavailable):  # it goes on without
            async with self._database.writing() as connection:
                await connection.execute(
                    inserting(connection, credentials).values(row).on_conflict_do_nothing()
                )
            self._digests_until = 0.0
            self.forget(address)

    async def keep_scram(self, address: Address, name: str, keys: ScramKeys) -> None:
        """See `presence.ports.Accounts.keep_scram`."""
        account = await self.find(address)
        if account is not None and name not in account.scram:
            await self._keep(account, {name: keys})

    async def _keep(self, account: Account, made: Mapping[str, ScramKeys]) -> None:
        """SCRAM keys an account had none of."""
        if account.own_ha1:
            await self._derived.put(account.address, {**account.scram, **made}, account.own_ha1)
        else:
            name = str(account.address)
            rows = [
                {"address": name, "kind": f"scram:{hash}", "secret": _encode(keys)}
                for hash, keys in made.items()
            ]
            async with self._database.writing() as connection:
                statement = inserting(connection, credentials).values(rows)
                await connection.execute(statement.on_conflict_do_nothing())
        self._everybodys = (0.0, self.mechanisms)
        self.forget(account.address)

    async def set_password(self, address: Address, password: str) -> None:
        """Raises `Refused` ITEM_NOT_FOUND, or BAD_REQUEST for a password RFC 8265 does not allow."""
        made = await asyncio.to_thread(proofs, address, password)
        async with self._database.writing() as connection:
            known = select(accounts.c.address).where(accounts.c.address == str(address)).with_for_update()
            if (await connection.execute(known)).first() is None:
                raise Refused(Condition.ITEM_NOT_FOUND, f"there is no account {address}")
            await _drop_proofs(connection, address)
            await _write_proofs(connection, address, made)
        self._digests_until = 0.0
        self.forget(address)

    async def add(self, address: Address, password: str, *, invitation: str = "") -> None:
        """See `presence.ports.Accounts.add`."""
        if address.local in self.reserved:
            raise Refused(Condition.CONFLICT, f"{address} is an address of the server's own")
        made = await asyncio.to_thread(proofs, address, password)
        values = {"address": str(address), "enabled": True, "phone_only": True, "created": time.time()}
        async with self._database.writing() as connection:
            if invitation and not await use_invitation(connection, invitation):
                raise Refused(Condition.NOT_ACCEPTABLE, "the invitation is used up")
            try:
                await connection.execute(insert(accounts).values(values))
            except IntegrityError as error:
                raise Refused(Condition.CONFLICT, f"there already is an account {address}") from error
            await _write_proofs(connection, address, made)
        self.forget(address)

    async def delete(self, address: Address) -> None:
        """With its roster, and its places in other rosters. Raises `Refused` ITEM_NOT_FOUND."""
        async with self._database.writing() as connection:
            gone = await connection.execute(delete(accounts).where(accounts.c.address == str(address)))
            if gone.rowcount == 0:
                raise Refused(Condition.ITEM_NOT_FOUND, f"there is no account {address}")
            await connection.execute(delete(derived_keys).where(derived_keys.c.address == str(address)))
            await forget_person(connection, address)
        self.forget(address)

    async def list(self) -> list[Account]:
        """All accounts, by address."""
        grouped: dict[str, list[Sequence[Any]]] = defaultdict(list)
        async with self._database.reading() as connection:
            for row in await connection.execute(_people.order_by(accounts.c.address)):
                grouped[row.address].append(row)
        return [_account(rows) for rows in grouped.values()]

    async def seen_on_xmpp(self, address: Address) -> None:
        """Writes only the first time."""
        account = await self.find(address)
        if account is None or not account.phone_only:
            return
        async with self._database.writing() as connection:
            this = accounts.c.address == str(address)
            await connection.execute(update(accounts).where(this).values(phone_only=False))
        self.forget(address)

    async def set_enabled(self, address: Address, enabled: bool) -> None:
        """Raises `Refused` ITEM_NOT_FOUND."""
        async with self._database.writing() as connection:
            this = accounts.c.address == str(address)
            if (await connection.execute(update(accounts).where(this).values(enabled=enabled))).rowcount == 0:
                raise Refused(Condition.ITEM_NOT_FOUND, f"there is no account {address}")
            if not enabled:
                await forget_tokens(connection, address)
        self.forget(address)

    async def refresh(self, *, force: bool = False) -> Sequence[AccountChanged]:
        """Changes are told over the bus; on demand everything is read anew."""
        if force:
            self._cache.clear()
        return ()

    async def adopt(self, entries: Iterable[Entry], *, replace_known: bool) -> Adopted:
        """Take over accounts from a file, in one transaction. Known ones keep what they have, unless they are
        to be replaced; then their rosters stay."""
        counted = Adopted()
        async with self._database.writing() as connection:
            known = {row.address for row in await connection.execute(select(accounts.c.address))}
            people: list[dict[str, Any]] = []
            secrets: list[dict[str, Any]] = []
            for entry in entries:
                name = str(entry.address)
                if entry.address.local in self.reserved:
                    counted.left_out += 1
                    continue
                if name in known and not replace_known:
                    counted.kept += 1
                    continue
                if name in known:
                    counted.replaced += 1
                    await _drop_proofs(connection, entry.address)
                    this = accounts.c.address == name
                    await connection.execute(update(accounts).where(this).values(enabled=entry.enabled))
                else:
                    counted.added += 1
                    fresh = {"phone_only": True, "created": time.time()}
                    people.append({"address": name, "enabled": entry.enabled, **fresh})
                secrets += _imported_proofs(entry)
            for start in range(0, len(people), 1000):
                await connection.execute(insert(accounts), people[start : start + 1000])
            for start in range(0, len(secrets), 1000):
                await connection.execute(insert(credentials), secrets[start : start + 1000])
        self._cache.clear()
        self._digests_until = 0.0
        return counted

    def forget(self, address: Address) -> None:
        """Empty the cache for one address."""
        self._cache.pop(address, None)
        self._asked.pop(address, None)

    async def close(self) -> None:
        """The database is the store's to close."""


def _account(rows: Sequence[Sequence[Any]]) -> Account:
    """From one person's rows of `_people`."""
    address, enabled, phone_only, _, _ = rows[0]
    found = [(*kind.partition(":")[::2], secret) for _, _, _, kind, secret in rows if kind is not None]
    return Account(
        address=parse_address(address),
        enabled=bool(enabled),
        phone_only=bool(phone_only),
        ha1={name: secret.decode() for family, name, secret in found if family == "ha1"},
        scram={name: _decode(secret) for family, name, secret in found if family == "scram"},
        own_ha1=_own(found, "HA1"),
        spelling=_own(found, "spelling"),
    )


def _own(found: Iterable[tuple[Any, ...]], wanted: str) -> str:
    return next((secret.decode() for family, name, secret in found if (family, name) == ("own", wanted)), "")


def _imported_proofs(entry: Entry) -> list[dict[str, Any]]:
    """Rows of `credentials`: the HA1, and how login and realm were spelled for it."""
    account = entry.account()
    own, spelling = stored_ha1(account)
    kinds = {f"ha1:{name}": hexed for name, hexed in account.ha1.items()}
    kinds |= {"own:HA1": own, "own:spelling": spelling}
    name = str(entry.address)
    return [{"address": name, "kind": kind, "secret": text.encode()} for kind, text in kinds.items()]


async def _drop_proofs(connection: AsyncConnection, address: Address) -> None:
    await forget_tokens(connection, address)
    await connection.execute(delete(credentials).where(credentials.c.address == str(address)))
    await connection.execute(delete(derived_keys).where(derived_keys.c.address == str(address)))


async def _write_proofs(
    connection: AsyncConnection, address: Address, made: tuple[dict[str, ScramKeys], dict[str, str]]
) -> None:
    scram, digests = made
    rows = [
        {"address": str(address), "kind": f"scram:{name}", "secret": _encode(keys)}
        for name, keys in scram.items()
    ]
    rows += [
        {"address": str(address), "kind": f"ha1:{name}", "secret": hexed.encode()}
        for name, hexed in digests.items()
    ]
    await connection.execute(insert(credentials), rows)


def _open(_settings: AccountSettings, database: Database) -> Accounts:
    return SqlAccounts(database)


BACKEND = Backend("sql", "accounts in Tandem's database, with SCRAM keys and digest HA1", _open, creates=True)
