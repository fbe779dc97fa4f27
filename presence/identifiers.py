"""Ids for messages and traces: unique, short, and in the order they were given."""

from __future__ import annotations

import secrets
from collections.abc import Callable

COUNTS = 1 << 16


class Identifiers:
    """Time in milliseconds, which never goes back, then a salt of this process and a count."""

    def __init__(self, clock: Callable[[], float], salt: str = "") -> None:
        self._clock = clock
        self._salt = salt or secrets.token_hex(3)
        self._last = 0

    def __call__(self) -> str:
        # the count is part of the number: where a millisecond has too many it borrows from the next
        self._last = max(self._last + 1, int(self._clock() * 1000) * COUNTS)
        return f"{self._last:015x}{self._salt}"
