"""What goes over UDP fits one packet (RFC 3261 §18.1.1, RFC 3428 §8): networks drop fragments without a word.

A notification that is too long takes the phone's TCP or TLS connection if it has one; otherwise it says less,
in the steps below, until it fits.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from presence.model import Person, PresenceDocument, PresenceTuple
from sip.message import Request

_OVERHEAD = 130
"Bytes of the Via the edge puts on top, and of Content-Length."
_SHORT = 120
"Characters left of a note."


def datagram_size(request: Request) -> int:
    """Bytes a request without Via will have on the wire."""
    size = sum(len(name) + len(value.encode()) + 4 for name, value in request.headers.items())
    return size + len(request.method) + len(str(request.uri)) + 12 + len(request.body) + _OVERHEAD


def fits(request: Request, limit: int) -> bool:
    """Whether that is at most `limit`; most are so short that a rough count tells."""
    at_most = request.headers.at_most() + len(str(request.uri).encode()) + len(request.body) + 2 * _OVERHEAD
    return at_most <= limit or datagram_size(request) <= limit


def pieces(text: str, room: int) -> Iterator[str]:
    """A text in pieces of at most `room` bytes, 4 or more; cut at a blank where one is near, else between two
    characters. Together they are the text."""
    data = text.encode("utf-8", "replace")
    while len(data) > room:
        piece = data[:room].decode(errors="ignore").encode()
        blank = piece.rfind(b" ") + 1
        if blank > room // 2:
            piece = piece[:blank]
        yield piece.decode()
        data = data[len(piece) :]
    if data:
        yield data.decode()


def smaller(document: PresenceDocument) -> Iterator[PresenceDocument]:
    """Documents that say less and less: no alternatives, no rich presence and no person's notes; the best
    tuple's note alone, cut; no notes; half of the tuples, and again, best first; the last says open or closed
    and nothing else."""
    person = replace(document.person or Person(), notes=(), mood=(), rich=())
    tuples = tuple(replace(t, capabilities=None, rich=(), timed=()) for t in document.tuples)
    yield replace(document, person=person, tuples=tuple(replace(t, notes=t.notes[:1]) for t in tuples))
    shortened = tuple(
        replace(t, notes=tuple(replace(note, text=note.text[:_SHORT]) for note in t.notes[:1]))
        if number == 0
        else replace(t, notes=())
        for number, t in enumerate(tuples)
    )
    last_seen = replace(document.last_seen, notes=()) if document.last_seen is not None else None
    document = replace(document, person=person, last_seen=last_seen)
    yield replace(document, tuples=shortened)
    tuples = tuple(replace(t, notes=()) for t in tuples)
    yield replace(document, tuples=tuples)
    while len(tuples) > 1:
        tuples = tuples[: len(tuples) // 2]
        yield replace(document, tuples=tuples)
    yield replace(document, person=None, tuples=tuple(_bare(t) for t in tuples))


def _bare(each: PresenceTuple) -> PresenceTuple:
    return PresenceTuple(id=each.id[:16], open=each.open, show=each.show)
