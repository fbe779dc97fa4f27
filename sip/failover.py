"""One target after the other until somebody answers (RFC 3263 §4.3), and which are left alone for now."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from sip.locating import Target
from sip.runtime import Answer

_PENALTY = 60.0
"Seconds a target that failed is tried last."
_LONGEST_PENALTY = 600.0
_REMEMBERED = 1000
"Targets noted as failed."


def failed(answer: Answer) -> bool:
    """Whether the next target is worth a try: nobody answered at all, the way is broken, or a 503."""
    return answer.status == 503 or (answer.response is None and not answer.heard)


class Avoided:
    """Targets that failed lately. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._until: OrderedDict[Target, float] = OrderedDict()

    def note(self, target: Target, answer: Answer, now: float) -> None:
        """What became of a request there; an answer that is no failure makes it good again."""
        self._until.pop(target, None)
        if not failed(answer):
            return
        self._until[target] = now + _penalty(answer)
        if len(self._until) > _REMEMBERED:
            self._until.popitem(last=False)

    def order(self, targets: Sequence[Target], now: float) -> list[Target]:
        """Those that work as far as we know first, each group in its order; nobody is left out."""
        return sorted(targets, key=lambda target: self._until.get(target, 0.0) > now)


def _penalty(answer: Answer) -> float:
    """RFC 3261 §21.5.4: for the time of Retry-After no request goes there that can go elsewhere."""
    after = answer.response.headers.get("Retry-After") if answer.response is not None else None
    digits = (after or "").partition("(")[0].partition(";")[0].strip()
    if not digits.isascii() or not digits.isdigit():
        return _PENALTY
    return min(float(digits[:6]), _LONGEST_PENALTY)
