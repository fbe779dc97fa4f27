"""Presence: `<presence/>` ↔ `PresenceTuple` (RFC 6121 §4.7, RFC 8048 §5 and §6).

One resource is one tuple. Elements that are not RFC 6121's travel as an opaque payload, untouched.
"""

from __future__ import annotations

from dataclasses import dataclass

from presence.address import Address
from presence.model import PresenceDocument, PresenceTuple, Show, Text
from presence.subscriptions import Act
from xmpp.element import CLIENT_NS, LANG, Element
from xmpp.errors import StanzaError
from xmpp.jid import JID
from xmpp.serialiser import escape_attribute, escape_text, serialise_children
from xmpp.timestamps import parse_stamp, stamp

OPAQUE = "xmpp"
"Key of our payload in `PresenceTuple.opaque`; its presence marks a tuple as an XMPP resource."
IDLE_NS = "urn:xmpp:idle:1"
DELAY_NS = "urn:xmpp:delay"

MAX_PRESENCE = 16_384
"Bytes of one client's presence: each who sees it has a copy of it."
_SHOWS = {show.value: show for show in Show}
_CORE = frozenset({"show", "status", "priority"})

ACTIVITY_SHOWS = {
    **dict.fromkeys(("on-the-phone", "busy", "meeting", "presentation", "performance"), Show.DND),
    **dict.fromkeys(("away", "appointment", "meal", "breakfast", "lunch", "dinner"), Show.AWAY),
    **dict.fromkeys(("in-transit", "travel", "steering", "shopping", "tv", "worship"), Show.AWAY),
    **dict.fromkeys(("vacation", "holiday", "sleeping", "permanent-absence"), Show.XA),
}  # fmt: skip
"RPID activities (RFC 4480 §3.2) as the show of a device that says none itself."


def read_notes(stanza: Element, lang: str) -> tuple[Text, ...]:
    """`<status/>` elements (RFC 6121 §4.7.2.2); empty ones say nothing. `lang` is the stream's."""
    default = stanza.get(LANG, lang)
    return tuple(Text(s.text, s.get(LANG, default)) for s in stanza.findall("status") if s.text)


def read_extras(stanza: Element) -> bytes:
    """Children that are not RFC 6121's, as an opaque payload."""
    return serialise_children(
        [c for c in stanza.elements if not (c.ns == CLIENT_NS and (c.name in _CORE or c.name == "error"))]
    )


def read_presence(stanza: Element, resource: str, *, lang: str, now: float) -> PresenceTuple:
    """A client's presence without `type`, or of type `unavailable`, as the tuple of its resource.

    An empty `<show/>` counts as none: clients send it. Raises `StanzaError` for values §4.7.2 excludes.
    """
    gone = stanza.get("type") == "unavailable"
    show: Show | None = None
    priority = 0
    if not gone:  # §4.5.1: an unavailable presence has neither
        word = _only(stanza, "show")
        if word:
            show = _SHOWS.get(word)
            if show is None:
                raise StanzaError("bad-request", text="show is one of away, chat, dnd, xa")
        priority = _priority(_only(stanza, "priority"))
    idle = stanza.find("idle", IDLE_NS)
    return PresenceTuple(
        id=resource,
        open=not gone,
        show=show,
        notes=read_notes(stanza, lang),
        priority=None if gone else priority,
        since=now,
        idle_since=parse_stamp(idle.get("since")) if idle is not None else None,
        opaque={OPAQUE: read_extras(stanza)},
    )


def size_of(shown: PresenceTuple) -> int:
    """Bytes that a client says of itself, beyond what every presence has."""
    notes = sum(len(note.text) + len(note.lang) for note in shown.notes)
    return len(shown.opaque.get(OPAQUE, b"")) + notes


def _only(stanza: Element, name: str) -> str:
    found = stanza.findall(name)
    if len(found) > 1:
        raise StanzaError("bad-request", text=f"more than one {name}")
    return found[0].text.strip() if found else ""


def _priority(text: str) -> int:
    if not text:
        return 0
    digits = text[1:] if text[0] in "+-" else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 3 and -128 <= int(text) <= 127):
        raise StanzaError("bad-request", text="priority is a number from -128 to 127")
    return int(text)


@dataclass(frozen=True, slots=True)
class Addressable:
    """A stanza serialised but for the value of its `to`: one rendering serves every watcher."""

    head: bytes
    tail: bytes

    @property
    def size(self) -> int:
        """Bytes, without that value."""
        return len(self.head) + len(self.tail)

    def to(self, escaped: bytes) -> bytes:
        """The stanza for one watcher, whose JID is already escaped for an attribute (see `escape_jid`)."""
        return self.head + escaped + self.tail


def escape_jid(jid: str) -> bytes:
    return escape_attribute(jid).encode()


def write_presence(
    address: Address, tuple_: PresenceTuple, document: PresenceDocument | None = None
) -> Addressable:
    """One tuple as its resource's presence (RFC 8048 §6.3).

    `document` lends a phone's tuple that says nothing itself what is known of the person.
    """
    sender = f"{address}/{tuple_.id}" if tuple_.id else str(address)
    if not tuple_.open:
        return _write(sender, "unavailable", None, tuple_.notes, None, tuple_.opaque.get(OPAQUE, b""))
    show, notes, idle = tuple_.show, tuple_.notes, tuple_.idle_since
    if OPAQUE not in tuple_.opaque and document is not None and document.person is not None:
        person = document.person
        idle = idle if idle is not None else person.idle_since
        if show is None and not notes:
            show = activity_show(person.activities)
            notes = person.notes
            if not notes and "on-the-phone" in person.activities:
                notes = (Text("On the phone", "en"),)
        if show is None and idle is not None:
            show = Show.AWAY
    extras = tuple_.opaque.get(OPAQUE, b"")
    if not extras and idle:
        extras = f"<idle xmlns='{IDLE_NS}' since='{stamp(idle)}'/>".encode()
    return _write(sender, "", show, notes, tuple_.priority, extras)


def activity_show(activities: tuple[str, ...]) -> Show | None:
    """The most restrictive show that a person's activities ask for."""
    shows = {ACTIVITY_SHOWS[a] for a in activities if a in ACTIVITY_SHOWS}
    return next((show for show in (Show.DND, Show.XA, Show.AWAY) if show in shows), None)


def write_gone(
    address: Address, tuple_: PresenceTuple, document: PresenceDocument | None = None
) -> Addressable:
    """A tuple that is no more. With its presentity's last tuple goes its last word (RFC 6121 §4.5.2)."""
    notes: tuple[Text, ...] = ()
    if document is not None and not document.tuples and document.last_seen is not None:
        notes = document.last_seen.notes
    sender = f"{address}/{tuple_.id}" if tuple_.id else str(address)
    return _write(sender, "unavailable", None, notes, None, b"")


def write_absence(address: Address, document: PresenceDocument | None) -> Addressable:
    """The answer to a probe when nobody is there (RFC 6121 §4.3.2 rule 3)."""
    seen = document.last_seen if document is not None else None
    if seen is None:
        return _write(str(address), "unavailable", None, (), None, b"")
    delay = f"<delay xmlns='{DELAY_NS}' from='{escape_attribute(str(address))}' stamp='{stamp(seen.at)}'/>"
    return _write(str(address), "unavailable", None, seen.notes, None, delay.encode())


def write_subscription(
    sender: Address, type_: str, notes: tuple[Text, ...] = (), extras: bytes = b""
) -> Addressable:
    """`subscribe`, `subscribed`, `unsubscribe`, `unsubscribed` from a bare JID (RFC 6121 §3)."""
    return _write(str(sender), type_, None, notes, None, extras)


def _write(
    sender: str, type_: str, show: Show | None, notes: tuple[Text, ...], priority: int | None, extras: bytes
) -> Addressable:
    lang = notes[0].lang if notes else ""
    out = ["'"]
    if type_:
        out.append(f" type='{type_}'")
    if lang:
        out.append(f" xml:lang='{escape_attribute(lang)}'")
    out.append(">")
    if show is not None:
        out.append(f"<show>{show.value}</show>")
    seen: set[str] = set()
    for note in notes:
        if note.lang in seen:  # one per language, §4.7.2.2
            continue
        seen.add(note.lang)
        tag = "" if note.lang == lang else f" xml:lang='{escape_attribute(note.lang)}'"
        out.append(f"<status{tag}>{escape_text(note.text)}</status>")
    if priority:
        out.append(f"<priority>{priority}</priority>")
    head = f"<presence from='{escape_attribute(sender)}' to='".encode()
    return Addressable(head, "".join(out).encode() + extras + b"</presence>")


ACTS = {act.value: act for act in Act}
"Types of presence that change an authorisation (RFC 6121 §3)."


def directed(stanza: Element, sender: JID, to: JID) -> Element:
    """A directed presence as it goes to its addressee (RFC 6121 §4.6.3)."""
    attrs = {key: value for key, value in stanza.attrs.items() if key in ("id", "type", LANG)}
    return Element("presence", CLIENT_NS, {"from": sender.full, "to": to.full, **attrs}, stanza.children)
