"""How long to wait before trying again."""

from __future__ import annotations


class Backoff:
    """Doubling waits between two bounds; a success that lasted starts over."""

    def __init__(self, first: float = 0.1, longest: float = 10.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def wait(self) -> float:
        """Seconds to wait now."""
        wait, self._next = self._next, min(self._next * 2, self._longest)
        return wait

    def reset(self) -> None:
        """It worked."""
        self._next = self._first
