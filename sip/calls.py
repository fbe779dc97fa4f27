"""Which published calls still count, so that no lamp sticks (RFC 4235 §3.7).

A call that ended leaves a tombstone for as long as anything said of it before could live. What comes late or
out of order cannot put anybody on the phone again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from presence.address import Address
from sip.pidf import Call

_MOST = 20_000
"Ended calls remembered."


class Calls:
    """`longest` is the longest lease of a publication, in seconds."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._ended: OrderedDict[tuple[Address, str], float] = OrderedDict()

    def talking(self, address: Address, calls: Iterable[Call], now: float) -> bool:
        """Somebody is on the phone by what their phone says of its calls now."""
        self._forget(now)
        talking = False
        for call in calls:
            key = (address, call.name)
            if call.over:
                self._ended[key] = now + self._longest
                self._ended.move_to_end(key)
            elif call.talking and key not in self._ended:
                talking = True
        return talking

    def _forget(self, now: float) -> None:
        while self._ended and (len(self._ended) > _MOST or next(iter(self._ended.values())) <= now):
            self._ended.popitem(last=False)
