"""Who wants to be woken when a message waits. Clients register with the server (`COLLECTION` of their
belongings); here it is only known that somebody has."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from presence.address import Address
from presence.messages import InstantMessage
from presence.ports import KeptStore

COLLECTION = "push"
_FRESH = 30.0
"Seconds for which an answer is believed: so late may the first alarm be that a client asks for."
_MANY = 10_000
"People remembered."


class Alarms:
    def __init__(self, store: KeptStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._known: OrderedDict[Address, tuple[float, bool]] = OrderedDict()

    @staticmethod
    def concerns(message: InstantMessage, endpoints: Sequence[str]) -> bool:
        """It says something, and no XMPP client has it on its way."""
        says = message.store and bool(message.bodies or message.encrypted)
        return says and not any(endpoint.startswith("xmpp:") for endpoint in endpoints)

    def forget(self, address: Address) -> None:
        """Something was registered, or is no more."""
        self._known.pop(address, None)

    async def wanted(self, address: Address) -> bool:
        """Raises `Unavailable`."""
        now = self._clock()
        at, wanted = self._known.get(address, (0.0, False))
        if now - at >= _FRESH:
            wanted = bool(await self._store.kept(address, COLLECTION))
            self._known[address] = now, wanted
            self._known.move_to_end(address)
            if len(self._known) > _MANY:
                self._known.popitem(last=False)
        return wanted
