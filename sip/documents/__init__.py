"""What a NOTIFY of somebody's presence may carry: one file per format, with one registration.

Which one a watcher gets follows from its Accept and from what is known of the phone (`choose`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from presence.discovery import load
from presence.model import PresenceDocument
from sip.headers import MediaType


@dataclass(frozen=True, slots=True)
class Body:
    """What a notification carries."""

    content_type: str
    data: bytes
    headers: tuple[tuple[str, str], ...] = ()
    "Further fields that belong to the body, e.g. Content-Language."
    number_at: int | None = None
    "Where in the data the document's number within its subscription goes; None: it has none."

    def numbered(self, number: int) -> bytes:
        if self.number_at is None:
            return self.data
        return b"%b%d%b" % (self.data[: self.number_at], number, self.data[self.number_at :])

    def tag(self) -> str:
        """The entity-tag of what it says, whatever its number (RFC 5839 §4): the same in all processes."""
        digest = hashlib.blake2b(self.data, digest_size=8)
        digest.update("\0".join((self.content_type, *(v for pair in self.headers for v in pair))).encode())
        return digest.hexdigest()


Render = Callable[[PresenceDocument], Body]
"Writes what a fully authorised watcher is notified of."

_formats: dict[tuple[str, str], Render] = {}


def document(package: str, media: str) -> Callable[[Render], Render]:
    """Register what writes a media type for an event package."""

    def add(render: Render) -> Render:
        _formats[package, media] = render
        return render

    return add


@cache
def _loaded() -> dict[tuple[str, str], Render]:
    load(__name__)
    return _formats


def media_of(package: str) -> tuple[str, ...]:
    """What can be written for an event package."""
    return tuple(sorted(media for name, media in _loaded() if name == package))


def render_of(package: str, media: str) -> Render:
    return _loaded()[package, media]


def choose(
    accept: Sequence[MediaType] | None, default: str, others: Sequence[str], preferred: Sequence[str] = ()
) -> str | None:
    """The media type for a watcher whose Accept is this; None when it takes none of ours. `default` wins
    wherever it is taken, but for what is `preferred` and named: what that phone shows best."""
    if accept is None:
        return default
    named = {each.value.lower() for each in accept}
    for media in (*(each for each in preferred if each in others and each in named), default):
        if any(each.includes(media) for each in accept):
            return media
    for each in sorted(accept, key=lambda each: -each.q):
        for media in others:
            if each.includes(media):
                return media
    return None
