"""Event packages (RFC 6665 §7): one file each, with one registration; Allow-Events and Accept follow from
it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from presence.address import Address
from presence.discovery import load
from presence.model import PresenceDocument
from presence.ports import AuthorisationChanged
from presence.service import PresenceService
from sip.documents import Body
from sip.errors import ProtocolError
from sip.published import Published
from sip.settings import SipSettings

if TYPE_CHECKING:
    from sip.xcap.library import Library

DocumentOf = Callable[[Address], PresenceDocument | None]
"What is known of somebody whose presence a feed hears of; None before the first snapshot."


class Feed(Protocol):
    """What one subscription is notified of, where that is more than one person's presence: it keeps what the
    watcher knows already, and says the rest."""

    async def load(self) -> tuple[Address, ...]:
        """Read all of it anew. Returns whose presence and decisions it must hear of."""

    def restart(self) -> None:
        """What was sent last may be lost: begin again with the full state."""

    def presence(self, address: Address) -> bool | None:
        """Somebody's presence changed. True: there is something to say; None: it must be loaded again."""

    def authorisation(self, envelope: AuthorisationChanged) -> bool | None:
        """Somebody decided. True: there is something to say; None: it must be loaded again."""

    def body(self, version: int, room: int | None) -> Body:
        """What is to be said next, in at most `room` bytes if it can be; what does not fit stays due."""

    def kept(self, owner: Address) -> bool | None:
        """What somebody's phones keep here changed. True: there is something to say; None: it must be loaded
        again."""

    @property
    def more(self) -> bool:
        """Something is left to say."""

    @property
    def tag(self) -> str:
        """Entity-tag of its full state (RFC 5839 §6.4)."""


class Attendance(NamedTuple):
    """A phone's subscription to somebody's presence."""

    id: str
    watcher: Address
    active: bool
    since: float
    expires: float
    reason: str
    "Why it ended; empty while it goes on."


@runtime_checkable
class Attending(Feed, Protocol):
    """A feed that wants to know which phones watch its owner."""

    def attend(self, live: tuple[Attendance, ...], over: Attendance | None = None) -> bool:
        """All of them now, and the one that just ended. True: there is something to say."""


class Package(Protocol):
    """One event package: over the presence of a person, or with a feed of its own."""

    name: str
    "As in Event."
    notified: str
    """Media type of its notifications. Where they show presence, `sip.documents` may have others, too; a
    watcher whose Accept excludes all of them gets 406."""
    published: tuple[str, ...]
    "Media types PUBLISH may bring; none: it cannot be published."
    brief: bool
    "What is published of it is soon untrue: it is believed for `max_call_expires` at most."
    lists: bool
    "A list of it can be subscribed to (RFC 4662)."
    reads: str
    "Media type of what a SUBSCRIBE may bring to say what it is about; empty: nothing is read."

    def parse(self, body: bytes, now: float, lang: str, on_the_phone: Literal["dnd", "away"]) -> Published:
        """A published body. Raises `ProtocolError`."""

    def feed(
        self, service: PresenceService, watcher: Address, presentity: Address, document_of: DocumentOf
    ) -> Feed | None:
        """None: the presence of the presentity is all there is."""

    def allowed(self, watcher: Address, presentity: Address, settings: SipSettings) -> bool:
        """Of a package with feeds: whether this watcher is served at all. The roster is not asked."""

    def follow(self, library: Library, owner: Address, asked: bytes) -> Feed | None:
        """Of the owner's own documents (`sip.xcap`); `asked` came with the SUBSCRIBE. None: it has nothing to
        do with them. Raises `ProtocolError`."""


class PackageDefaults:
    """Of a package that is only subscribed to."""

    published: tuple[str, ...] = ()
    brief = False
    lists = False
    reads = ""

    def parse(self, body: bytes, now: float, lang: str, on_the_phone: Literal["dnd", "away"]) -> Published:
        raise ProtocolError(489)

    def feed(
        self, service: PresenceService, watcher: Address, presentity: Address, document_of: DocumentOf
    ) -> Feed | None:
        return None

    def allowed(self, watcher: Address, presentity: Address, settings: SipSettings) -> bool:
        return watcher == presentity

    def follow(self, library: Library, owner: Address, asked: bytes) -> Feed | None:
        return None


_packages: dict[str, Package] = {}


def register(package: Package) -> None:
    """Called once by each module here."""
    _packages[package.name] = package


@cache
def packages() -> dict[str, Package]:
    """All of them, by name."""
    load(__name__)
    return _packages


def allow_events() -> str:
    return ", ".join(sorted(packages()))
