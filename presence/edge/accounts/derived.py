"""SCRAM keys that are made when a PLAIN login shows the password: those of accounts of which only an HA1 is
kept are good as long as the HA1 stays the same."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from sqlalchemy import bindparam, delete, insert, select

from presence.address import Address
from presence.edge.accounts.proofs import SCRAM_HASHES, derive, fingerprint
from presence.edge.database import Database
from presence.edge.reading import Query
from presence.edge.tables import derived_keys
from presence.errors import Refused, Unavailable
from presence.ports import Account, ScramKeys

_KEYS = Query(
    select(derived_keys.c.fingerprint, derived_keys.c.secret).where(
        derived_keys.c.address == bindparam("address")
    )
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, ScramKeys]).decode
_REMEMBERED = 50_000


class DerivedKeys:
    """The keys in SQL, with what this process found out about them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._fingerprints: dict[tuple[str, bytes], bytes] = {}
        "(HA1, salt) → fingerprint: each is slow to compute, and compared at every look-up."
        self._making: set[Address] = set()

    async def load(self, address: Address, hashed: str) -> dict[str, ScramKeys]:
        """The keys made for this HA1; none if there are none, or the HA1 has changed since."""
        rows = await self._database.rows(_KEYS, address=str(address))
        if not rows:
            return {}
        keys = _decode(rows[0][1])
        same = hmac.compare_digest(await self._fingerprint(hashed, keys), bytes(rows[0][0]))
        return keys if same else {}

    async def complete(
        self, account: Account, password: str, keep: Callable[[Mapping[str, ScramKeys]], Awaitable[None]]
    ) -> None:
        """Make what an account lacks of a password that was found right, and keep it. Of logins at the same
        time one does so; where it cannot, PLAIN goes on working."""
        missing = [name for name in SCRAM_HASHES if name not in account.scram]
        if not missing or account.address in self._making:
            return
        self._making.add(account.address)
        try:
            await keep(await asyncio.to_thread(derive, password, missing))
        except (Refused, Unavailable):  # also when another process has just done the same
            return
        finally:
            self._making.discard(account.address)

    async def put(self, address: Address, keys: Mapping[str, ScramKeys], hashed: str) -> None:
        """Keep these, as long as the HA1 is this one."""
        mark = await self._fingerprint(hashed, keys)
        this = derived_keys.c.address == str(address)
        values = {"address": str(address), "fingerprint": mark, "secret": _encode(dict(keys))}
        async with self._database.writing() as connection:
            await connection.execute(delete(derived_keys).where(this))
            await connection.execute(insert(derived_keys).values(values))

    async def _fingerprint(self, hashed: str, keys: Mapping[str, ScramKeys]) -> bytes:
        basis = next(iter(keys.values()))  # the first stays the first
        salt = basis.salt
        known = self._fingerprints.get((hashed, salt))
        if known is None:
            known = await asyncio.to_thread(fingerprint, hashed, salt, basis.iterations)
            if len(self._fingerprints) >= _REMEMBERED:
                self._fingerprints.clear()
            self._fingerprints[hashed, salt] = known
        return known
