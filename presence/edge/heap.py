"""What is free goes back to the system: glibc keeps what was freed below anything that is still used.

After a login that is half as much as the session itself.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

TRIM: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
"glibc has it, musl has not."
RESTS = 1000
"Times as long as it took, it is not done again."


class Heap:
    """Everything else waits meanwhile: milliseconds for a thousand sessions."""

    def __init__(
        self, trim: Callable[[int], int] | None = TRIM, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._trim = trim
        self._clock = clock
        self._rests_until = 0.0

    def give_back(self) -> None:
        """Something was freed; what may have been freed since the last time goes back, too."""
        began = self._clock()
        if self._trim is None or began < self._rests_until:
            return
        self._trim(0)
        ended = self._clock()
        self._rests_until = ended + RESTS * (ended - began)
