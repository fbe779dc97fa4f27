"""What a room consists of (XEP-0045 §4, §5; RFC 7702 §2).

A *room* has an address like a person. An *occupant* is somebody in it under a nickname, with one or more
*attendances*: the endpoints they are there with. Somebody *affiliated* stands to the room in a way that
outlasts their being there.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from presence.address import Address
from presence.messages import InstantMessage
from presence.model import PresenceTuple


class Affiliation(StrEnum):
    """How somebody stands to a room for good (XEP-0045 §5.2)."""

    OUTCAST = "outcast"
    NONE = "none"
    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        """Higher has all privileges of lower."""
        return _AFFILIATIONS.index(self)


class Role(StrEnum):
    """What somebody may do while they are there (XEP-0045 §5.1)."""

    NONE = "none"
    VISITOR = "visitor"
    PARTICIPANT = "participant"
    MODERATOR = "moderator"

    @property
    def rank(self) -> int:
        """Higher has all privileges of lower."""
        return _ROLES.index(self)


_AFFILIATIONS = list(Affiliation)
_ROLES = list(Role)


class Whispering(StrEnum):
    """Who may send private messages to other occupants. Moderators may be written to by anybody."""

    ANYONE = "anyone"
    PARTICIPANTS = "participants"
    MODERATORS = "moderators"
    NONE = "none"


PRESENT = (Role.MODERATOR, Role.PARTICIPANT, Role.VISITOR)
"All roles of those who are there."


class Configuration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What owners choose."""

    name: str = ""
    description: str = ""
    language: str = ""
    persistent: bool = False
    "It stays when nobody is there."
    public: bool = True
    "It is listed."
    members_only: bool = False
    moderated: bool = False
    "Whoever has no affiliation enters without voice."
    password: str = ""
    anonymous: bool = True
    "Only moderators see whose nickname it is."
    max_occupants: int = 200
    history: int = 20
    "Messages shown to whoever enters, at most."
    subject_by_participants: bool = False
    invitations_by_anyone: bool = False
    "Into a room for members only, whose members the invited become."
    whispering: Whispering = Whispering.ANYONE
    archived: bool = True
    broadcast: tuple[Role, ...] = PRESENT
    "Of whom the others are told that they are there."
    member_list: tuple[Role, ...] = PRESENT
    "Who may see the member list, where members may at all."


class Affiliated(msgspec.Struct, frozen=True, omit_defaults=True):
    address: Address
    affiliation: Affiliation = Affiliation.NONE
    nick: str = ""
    "Reserved for them."
    reason: str = ""
    "Given with the affiliation."

    @property
    def kept(self) -> bool:
        """False: there is nothing to remember."""
        return self.affiliation is not Affiliation.NONE or bool(self.nick)


class Attendance(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint in a room."""

    address: Address
    endpoint: str
    "`xmpp:RESOURCE`, `sip:DIALOG`."
    token: str
    "Names it, and no other that ever has this endpoint's name."
    node: str
    owner: str
    "`NODE/INCARNATION` of the process that dies with it."
    presence: PresenceTuple


class Occupant(msgspec.Struct, frozen=True, kw_only=True):
    nick: str
    address: Address
    role: Role
    attendances: tuple[Attendance, ...]
    "The one whose presence changed last is the last."

    @property
    def presence(self) -> PresenceTuple:
        """What is shown of them."""
        return self.attendances[-1].presence

    def without(self, tokens: Iterable[str]) -> tuple[Attendance, ...]:
        gone = set(tokens)
        return tuple(each for each in self.attendances if each.token not in gone)


class Author(msgspec.Struct, frozen=True):
    """Who really wrote a room's message; kept with it under the name `rooms`."""

    address: Address
    occupant: str
    "What `occupant_id` gives."


AUTHOR = "rooms"
"Key of an encoded `Author` in `InstantMessage.opaque`."
encode_author = msgspec.msgpack.Encoder().encode
_decode_author = msgspec.msgpack.Decoder(Author).decode


def author_of(message: InstantMessage) -> Author | None:
    """None for what the room itself says."""
    found = message.opaque.get(AUTHOR)
    return _decode_author(found) if found else None


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A room without its people."""

    configuration: Configuration
    creator: Address
    created: float
    "Unix seconds. Nothing older belongs to it, whatever had its name before."
    secret: bytes
    "What occupant ids are made with."
    locked: bool = False
    "Its creator has not configured it yet: nobody else may enter."
    subject: InstantMessage | None = None
    card: bool = False
    "It has a business card, which is kept elsewhere."
    picture: str = ""
    "SHA-1 of the picture on it, in hexadecimal."


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What changes in a room, whole values."""

    head: Head | None = None
    occupants: tuple[Occupant, ...] = ()
    left: tuple[str, ...] = ()
    "Nicks nobody has any more."
    affiliated: tuple[Affiliated, ...] = ()
    "Of these, what is not `kept` is dropped."
    gone: bool = False
    "The room is no more."

    @property
    def changes(self) -> bool:
        return bool(self.head or self.occupants or self.left or self.affiliated or self.gone)

    @property
    def lasting(self) -> bool:
        """It changes what outlives a room's occupants."""
        return bool(self.head or self.affiliated or self.gone)


class Room:
    """A room at one version. Mutable by `apply` alone; its parts are values."""

    __slots__ = ("_by_token", "_nodes", "address", "affiliated", "gone", "head", "occupants", "version")

    def __init__(
        self,
        address: Address,
        version: int,
        head: Head,
        occupants: Iterable[Occupant] = (),
        affiliated: Iterable[Affiliated] = (),
    ) -> None:
        self.address = address
        self.version = version
        self.head = head
        self.gone = False
        self.occupants: dict[str, Occupant] = {}
        self.affiliated = {each.address: each for each in affiliated}
        self._by_token: dict[str, str] = {}
        self._nodes: Counter[str] = Counter()
        for occupant in occupants:
            self._put(occupant)

    def copy(self) -> Room:
        return Room(self.address, self.version, self.head, self.occupants.values(), self.affiliated.values())

    def apply(self, version: int, delta: Delta) -> None:
        self.version = version
        if delta.head is not None:
            self.head = delta.head
        for nick in delta.left:
            self._drop(nick)
        for occupant in delta.occupants:
            self._drop(occupant.nick)
            self._put(occupant)
        for each in delta.affiliated:
            if each.kept:
                self.affiliated[each.address] = each
            else:
                self.affiliated.pop(each.address, None)
        self.gone = self.gone or delta.gone

    def _put(self, occupant: Occupant) -> None:
        self.occupants[occupant.nick] = occupant
        for each in occupant.attendances:
            self._by_token[each.token] = occupant.nick
            self._nodes[each.node] += 1

    def _drop(self, nick: str) -> None:
        occupant = self.occupants.pop(nick, None)
        if occupant is None:
            return
        for each in occupant.attendances:
            if self._by_token.get(each.token) == nick:
                del self._by_token[each.token]
            self._nodes[each.node] -= 1
            if not self._nodes[each.node]:
                del self._nodes[each.node]

    @property
    def configuration(self) -> Configuration:
        return self.head.configuration

    @property
    def nodes(self) -> frozenset[str]:
        """Processes that have somebody here."""
        return frozenset(self._nodes)

    def has_node(self, node: str) -> bool:
        return node in self._nodes

    def by_token(self, token: str) -> Occupant | None:
        """Who is here with that attendance."""
        nick = self._by_token.get(token)
        return self.occupants[nick] if nick is not None else None

    def here(self, address: Address) -> list[Occupant]:
        """All nicknames of one person."""
        return [each for each in self.occupants.values() if each.address == address]

    def affiliation(self, address: Address) -> Affiliation:
        found = self.affiliated.get(address)
        return found.affiliation if found is not None else Affiliation.NONE

    def reserved(self, nick: str) -> Address | None:
        """Whose nickname it is for good."""
        return next((each.address for each in self.affiliated.values() if each.nick == nick), None)

    def with_affiliation(self, affiliation: Affiliation) -> list[Affiliated]:
        found = [each for each in self.affiliated.values() if each.affiliation is affiliation]
        return sorted(found, key=lambda each: each.address)


def occupant_id(head: Head, address: Address) -> str:
    """The same whenever this person is here, and telling nobody who it is (XEP-0421 §3.1)."""
    return hmac.new(head.secret, str(address).encode(), "sha256").hexdigest()


def place_mark(head: Head, token: str) -> str:
    """Names an attendance towards another occupant, who learns nothing by it, not even in another room."""
    return hmac.new(head.secret, f"place {token}".encode(), "sha256").hexdigest()[:20]


def seen_by(role: Role, configuration: Configuration) -> bool:
    """Whether somebody of that role sees who occupants are."""
    return not configuration.anonymous or role is Role.MODERATOR
