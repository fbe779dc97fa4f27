"""How much may be done over longer times: buckets that fill at a rate and hold a burst."""

from __future__ import annotations

from presence.address import Address


class Allowance:
    """How fast a client may send. Time is any clock's seconds."""

    __slots__ = ("_at", "_left", "most", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """`rate`: bytes a second; `burst`: seconds' worth of it that may come at once."""
        self.rate = rate
        self.most = rate * burst
        self._left = self.most
        self._at = now

    def spend(self, size: int, now: float) -> float:
        """Bytes have come: seconds until more should be read; 0: at once."""
        left = min(self.most, self._left + (now - self._at) * self.rate) - size
        self._at = now
        self._left = left
        return -left / self.rate if left < 0 else 0.0


class Paces:
    """How often something may be done to, in, or by each address: a bucket for each, that fills with time."""

    __slots__ = ("_burst", "_full_at", "_most", "_rate")

    def __init__(self, rate: float, burst: int, most: int) -> None:
        """`rate` per second, `burst` at once, of each address; of `most` addresses at a time."""
        self._rate = rate
        self._burst = burst
        self._most = most
        self._full_at: dict[Address, float] = {}
        "When each bucket is full again, Unix seconds."

    def allow(self, whose: Address, now: float, weight: int = 1) -> bool:
        """Take so many, if they are there. What weighs more than all that may come at once takes all."""
        full_at = max(now, self._full_at.get(whose, now)) + min(weight, self._burst) / self._rate
        if full_at - now > self._burst / self._rate:
            return False
        if whose not in self._full_at and len(self._full_at) >= self._most:
            self._full_at = {each: at for each, at in self._full_at.items() if at > now}
            if len(self._full_at) >= self._most:
                return False
        self._full_at[whose] = full_at
        return True
