"""What the SIP processes of one server say to each other over the bus."""

from __future__ import annotations

import msgspec

from presence.address import Address


class Arrived(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Phones of these people have come, each over a connection of its own."""

    people: tuple[Address, ...]


class Stray(msgspec.Struct, frozen=True, array_like=True):
    """A subscription without a way to its phone."""

    key: str
    watcher: Address
    target: str
    "Where the phone said that it is."


class Strays(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Whoever has the phone of one of these may take it over."""

    subscriptions: tuple[Stray, ...]


class Overheard(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A NOTIFY that came to a process which did not ask for it."""

    request: bytes


Word = Arrived | Strays | Overheard
_decoder = msgspec.msgpack.Decoder(Word)
encode = msgspec.msgpack.Encoder().encode


def decode(payload: bytes) -> Word | None:
    """None for what another version says."""
    try:
        word: Word = _decoder.decode(payload)
    except msgspec.DecodeError:
        return None
    return word
