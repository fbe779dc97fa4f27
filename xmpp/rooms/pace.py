"""How fast one client may speak: a bucket for each room, that fills with time."""

from __future__ import annotations

from presence.address import Address


class Paces:
    """Of one client."""

    __slots__ = ("_burst", "_full_at", "_most", "_rate")

    def __init__(self, rate: float, burst: int, most: int) -> None:
        """`rate` per second, `burst` at once, in each room; in `most` rooms at a time."""
        self._rate = rate
        self._burst = burst
        self._most = most
        self._full_at: dict[Address, float] = {}
        "When each bucket is full again, Unix seconds."

    def allow(self, room: Address, now: float, weight: int = 1) -> bool:
        """Take so many, if they are there. What weighs more than all that may come at once takes all."""
        full_at = max(now, self._full_at.get(room, now)) + min(weight, self._burst) / self._rate
        if full_at - now > self._burst / self._rate:
            return False
        if room not in self._full_at and len(self._full_at) >= self._most:
            self._full_at = {each: at for each, at in self._full_at.items() if at > now}
            if len(self._full_at) >= self._most:
                return False
        self._full_at[room] = full_at
        return True
