"""What real clients sent is understood, and passes through unchanged."""

from __future__ import annotations

import pytest

from sip.framer import StreamFramer
from sip.message import Request, serialise
from sip.parser import parse_message
from tests.sip.vectors import captures

CAPTURES = captures()


def test_the_captures_are_there() -> None:
    assert len(CAPTURES) > 40
    assert sum(map(len, CAPTURES.values())) > 250


@pytest.mark.parametrize("name", sorted(CAPTURES))
def test_every_field_of_a_real_client_is_understood(name: str) -> None:
    for data in CAPTURES[name]:
        message = parse_message(data)
        assert message.via.branch.startswith("z9hG4bK")
        assert message.from_.tag
        assert message.call_id
        assert message.vias
        for value in (message.contacts, message.routes, message.record_routes, message.accept):
            assert value is None or value == "*" or all(map(str, value))
        for number in (message.expires, message.max_forwards):
            assert number is None or number >= 0
        assert message.event is None or message.event.package == "presence"
        assert message.content_type is None or "/" in message.content_type.value
        if isinstance(message, Request):
            assert message.cseq.method == message.method


@pytest.mark.parametrize("name", sorted(CAPTURES))
def test_a_message_of_a_real_client_passes_unchanged(name: str) -> None:
    for data in CAPTURES[name]:
        written = serialise(parse_message(data))
        assert sorted(written.split(b"\r\n")) == sorted(_plain(data).split(b"\r\n"))


def _plain(data: bytes) -> bytes:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = []
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b": ")
        lines.append(name + colon + value.strip(b" ") if colon else line)
    if not any(line.startswith(b"Content-Length") for line in lines):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_a_stream_of_real_messages_is_cut_at_any_place() -> None:
    messages = [data for name in sorted(CAPTURES) for data in CAPTURES[name] if b"Content-Length" in data]
    stream = b"".join(messages)
    for size in (1, 7, 1460):
        framer = StreamFramer()
        events = [
            event
            for start in range(0, len(stream), size)
            for event in framer.receive_data(stream[start : start + size])
        ]
        assert events == messages
        assert framer.idle
