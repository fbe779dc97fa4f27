"""Ids for messages and traces: unique, in the order they were given, not to be guessed (XEP-0313 §3)."""

from __future__ import annotations

import secrets
from collections.abc import Callable

COUNTS = 1 << 16
RANDOM = 6
"Hexadecimal digits nobody can foresee."
SUPPLY = 256
"Ids for which they are drawn at once."


class Identifiers:
    """Time in milliseconds, which never goes back, and a count; then a salt of this process; then chance."""

    def __init__(self, clock: Callable[[], float], salt: str = "") -> None:
        self._clock = clock
        self._salt = salt or secrets.token_hex(3)
        self._last = 0
        self._chance: list[str] = []

    def __call__(self) -> str:
        # the count is part of the number: where a millisecond has too many it borrows from the next
        self._last = max(self._last + 1, int(self._clock() * 1000) * COUNTS)
        if not self._chance:
            drawn = secrets.token_hex(SUPPLY * RANDOM // 2)
            self._chance = [drawn[start : start + RANDOM] for start in range(0, len(drawn), RANDOM)]
        return f"{self._last:015x}{self._salt}{self._chance.pop()}"
