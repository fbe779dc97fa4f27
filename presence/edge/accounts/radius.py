"""Accounts behind RADIUS servers that check digest responses (FreeRADIUS `rlm_digest`, RFC 5090).

Phones' responses are passed on, after our own look at their nonce; for a plain password we act as the digest
client ourselves. RADIUS cannot say who exists: a person exists here from the first login on.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from presence.address import Address
from presence.edge.accounts import AccountSettings, Backend
from presence.edge.accounts.borrowed import PLAIN, JudgedAccounts
from presence.edge.accounts.radius_digest import (
    NAS_IDENTIFIER,
    USER_NAME,
    NotWritable,
    ask_for,
    rfc_5090,
    sterman,
)
from presence.edge.accounts.settings import RadiusSettings, read_secret
from presence.edge.database import Database
from presence.errors import Unavailable
from presence.ports import Account, AccountChanged, Accounts, DigestAlgorithm, DigestQuestion

if TYPE_CHECKING:
    from presence.edge.accounts.radius_client import RadiusClient

_FORMS = {"sterman": sterman, "rfc5090": rfc_5090}
_REMEMBERED = 10_000
"Passwords remembered at most."


class Radius:
    """Implements `presence.edge.accounts.borrowed.JudgingKeeper`."""

    place = "RADIUS"
    tells_who = False
    mechanisms = PLAIN

    def __init__(self, settings: RadiusSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._client: RadiusClient | None = None
        self._key = secrets.token_bytes(32)
        self._right: dict[Address, tuple[float, bytes]] = {}
        "Until when a password is known to be right, as a MAC under a key nobody else has."

    @property
    def algorithms(self) -> tuple[DigestAlgorithm, ...]:
        return (DigestAlgorithm.MD5,)

    async def find(self, address: Address) -> Account | None:
        """Nobody can be looked up."""
        return None

    async def check_password(self, address: Address, password: str) -> bool:
        """As a digest client with this password. Raises `Unavailable`."""
        mark = hmac.digest(self._key, f"{address}\0{password}".encode("utf-8", "surrogateescape"), "sha256")
        until, known = self._right.get(address, (0.0, b""))
        if until > self._clock() and hmac.compare_digest(known, mark):
            return True
        right = await self.check_digest(address, ask_for(address.local, address.domain, password))
        if not right:
            self._right.pop(address, None)
        elif self._settings.cache:
            if len(self._right) >= _REMEMBERED:
                self._right.clear()
            self._right[address] = (self._clock() + self._settings.cache, mark)
        return right

    async def check_digest(self, address: Address, question: DigestQuestion) -> bool:
        """Pass a response on. Raises `Unavailable`."""
        if question.algorithm.upper() not in ("MD5", "MD5-SESS"):
            return False
        user = str(address) if self._settings.username == "address" else address.local
        try:
            attributes = [(USER_NAME, user.encode()), (NAS_IDENTIFIER, b"tandem")]
            attributes += _FORMS[self._settings.form](question)
        except NotWritable:
            return False
        if self._client is None:
            self._client = self._open_client()
        return await self._client.ask(attributes)

    def _open_client(self) -> RadiusClient:
        """Raises `Unavailable` without the secret."""
        from presence.edge.accounts.radius_client import RadiusClient  # pyrad is an extra

        settings = self._settings
        return RadiusClient(
            settings.servers,
            read_secret(settings.secret_file),
            timeout=settings.timeout,
            tries=settings.tries,
            require_message_authenticator=settings.require_message_authenticator,
            clock=self._clock,
        )

    async def list(self) -> list[Account]:
        """Nobody can be listed."""
        return []

    async def refresh(self, *, force: bool) -> Sequence[AccountChanged]:
        if force:
            self._right.clear()
        return ()

    async def close(self) -> None:
        """Nothing is held open."""


def _open(settings: AccountSettings, database: Database) -> Accounts:
    return JudgedAccounts(Radius(settings.radius), database)


def _problems(settings: AccountSettings) -> list[str]:
    found = []
    if not settings.radius.servers:
        found.append("accounts.radius.servers: the backend radius needs at least one")
    if find_spec("pyrad") is None:
        found.append("accounts.backend: radius needs the extra `radius`: pip install tandem-gateway[radius]")
    try:
        read_secret(settings.radius.secret_file)
    except Unavailable as error:
        found.append(f"accounts.radius.secret_file: {error}")
    return found


BACKEND = Backend(
    "radius",
    "RADIUS servers that check digest responses, such as FreeRADIUS with rlm_digest",
    _open,
    problems=_problems,
    lists=False,
)
