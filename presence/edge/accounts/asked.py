"""What backends have in common that can only be asked whether a password is right."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from presence.address import Address
from presence.edge.accounts.borrowed import PLAIN
from presence.ports import Account, AccountChanged, DigestAlgorithm


class Asked:
    """Implements `presence.edge.accounts.borrowed.Keeper` with one question."""

    tells_who = False
    mechanisms = PLAIN
    algorithms: tuple[DigestAlgorithm, ...] = ()

    def __init__(self, place: str, ask: Callable[[Address, str], Awaitable[bool]]) -> None:
        """`ask` raises `Unavailable` where nobody can say."""
        self.place = place
        self._ask = ask

    async def find(self, address: Address) -> Account | None:
        """Nobody can be looked up."""
        return None

    async def check_password(self, address: Address, password: str) -> bool:
        return await self._ask(address, password)

    async def list(self) -> list[Account]:
        """Nobody can be listed."""
        return []

    async def refresh(self, *, force: bool) -> Sequence[AccountChanged]:
        return ()

    async def close(self) -> None:
        """Nothing is held open."""
