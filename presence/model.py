"""The domain model of presence (RFC 4479, RFC 3863, RFC 4480), free of both protocols.

A *presentity* is seen through the *sources* that contribute to it: an XMPP resource, a SIP
registration, a PUBLISHed document. Sources cross the bus; documents are composed from them by
`presence.composition.compose` wherever they are needed.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from presence.address import Address


class Show(StrEnum):
    """Availability beyond open/closed (RFC 6121 §4.7.2.1). Absent means plainly available."""

    CHAT = "chat"
    AWAY = "away"
    XA = "xa"
    DND = "dnd"


class Text(msgspec.Struct, frozen=True, array_like=True):
    """Human-readable text with its language tag."""

    text: str
    lang: str = ""
    "BCP 47 tag, or empty when the sender gave none."


class Timed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was or will be, at another time than now (RFC 4481)."""

    begin: float
    "Unix seconds."
    until: float | None = None
    "None: nobody knows."
    open: bool | None = None
    notes: tuple[Text, ...] = ()


class PresenceTuple(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One service of a presentity (RFC 3863 §4.1.2); one resource in XMPP's words."""

    id: str
    "Unique in the document. An XMPP resource as it is; a SIP device's short stable name."
    open: bool = True
    "PIDF basic status."
    show: Show | None = None
    notes: tuple[Text, ...] = ()
    priority: int | None = None
    "RFC 6121 §4.7.2.3, -128..127. `sip/` maps it to 0.0..1.0 by RFC 8048; negative is never mapped."
    contact: str = ""
    "URI of the service, empty when not to be shown."
    since: float = 0.0
    "When this state began, Unix seconds; PIDF timestamp, XEP-0203 stamp."
    idle_since: float | None = None
    "Last user input, Unix seconds (RFC 4480 user-input, XEP-0319); 0: idle, and nobody says since when."
    capabilities: tuple[str, ...] | None = None
    """What it can do, e.g. `audio`, `video`, `message`, `text` (RFC 5196, RFC 3840); None: not known."""
    rich: tuple[tuple[str, str], ...] = ()
    "What else RPID says of a service, element → value: `service-class` → `electronic` (RFC 4480)."
    timed: tuple[Timed, ...] = ()
    opaque: dict[str, bytes] = {}
    "Payload only the named package reads, e.g. `xmpp`: serialised extension elements."


class Person(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The human, as the data model has it (RFC 4479 §3.1, RFC 4480)."""

    activities: tuple[str, ...] = ()
    "RPID activity names, e.g. `on-the-phone`."
    mood: tuple[str, ...] = ()
    notes: tuple[Text, ...] = ()
    idle_since: float | None = None
    "As of a tuple."
    ringing: bool = False
    "A call of theirs rings. Lamps show it; RPID has no word for it."
    rich: tuple[tuple[str, str], ...] = ()
    "What else RPID says of a person, element → value: `place-type` → `office` (RFC 4480)."


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One contributor to a presentity."""

    id: str
    "`xmpp:RESOURCE`, `sip-reg:BINDING`, `sip-pub:PUBLICATION`."
    tuples: tuple[PresenceTuple, ...] = ()
    person: Person | None = None
    since: float = 0.0
    "When the source last changed, Unix seconds; the newest wins where two disagree."
    tied_to: str = ""
    "Id of the source this one speaks for: a phone's publication speaks for its registration."


class LastSeen(msgspec.Struct, frozen=True):
    """How a presentity left (XEP-0012, the status of the last unavailable presence)."""

    at: float
    notes: tuple[Text, ...] = ()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All live sources of one presentity at one version. This is what travels on the bus."""

    address: Address
    version: int
    "Only grows; a node drops what is not newer."
    sources: tuple[Source, ...] = ()
    last_seen: LastSeen | None = None
    "Set once the presentity has ever gone offline."


class PresenceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a watcher may see of a presentity: as composed, one from whom nothing is kept."""

    address: Address
    version: int
    tuples: tuple[PresenceTuple, ...] = ()
    person: Person | None = None
    last_seen: LastSeen | None = None
    person_hidden: bool = False
    "Nothing may be said of the person, not even what the services would tell (`presence.privacy`)."

    @property
    def online(self) -> bool:
        """True while any tuple is open."""
        return any(t.open for t in self.tuples)
