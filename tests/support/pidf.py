"""PIDF documents as phones write and read them (RFC 3863), for tests."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import fromstring
from xml.sax.saxutils import escape

PIDF = "{urn:ietf:params:xml:ns:pidf}"
CLIENT = "{jabber:client}"


def pidf(
    entity: str, *, basic: str = "open", note: str = "", show: str = "", id: str = "a1", inner: str = ""
) -> str:
    """A one-tuple document as a phone publishes it. `inner` goes beside the tuple, e.g. an RPID person."""
    shown = f"<show xmlns='jabber:client'>{show}</show>" if show else ""
    noted = f"<note>{escape(note)}</note>" if note else ""
    return (
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        f"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:{entity}'>"
        f"<tuple id='{id}'><status><basic>{basic}</basic>{shown}</status>{noted}</tuple>{inner}</presence>"
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """One tuple as a watching phone reads it."""

    id: str
    basic: str
    show: str
    notes: tuple[str, ...]
    priority: str

    @property
    def open(self) -> bool:
        return self.basic == "open"


def read_pidf(body: bytes) -> list[Seen]:
    """The tuples of a notified document; none for an empty body."""
    if not body.strip():
        return []
    root = fromstring(body)
    assert root.tag == f"{PIDF}presence", root.tag
    ids = [item.get("id", "") for item in root.findall(f"{PIDF}tuple")]
    assert len(ids) == len(set(ids)), f"tuple ids must be unique (RFC 3863 §4.1.2): {ids}"
    seen: list[Seen] = []
    for item in root.findall(f"{PIDF}tuple"):
        contact = item.find(f"{PIDF}contact")
        seen.append(
            Seen(
                id=item.get("id", ""),
                basic=item.findtext(f"{PIDF}status/{PIDF}basic", ""),
                show=item.findtext(f"{PIDF}status/{CLIENT}show", ""),
                notes=tuple(note.text or "" for note in item.findall(f"{PIDF}note")),
                priority="" if contact is None else contact.get("priority", ""),
            )
        )
    return seen
