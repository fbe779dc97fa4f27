"""Date and time on the wire (XEP-0082)."""

from __future__ import annotations

from datetime import UTC, datetime

_END = 253_402_300_800
"The end of the year 9999 in Unix seconds: no time from here on can be written."


def stamp(at: float) -> str:
    """Unix seconds as a UTC DateTime with milliseconds."""
    return (
        datetime.fromtimestamp(min(at, _END - 1), UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


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
