"""How fast a client may send over longer times: a bucket that fills at a rate and holds a burst."""

from __future__ import annotations


class Allowance:
    """Of one stream. Time is any clock's seconds."""

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
