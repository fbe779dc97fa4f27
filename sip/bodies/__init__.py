"""What a MESSAGE may carry: one file per format, with one registration; Accept follows from it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from presence.messages import ChatState, Report
from sip.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class Content:
    """A body as it came."""

    media: str
    "Type and subtype, in lower case."
    charset: str
    data: bytes
    wrapped: bool = False
    "It came inside another body."


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a body says."""

    text: str = ""
    chat_state: ChatState | None = None
    report: Report | None = None
    about: str = ""
    "Which message it reports on."
    id: str = ""
    "How the sender names the message, for reports on it."
    wants: tuple[Report, ...] = ()
    sent: str = ""
    "Date and time the sender wrote into it."


Format = Callable[[Content], Heard]
"Understands one format. Raises `ProtocolError` 400, 415."

_formats: dict[str, Format] = {}


def body(*media: str) -> Callable[[Format], Format]:
    """Register what understands some media types."""

    def add(understands: Format) -> Format:
        _formats.update(dict.fromkeys(media, understands))
        return understands

    return add


@cache
def formats() -> dict[str, Format]:
    """All of them, by media type."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _formats


def accept() -> str:
    """For Accept: plain text first."""
    return ", ".join(sorted(formats(), key=lambda media: (media != "text/plain", media)))


def understand(content: Content) -> Heard:
    """Raises `ProtocolError`: 415 for what nobody here reads."""
    format_ = formats().get(content.media)
    if format_ is None:
        raise ProtocolError(415, headers=(("Accept", accept()),))
    return format_(content)
