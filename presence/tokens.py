"""Tokens a client logs in with instead of a password, one client at a time.

A client keeps two at most: the one it uses, and a fresh one it has not been seen to use yet. Nothing that is
stored lets anybody in: what a client shows is compared with a digest that is also bound to what proves the
account's password. When that changes, every token is worth nothing, in every process.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from presence.address import Address
from presence.ports import Account, ClientTokens, Token, TokenStore

MAX_CLIENTS = 64
"Clients of one account that have tokens; those that would be lost first lose theirs."
ROTATE_AFTER = 86_400.0
"Seconds after which a token is replaced when it is used."


@dataclass(frozen=True, slots=True)
class Used:
    """A token that was right."""

    token: Token
    expired: bool


class Tokens:
    """Of everybody. Every method may raise `Unavailable`."""

    def __init__(self, store: TokenStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def issue(
        self, account: Account, client: str, mechanism: str, *, shown: bytes, answer: bytes, seconds: float
    ) -> float:
        """Remember a fresh token for a client; returns when it expires. `shown`: what the client will show of
        it, not to be guessed; `answer`: what it will be answered."""
        now = self._clock()
        verifier = _verifier(account, client, mechanism, shown)
        token = Token(
            mechanism=mechanism, verifier=verifier, answer=answer, issued=now, expires=now + seconds
        )
        kept = await self._store.tokens(account.address, _name(client))
        await self._keep(account.address, client, replace(kept, fresh=token))
        return token.expires

    async def check(
        self, account: Account | None, address: Address, client: str, mechanism: str, shown: bytes
    ) -> Used | None:
        """The token a client shows, if it is one of its own. From then on an older one is not."""
        kept = await self._store.tokens(address, _name(client))
        verifier = _verifier(account, client, mechanism, shown) if account is not None else b""
        fresh, current = (
            token if token is not None and hmac.compare_digest(token.verifier, verifier) else None
            for token in (kept.fresh, kept.current)
        )
        found = fresh or current
        if found is None:
            return None
        expired = found.expires <= self._clock()
        if fresh is not None and not expired:
            await self._keep(address, client, ClientTokens(current=fresh))
        return Used(found, expired)

    def due(self, token: Token) -> bool:
        """It is time for another."""
        now = self._clock()
        return now - token.issued >= min(ROTATE_AFTER, (token.expires - token.issued) / 4)

    async def forget(self, address: Address, client: str) -> None:
        """The client's tokens are worth nothing any more."""
        await self._store.drop_tokens(address, _name(client))

    async def _keep(self, address: Address, client: str, tokens: ClientTokens) -> None:
        await self._store.put_tokens(address, _name(client), tokens, MAX_CLIENTS, self._clock())


def provable(account: Account) -> bool:
    """Something here changes with the account's password."""
    return bool(account.own_ha1 or account.ha1 or account.password or account.scram)


def _verifier(account: Account, client: str, mechanism: str, shown: bytes) -> bytes:
    proofs = [account.own_ha1, account.password, *(hexed for _, hexed in sorted(account.ha1.items()))]
    if not any(proofs):  # SCRAM keys of others may be made later, of the same password
        proofs += [keys.stored_key.hex() for _, keys in sorted(account.scram.items())]
    bound = "\0".join((str(account.address), client, mechanism, *proofs))
    return hmac.digest(shown, bound.encode(), "sha256")


def _name(client: str) -> str:
    return hashlib.sha256(client.encode()).hexdigest()
