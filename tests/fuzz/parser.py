"""Whatever arrives: a message, or a `BadMessage` that can be answered or dropped."""

from __future__ import annotations

import random
from contextlib import suppress

from sip.digest import find_credentials
from sip.errors import BadMessage, ProtocolError
from sip.message import Request, Response, respond, serialise
from sip.parser import parse_message
from tests.fuzz.engine import main, mutated
from tests.sip.vectors import captures, torture

CORPUS = [
    *torture("rfc4475").values(),
    *torture("rfc5118").values(),
    *(data for messages in captures().values() for data in messages),
]
_VIEWS = (
    "via",
    "vias",
    "from_",
    "to",
    "contacts",
    "expires",
    "max_forwards",
    "event",
    "subscription_state",
    "content_type",
    "accept",
    "routes",
    "record_routes",
    "paths",
)


def target(source: random.Random) -> None:
    """Parse a mutated message of a real client or of the torture tests."""
    data = mutated(source, source.choice(CORPUS), CORPUS)
    try:
        message = parse_message(data)
    except BadMessage as error:
        if error.request is not None:
            _answered(error.request, error.status)
        return
    for view in _VIEWS:
        with suppress(ProtocolError):
            getattr(message, view)
    for name, value in message.headers.items():
        assert message.headers.get(name) is not None, value
        with suppress(ProtocolError):
            message.headers.all(name)
    written = serialise(message)
    again = parse_message(written)
    assert serialise(again) == written, (data, written)
    assert again.body == message.body
    if isinstance(message, Request):
        assert isinstance(again, Request)
        assert again.uri == message.uri
        find_credentials(message, "example.org")
        _answered(message, 200)


def _answered(request: Request, status: int) -> None:
    written = serialise(respond(request, status))
    head, _, body = written.partition(b"\r\n\r\n")
    assert body == b""
    assert head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n"), head
    # What we answer to a request that we understood, we would understand ourselves.
    if status == 200:
        assert isinstance(parse_message(written), Response)


if __name__ == "__main__":
    main(target)
