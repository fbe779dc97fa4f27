"""DNS records for as long as they are good, within bounds of our own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from sip.locating import Question, Record

SHORTEST = 5.0
"Seconds an answer is kept at least: a TTL of 0 must not cost a question per request."
LONGEST = 3600.0
NOTHING = 30.0
"Longest time in seconds it is believed that there is no such record."
_CAPACITY = 2000


class RecordCache:
    """Times are seconds of one clock."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Question, tuple[float, tuple[Record, ...]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, question: Question, now: float) -> tuple[Record, ...] | None:
        """None when it has to be asked."""
        until, records = self._kept.get(question, (0.0, ()))
        return records if until > now else None

    def put(self, question: Question, records: Sequence[Record], ttl: float, now: float) -> None:
        self._kept.pop(question, None)
        longest = LONGEST if records else NOTHING
        self._kept[question] = (now + min(max(ttl, SHORTEST), longest), tuple(records))
        if len(self._kept) > _CAPACITY:
            self._kept.popitem(last=False)
