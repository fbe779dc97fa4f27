"""How fast one client may speak: a bucket that fills with time."""

from __future__ import annotations


class Pace:
    __slots__ = ("_burst", "_full_at", "_rate")

    def __init__(self, rate: float, burst: int) -> None:
        """`rate` per second; `burst` at once."""
        self._rate = rate
        self._burst = burst
        self._full_at = 0.0
        "When the bucket is full again, Unix seconds."

    def allows(self, now: float) -> bool:
        """Take one, if there is one."""
        full_at = max(now, self._full_at) + 1 / self._rate
        if full_at - now > self._burst / self._rate:
            return False
        self._full_at = full_at
        return True
