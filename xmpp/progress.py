"""How many stanzas of a client are dealt with, in the order they came: what XEP-0198 acknowledges."""

from __future__ import annotations

from collections.abc import Callable


class Progress:
    """Stanzas may be done with out of order; `handled` counts only up to the first that is not."""

    __slots__ = ("_done", "begun", "handled", "moved")

    def __init__(self) -> None:
        self.begun = 0
        "Stanzas that came."
        self._done: set[int] | None = None
        "Those that are done before the first that is not; None: none."
        self.handled = 0
        self.moved: Callable[[], None] | None = None
        "Called when `handled` has grown."

    def begin(self) -> int:
        self.begun += 1
        return self.begun

    def done(self, number: int) -> None:
        if number != self.handled + 1:
            if self._done is None:
                self._done = set()
            self._done.add(number)
            return
        self.handled = number
        if self._done:
            while self.handled + 1 in self._done:
                self.handled += 1
                self._done.discard(self.handled)
        if self.moved is not None:
            self.moved()
