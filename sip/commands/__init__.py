"""What a phone that can only send messages may ask the server for: a word, sent to the assistant's address.
One file each, with one registration; `help` lists them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache

from presence.address import Address
from presence.discovery import load
from presence.service import PresenceService

INDENT = "  "
"Before what goes on with a line of an answer."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question of somebody whom their phone has proven."""

    owner: Address
    words: Sequence[str]
    "What follows the command's name."
    service: PresenceService


Handler = Callable[[Asked], Awaitable[Sequence[str]]]
"The lines of the answer. Raises `Unavailable`."


@dataclass(frozen=True, slots=True)
class Command:
    usage: str
    "How it is written and what it does, in one line."
    handler: Handler


_commands: dict[str, Command] = {}


def command(name: str, usage: str) -> Callable[[Handler], Handler]:
    """Register what answers a word, in lower case."""

    def add(handler: Handler) -> Handler:
        _commands[name] = Command(usage, handler)
        return handler

    return add


@cache
def commands() -> dict[str, Command]:
    """All of them, by name."""
    load(__name__)
    return _commands
