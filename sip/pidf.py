"""PIDF documents: presence as SIP carries it (RFC 3863, RFC 4479, RFC 4480; RFC 8048 §6 for `show`).

Documents are always built anew from the model; nothing of a publisher's XML is passed on. What phones write
around the standard (prefixes, missing parts, a note in three places) is read as far as it has one meaning.

# GAP RFC 5262, RFC 5263: no partial documents
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal
from xml.etree.ElementTree import Element

from presence.model import Person, PresenceDocument, PresenceTuple, Show, Text
from sip.addressing import to_uri
from sip.errors import ProtocolError
from sip.published import Published
from sip.rich import (
    OF_PERSONS,
    OF_SERVICES,
    PREFIXES,
    read_capabilities,
    read_rich,
    read_timed,
    write_capabilities,
    write_rich,
    write_timed,
)
from sip.xml import entity_of, escape, parse_xml

CONTENT_TYPE = "application/pidf+xml"

_PIDF = "{urn:ietf:params:xml:ns:pidf}"
_MODEL = "{urn:ietf:params:xml:ns:pidf:data-model}"
_RPID = "{urn:ietf:params:xml:ns:pidf:rpid}"
_CLIENT = "{jabber:client}"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

_DRAFTS = b"urn:ietf:params:xml:ns:cpim-pidf"
"The namespace while PIDF was a draft."

_MAX_TUPLES = 16
_MAX_NOTES = 8
_MAX_NOTE = 1024
_MAX_ACTIVITIES = 16
_MAX_NAME = 64
_LAST_SECOND = 253_402_300_799
"The end of the year 9999: no time behind it can be written."

MOODS = frozenset([
    "afraid", "amazed", "angry", "annoyed", "anxious", "ashamed", "bored", "brave", "calm", "cold",
    "confused", "contented", "cranky", "curious", "depressed", "disappointed", "disgusted",
    "distracted", "embarrassed", "excited", "flirtatious", "frustrated", "grumpy", "guilty", "happy",
    "hot", "humbled", "humiliated", "hungry", "hurt", "impressed", "in_awe", "in_love", "indignant",
    "interested", "invincible", "jealous", "lonely", "mean", "moody", "nervous", "neutral", "offended",
    "other", "playful", "proud", "relieved", "remorseful", "restless", "sad", "sarcastic", "serious",
    "shocked", "shy", "sick", "sleepy", "stressed", "surprised", "thirsty", "unknown", "worried",
])  # fmt: skip
"RFC 4480 §3.5."
ACTIVITIES = frozenset(
    [
        "appointment",
        "away",
        "breakfast",
        "busy",
        "dinner",
        "holiday",
        "in-transit",
        "looking-for-work",
        "lunch",
        "meal",
        "meeting",
        "on-the-phone",
        "performance",
        "permanent-absence",
        "playing",
        "presentation",
        "shopping",
        "sleeping",
        "spectator",
        "steering",
        "travel",
        "tv",
        "unknown",
        "vacation",
        "working",
        "worship",
    ]
)
"RFC 4480 §3.2, `other` apart."
_SHOW_BY_ACTIVITY: dict[str, Show] = {
    **dict.fromkeys(("on-the-phone", "busy", "meeting", "presentation", "performance"), Show.DND),
    **dict.fromkeys(("vacation", "holiday", "sleeping", "permanent-absence"), Show.XA),
    **dict.fromkeys(
        [
            "away",
            "appointment",
            "meal",
            "breakfast",
            "lunch",
            "dinner",
            "in-transit",
            "travel",
            "shopping",
            "spectator",
            "steering",
            "tv",
            "playing",
            "worship",
        ],
        Show.AWAY,
    ),
}
_SHOWS = {show.value: show for show in Show}
_ACTIVITY_BY_SHOW = {Show.AWAY: "away", Show.XA: "away", Show.DND: "busy"}


# --- reading --------------------------------------------------------------------------------------


def parse_pidf(
    body: bytes, now: float, *, lang: str = "", on_the_phone: Literal["dnd", "away"] = "dnd"
) -> Published:
    """A published document. `lang` is the Content-Language. Raises `ProtocolError` 400."""
    if _DRAFTS in body:
        body = body.replace(_DRAFTS, b"urn:ietf:params:xml:ns:pidf")
    root = parse_xml(body)
    if root.tag != f"{_PIDF}presence":
        raise ProtocolError(400, "Bad PIDF: no presence element")
    root_lang = root.get(_LANG, lang)
    person = _person(root, now, root_lang) or _early_person(root)
    common = _notes(root, _PIDF, root_lang)
    elements = root.findall(f"{_PIDF}tuple")
    if len(elements) > _MAX_TUPLES:
        raise ProtocolError(400, "Bad PIDF: too many tuples")
    fallback = common or (person.notes if person else ())
    tuples = tuple(
        _tuple(element, person, fallback, now, root_lang, Show(on_the_phone)) for element in elements
    )
    return Published(entity_of(root.get("entity", "")), tuples, person)


def _tuple(
    element: Element,
    person: Person | None,
    fallback: tuple[Text, ...],
    now: float,
    lang: str,
    on_the_phone: Show,
) -> PresenceTuple:
    status = element.find(f"{_PIDF}status")
    basic = _text(status, f"{_PIDF}basic").lower()
    # A tuple that says nothing of its state is there, at least (RFC 3863 §4.1.4 makes basic optional).
    is_open = basic != "closed"
    activities = _activities(element) or (person.activities if person else ())
    idle = _idle(element, now)
    if idle is None and person is not None:
        idle = person.idle_since
    notes = _notes(element, _PIDF, element.get(_LANG, lang)) or fallback
    if is_open and not notes and "on-the-phone" in activities:
        notes = (Text("On the phone", "en"),)
    contact = element.find(f"{_PIDF}contact")
    return PresenceTuple(
        id=_name(element.get("id", "")),
        open=is_open,
        show=_show(status, activities, idle, on_the_phone) if is_open else None,
        notes=notes,
        priority=None if contact is None else from_q(contact.get("priority")),
        since=_time(_text(element, f"{_PIDF}timestamp"), now) or now,
        idle_since=idle,
        capabilities=read_capabilities(element),
        rich=read_rich(element, OF_SERVICES),
        timed=read_timed(element, lambda text: _time(text, _LAST_SECOND), element.get(_LANG, lang)),
    )


def _show(
    status: Element | None, activities: tuple[str, ...], idle: float | None, on_the_phone: Show
) -> Show | None:
    """jabber:client's show, then the activities, then idleness; never the text of a note."""
    said = _text(status, f"{_CLIENT}show")
    if said in _SHOWS:
        return _SHOWS[said]
    if "on-the-phone" in activities:
        return on_the_phone
    shows = [_SHOW_BY_ACTIVITY[a] for a in activities if a in _SHOW_BY_ACTIVITY]
    for show in (Show.DND, Show.XA, Show.AWAY):
        if show in shows:
            return show
    return Show.AWAY if idle is not None else None


def _person(root: Element, now: float, lang: str) -> Person | None:
    element = root.find(f"{_MODEL}person")
    if element is None:
        return None
    mood = element.find(f"{_RPID}mood")
    person = Person(
        activities=_activities(element),
        mood=tuple(_names(mood))[:_MAX_ACTIVITIES] if mood is not None else (),
        notes=_notes(element, _MODEL, element.get(_LANG, lang)),
        idle_since=_idle(element, now),
        rich=read_rich(element, OF_PERSONS),
    )
    return person if person != Person() else None


def _early_person(root: Element) -> Person | None:
    """Before there was an element for the person (RFC 4479), their activities and mood stood in tuples."""
    for element in root.findall(f"{_PIDF}tuple"):
        mood = element.find(f"{_RPID}mood")
        person = Person(
            activities=_activities(element),
            mood=tuple(_names(mood))[:_MAX_ACTIVITIES] if mood is not None else (),
        )
        if person != Person():
            return person
    return None


def _activities(element: Element) -> tuple[str, ...]:
    found = element.find(f"{_RPID}activities")
    if found is None:
        return ()
    return tuple(name for name in _names(found) if name in ACTIVITIES)[:_MAX_ACTIVITIES]


def _names(element: Element) -> Iterator[str]:
    for child in element:
        if child.tag.startswith(_RPID):
            yield child.tag[len(_RPID) :][:_MAX_NAME]


def _idle(element: Element, now: float) -> float | None:
    """Time of the last input while idle (RFC 4480 §3.13), never in the future, 0 where it is not told; what
    says `active` is not idle."""
    found = element.find(f"{_RPID}user-input")
    if found is None or (found.text or "").strip() != "idle":
        return None
    return _time(found.get("last-input") or found.get("since") or "", now) or 0.0


def _notes(element: Element, namespace: str, lang: str) -> tuple[Text, ...]:
    notes = []
    for note in element.findall(f"{namespace}note")[:_MAX_NOTES]:
        text = (note.text or "").strip()
        if text:
            notes.append(Text(text[:_MAX_NOTE], note.get(_LANG, lang)[:_MAX_NAME]))
    return tuple(dict.fromkeys(notes))


def _text(element: Element | None, tag: str) -> str:
    found = element.findtext(tag) if element is not None else None
    return (found or "").strip()


def _name(text: str) -> str:
    """A tuple id as a resource: without the prefix RFC 8048 recommends, printable, bounded."""
    name = "".join(c for c in text.removeprefix("ID-") if c.isprintable())[:_MAX_NAME].strip()
    return name or "phone"


def _time(text: str, latest: float) -> float | None:
    """Unix seconds of an RFC 3339 time, not after `latest`."""
    if not text or len(text) > 40:
        return None
    try:
        when = datetime.datetime.fromisoformat(text.replace("z", "Z"))
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return min(max(when.timestamp(), 0.0), latest)


def from_q(text: str | None) -> int | None:
    """A preference of 0.0 to 1.0 as RFC 6121's priority; None when it is absent or no such number."""
    if text is None:
        return None
    try:
        q = float(text)
    except ValueError:
        return None
    return round(q * 127) if 0.0 <= q <= 1.0 else None


# --- writing --------------------------------------------------------------------------------------

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="urn:ietf:params:xml:ns:pidf"'
_PREFIXES = (("<dm:", ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'), *PREFIXES)
"Declared only where they are used: a packet is small."


def render_pidf(document: PresenceDocument) -> bytes:
    """What a watcher is notified of. Somebody who is nowhere is one closed tuple, for phones ignore an empty
    document."""
    uri = escape(to_uri(document.address))
    tuples = document.tuples or (_nowhere(document),)
    inner = "".join([_tuple_xml(each, uri) for each in tuples]) + _person_xml(document, tuples)
    declared = "".join([name for tag, name in _PREFIXES if tag in inner])
    return f'{_HEAD}{declared} entity="{uri}">{inner}</presence>\n'.encode("utf-8", "replace")


def language_of(document: PresenceDocument) -> str:
    """The Content-Language: that of all notes, if they agree (RFC 8048 §6.2)."""
    languages = {note.lang for each in document.tuples for note in each.notes}
    return languages.pop() if len(languages) == 1 else ""


def _nowhere(document: PresenceDocument) -> PresenceTuple:
    last = document.last_seen
    return PresenceTuple(
        id="offline", open=False, notes=last.notes if last else (), since=last.at if last else 0.0
    )


def _tuple_xml(each: PresenceTuple, uri: str) -> str:
    show = f'<show xmlns="jabber:client">{each.show.value}</show>' if each.open and each.show else ""
    basic = "open" if each.open else "closed"
    parts = [f'<tuple id="{tuple_id(each.id)}"><status><basic>{basic}</basic>{show}</status>']
    if each.open:
        if each.idle_since is not None:
            parts.append(_idle_xml(each.idle_since))
        parts += [write_rich(each.rich), write_capabilities(each.capabilities), write_timed(each, _stamp)]
        q = to_q(each.priority)
        parts.append(f'<contact priority="{q}">{uri}</contact>' if q else f"<contact>{uri}</contact>")
    parts += [_note_xml("note", note) for note in each.notes]
    if each.since > 0:
        parts.append(f"<timestamp>{_stamp(each.since)}</timestamp>")
    parts.append("</tuple>")
    return "".join(parts)


def _idle_xml(since: float) -> str:
    last = f' last-input="{_stamp(since)}"' if since else ""
    return f"<rpid:user-input{last}>idle</rpid:user-input>"


def _person_xml(document: PresenceDocument, tuples: tuple[PresenceTuple, ...]) -> str:
    if document.person_hidden:
        return ""
    person = document.person or Person()
    best = tuples[0]
    activities = [name for name in person.activities if name in ACTIVITIES]
    if not activities and best.open and best.show in _ACTIVITY_BY_SHOW:
        activities = [_ACTIVITY_BY_SHOW[best.show]]
    parts = []
    if activities:
        parts.append("<rpid:activities>" + "".join(f"<rpid:{n}/>" for n in activities) + "</rpid:activities>")
    moods = [name for name in person.mood if name in MOODS]
    if moods:
        parts.append("<rpid:mood>" + "".join(f"<rpid:{n}/>" for n in moods) + "</rpid:mood>")
    parts.append(write_rich(person.rich))
    if person.idle_since is not None:
        parts.append(_idle_xml(person.idle_since))
    # where nothing is known of the person, the best service's words are hers
    notes = person.notes or (best.notes if best.open and document.person is None else ())
    parts += [_note_xml("dm:note", note) for note in notes]
    inner = "".join(parts)
    return f'<dm:person id="person">{inner}</dm:person>' if inner else ""


def _note_xml(tag: str, note: Text) -> str:
    lang = f' xml:lang="{escape(note.lang)}"' if note.lang else ""
    return f"<{tag}{lang}>{escape(note.text)}</{tag}>"


def named_by(tuple_id: str) -> str:
    """Whose id that is."""
    return _ESCAPED.sub(lambda found: chr(min(int(found[1], 16), 0x10FFFF)), tuple_id.removeprefix("ID-"))


@lru_cache(maxsize=8192)
def tuple_id(name: str) -> str:
    """An xs:ID for a resource or device (RFC 8048 §6.2), different for different names."""
    return "ID-" + "".join(
        c if c in _ID_SAFE and not name.startswith("_x", i) else f"_x{ord(c):X}_" for i, c in enumerate(name)
    )


_ESCAPED = re.compile(r"_x([0-9A-F]{1,6})_")
_ID_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")


def to_q(priority: int | None) -> str:
    """RFC 8048 §6.2: 0 to 127 as 0 to 1 with three digits; empty for none, and for negative ones, which have
    none."""
    if priority is None or priority < 0:
        return ""
    return f"{min(priority, 127) * 1000 // 127 / 1000:g}"


def _stamp(at: float) -> str:
    return _stamp_of(min(int(at), _LAST_SECOND))


@lru_cache(maxsize=1024)
def _stamp_of(second: int) -> str:
    return datetime.datetime.fromtimestamp(second, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
