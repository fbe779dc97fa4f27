"""What PIDF's extensions say beside activities and idleness: the rest of RPID (RFC 4480), capabilities of
services (RFC 5196) and of contacts (RFC 3840), and times other than now (RFC 4481).

Read and written, not interpreted: a place, a sphere or a class means something to people and their rules.

# GAP RFC 4480 §3: from and until of elements, notes within them and `other` are left out
# GAP RFC 5196 §3: of capabilities those that are there or not are carried, not lists such as languages
"""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree.ElementTree import Element

from presence.model import PresenceTuple, Text, Timed
from sip import grammar
from sip.xml import escape

RPID = "{urn:ietf:params:xml:ns:pidf:rpid}"
_PLACES = "{urn:ietf:params:xml:ns:location-type}"
_CAPS = "{urn:ietf:params:xml:ns:pidf:caps}"
_TIMED = "{urn:ietf:params:xml:ns:pidf:timed-status}"
PREFIXES = (
    ("<rpid:", ' xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"'),
    ("<lt:", ' xmlns:lt="urn:ietf:params:xml:ns:location-type"'),
    ("<caps:", ' xmlns:caps="urn:ietf:params:xml:ns:pidf:caps"'),
    ("<ts:", ' xmlns:ts="urn:ietf:params:xml:ns:pidf:timed-status"'),
)
OF_PERSONS = frozenset(("class", "place-is", "place-type", "privacy", "sphere", "status-icon", "time-offset"))
OF_SERVICES = frozenset(("class", "privacy", "relationship", "service-class", "status-icon"))
_TEXTS = frozenset(("class", "status-icon", "time-offset"))
_CAPABILITIES = ("application", "audio", "automata", "control", "data", "isfocus", "message", "text", "video")
"Those that are there or not, in the order of the schema."
_TAGS = frozenset(_CAPABILITIES) - {"message"}
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,39}(:[A-Za-z][A-Za-z0-9-]{0,39})?")
_MAX_VALUE = 256
_MAX_TIMED = 8
_MAX_WORDS = 8

When = Callable[[str], float | None]
"Unix seconds of an RFC 3339 time."


def read_rich(element: Element, allowed: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """What a person or a service says of itself, in the order of its names."""
    found: dict[str, str] = {}
    for child in element:
        name = child.tag.removeprefix(RPID)
        if name not in allowed or not child.tag.startswith(RPID):
            continue
        value = _text(child) if name in _TEXTS else _words(child, name)
        if value and (name != "status-icon" or value.startswith(("https://", "http://"))):
            found[name] = value
    return tuple(sorted(found.items()))


def _text(element: Element) -> str:
    return (element.text or "").strip()[:_MAX_VALUE]


def _words(element: Element, name: str) -> str:
    """Names of the elements inside, `kind:state` of those of a place."""
    words = []
    for child in element[:_MAX_WORDS]:
        word = child.tag.removeprefix(RPID).removeprefix(_PLACES)
        if name == "place-is":
            word = f"{word}:{child[0].tag.removeprefix(RPID)}" if len(child) else ""
        if word != "other" and _WORD.fullmatch(word):
            words.append(word)
    return " ".join(words)


def write_rich(rich: tuple[tuple[str, str], ...]) -> str:
    parts = []
    for name, value in rich:
        inner = escape(value) if name in _TEXTS else "".join(_word(name, each) for each in value.split())
        parts.append(f"<rpid:{name}>{inner}</rpid:{name}>")
    return "".join(parts)


def _word(name: str, word: str) -> str:
    kind, colon, state = word.partition(":")
    if colon:
        return f"<rpid:{kind}><rpid:{state}/></rpid:{kind}>"
    return f"<lt:{word}/>" if name == "place-type" else f"<rpid:{word}/>"


# --- capabilities ---------------------------------------------------------------------------------


def read_capabilities(element: Element) -> tuple[str, ...] | None:
    """Of a tuple; None where it says nothing of them."""
    servcaps = element.find(f"{_CAPS}servcaps")
    if servcaps is None:
        return None
    return tuple(
        name for name in _CAPABILITIES if (servcaps.findtext(f"{_CAPS}{name}") or "").strip() == "true"
    )


def write_capabilities(capabilities: tuple[str, ...] | None) -> str:
    if capabilities is None:
        return ""
    named = "".join(f"<caps:{each}>true</caps:{each}>" for each in _CAPABILITIES if each in capabilities)
    return f"<caps:servcaps>{named}</caps:servcaps>"


def capabilities_of(parameters: str) -> tuple[str, ...] | None:
    """Of a registered contact, from its feature tags (RFC 3840 §10); None where it has none."""
    found: set[str] = set()
    told = False
    for name, value in grammar.parse_parameters(parameters):
        tag = name.lower()
        if tag in _TAGS:
            told = True
            if value is None or grammar.unquote(value).strip("<>").upper() != "FALSE":
                found.add(tag)
        elif tag == "methods" and value is not None:
            told = True
            if "MESSAGE" in grammar.unquote(value).upper().replace(" ", "").split(","):
                found.add("message")
    return tuple(name for name in _CAPABILITIES if name in found) if told else None


# --- other times ----------------------------------------------------------------------------------


def read_timed(element: Element, when: When, lang: str) -> tuple[Timed, ...]:
    """Of a tuple, in the order of time."""
    found = []
    for each in element.findall(f"{_TIMED}timed-status")[:_MAX_TIMED]:
        begin = when(each.get("from", ""))
        if begin is None:
            # §3.1: from is mandatory
            continue
        basic = (each.findtext(f"{_TIMED}basic") or "").strip()
        note = each.find(f"{_TIMED}note")
        text = _text(note) if note is not None else ""
        found.append(
            Timed(
                begin,
                when(each.get("until", "")),
                {"open": True, "closed": False}.get(basic),
                (Text(text, lang),) if text else (),
            )
        )
    return tuple(sorted(found, key=lambda each: each.begin))


def write_timed(shown: PresenceTuple, stamp: Callable[[float], str]) -> str:
    parts = []
    for each in shown.timed:
        until = f' until="{stamp(each.until)}"' if each.until is not None else ""
        basic = "" if each.open is None else f"<ts:basic>{'open' if each.open else 'closed'}</ts:basic>"
        notes = "".join(f"<ts:note>{escape(note.text)}</ts:note>" for note in each.notes)
        parts.append(f'<ts:timed-status from="{stamp(each.begin)}"{until}>{basic}{notes}</ts:timed-status>')
    return "".join(parts)
