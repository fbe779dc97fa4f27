"""However a stream is cut, the same messages come out of it, or the same error."""

from __future__ import annotations

import random

from sip.errors import FramingError
from sip.framer import Keepalive, StreamFramer
from sip.parser import MAX_MESSAGE
from tests.fuzz.engine import main, mutated
from tests.fuzz.parser import CORPUS

Events = list[bytes | Keepalive]


def target(source: random.Random) -> None:
    """Frame a stream of mutated messages twice, cut at different places."""
    pieces = [source.choice(CORPUS) for _ in range(source.randrange(1, 5))]
    pieces = [mutated(source, piece, CORPUS) if source.random() < 0.5 else piece for piece in pieces]
    stream = source.choice((b"", b"\r\n", b"\r\n\r\n")).join(pieces)
    one = _framed(stream, [source.choice((1, 100, 1460, 70_000))] * (len(stream) + 1))
    other = _framed(stream, [source.randrange(1, 3000) for _ in range(len(stream) + 1)])
    assert one == other
    assert all(isinstance(event, Keepalive) or len(event) <= MAX_MESSAGE for event in one[0])


def _framed(stream: bytes, sizes: list[int]) -> tuple[Events, str]:
    framer = StreamFramer()
    events: Events = []
    position = 0
    for size in sizes:
        if position >= len(stream):
            break
        try:
            events += framer.receive_data(stream[position : position + size])
        except FramingError as error:
            return [*events, *error.complete], error.detail
        position += size
    return events, ""


if __name__ == "__main__":
    main(target)
