"""What happens in a room, as it is told to the processes of those who are there."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from presence.address import Address
from presence.messages import InstantMessage
from presence.model import Text
from presence.rooms.model import Affiliation, Occupant


class Departure(StrEnum):
    """Why somebody is not there any more."""

    LEFT = "left"
    KICKED = "kicked"
    BANNED = "banned"
    DISMISSED = "dismissed"
    "Their affiliation was taken from them, which they need to be here."
    NOT_MEMBER = "not-member"
    "The room is for members only from now on."
    LOST = "lost"
    "The process that had them is dead."


class Entered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="entered"):
    nick: str
    token: str
    "Of the attendance that is new."
    first: bool = True
    "False: the occupant was there already, with another endpoint or with this one."
    created: bool = False


class Moved(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="moved"):
    """A client of theirs is now with another process. Nobody sees anything of it."""

    nick: str
    before: str
    "Token of the attendance."
    after: str


class Left(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="left"):
    occupant: Occupant
    "As they were, with only those attendances that left."
    why: Departure = Departure.LEFT
    whole: bool = True
    "False: others of their attendances are still there."
    affiliation: Affiliation = Affiliation.NONE
    "After it."
    reason: str = ""
    by: str = ""
    "Nickname of who made them leave."
    hidden: bool = False
    "The others were never told that they are there."
    notes: tuple[Text, ...] = ()
    "Last words."
    opaque: dict[str, bytes] = {}


class Renamed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="renamed"):
    before: Occupant
    nick: str


class Updated(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="updated"):
    """Their presence, their role or their affiliation changed."""

    nick: str
    vanished: bool = False
    "The others were told that they are there, and are not to be told any more."
    reason: str = ""
    by: str = ""


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="said"):
    """For everybody. Sent by the room's address, with the nickname as its tuple; without one, by the room."""

    message: InstantMessage


class Whispered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="whispered"):
    """For one occupant."""

    nick: str
    message: InstantMessage


class Configured(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="configured"):
    changes: tuple[str, ...]
    "Names of `Configuration`'s fields."


class Affected(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="affected"):
    """The affiliation of somebody who is not there changed."""

    address: Address
    affiliation: Affiliation
    reason: str = ""


class VoiceAsked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="voice"):
    """For moderators."""

    nick: str


class Decorated(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="decorated"):
    """The room's card changed, and with it perhaps its picture."""


class Destroyed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="destroyed"):
    reason: str = ""
    alternate: Address | None = None
    password: str = ""


Event = (
    Entered
    | Moved
    | Left
    | Renamed
    | Updated
    | Said
    | Whispered
    | Configured
    | Affected
    | VoiceAsked
    | Decorated
    | Destroyed
)
