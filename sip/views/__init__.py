"""What other servers' event state says of people here: one file per event package, with one registration.

A view is what one subscription of ours (`sip.subscriber`) knows of one person. It keeps the documents'
versions, and says which sources follow from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol, runtime_checkable

from presence.address import Address
from presence.discovery import load
from presence.model import Source
from sip.calls import Call


class View(Protocol):
    def take(self, body: bytes, now: float) -> bool:
        """Take in a document. False: something before it was lost, all of it must be asked for. Raises
        `ProtocolError`."""

    def sources(self, now: float) -> tuple[Source, ...]:
        """What it says of the person. Their ids are unique within the view."""


@runtime_checkable
class Telling(View, Protocol):
    """A view that hears of calls."""

    def told(self) -> tuple[Call, ...]:
        """What the last document said of them, if anything new."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How an event package is followed."""

    event: str
    media: str
    make: Callable[[Address], View]


_kinds: dict[str, Kind] = {}


def view(event: str, media: str) -> Callable[[Callable[[Address], View]], Callable[[Address], View]]:
    """Register what understands an event package of another server."""

    def add(make: Callable[[Address], View]) -> Callable[[Address], View]:
        _kinds[event] = Kind(event, media, make)
        return make

    return add


@cache
def views() -> dict[str, Kind]:
    """All of them, by event package."""
    load(__name__)
    return _kinds


class Versions:
    """The order of a subscription's documents (RFC 3680 §5.2, RFC 4235 §4.3)."""

    def __init__(self) -> None:
        self._last = -1

    def take(self, version: int, *, full: bool) -> bool | None:
        """True: it follows upon the last one, or needs none before it; False: something between them was
        lost; None: it is old, and to be ignored. A full one never is: there are servers that number all of
        them 0, and they come in order."""
        if not full and version < self._last:
            return None
        follows = full or version == self._last + 1
        self._last = version
        return follows
