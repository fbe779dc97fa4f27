"""Date and time on the wire (XEP-0082)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from math import modf

_END = 253_402_300_800
"The end of the year 9999 in Unix seconds: no time from here on can be written."


def stamp(at: float) -> str:
    """Unix seconds as a UTC DateTime with milliseconds."""
    part, whole = modf(min(at, _END - 1))
    seconds, microseconds = divmod(int(whole) * 1_000_000 + round(part * 1_000_000), 1_000_000)
    return f"{_second(seconds)}.{microseconds // 1000:03}Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    """What many of a page, and all of a moment, have in common."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def parse_stamp(text: str) -> float | None:
    """A DateTime as Unix seconds; None when it is none, lacks its zone, or could not be written again."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None or moment.year <= 1:
        return None
    at = moment.timestamp()
    return at if at < _END - 1 else None
