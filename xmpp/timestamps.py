"""Date and time on the wire (XEP-0082)."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(at: float) -> str:
    """Unix seconds as a UTC DateTime with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_stamp(text: str) -> float | None:
    """A DateTime as Unix seconds; None when it is none or lacks its zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None and moment.year > 1 else None
