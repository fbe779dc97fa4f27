from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import FramingError
from sip.framer import Keepalive, StreamFramer
from sip.parser import MAX_FIELDS, MAX_LINE, MAX_MESSAGE, parse_head

HEAD = b"MESSAGE sip:b@c SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nCSeq: 1 MESSAGE\r\n"
ONE = HEAD + b"Content-Length: 5\r\n\r\nhello"
TWO = HEAD + b"l:0\r\n\r\n"
PING, PONG = Keepalive.PING, Keepalive.PONG


def test_messages_and_keepalives_come_in_their_order() -> None:
    framer = StreamFramer()
    assert framer.receive_data(ONE + TWO + b"\r\n\r\n" + ONE) == [ONE, TWO, PING, ONE]
    assert framer.idle


def test_a_message_in_pieces_comes_when_it_is_whole() -> None:
    framer = StreamFramer()
    for index in range(len(ONE) - 1):
        assert framer.receive_data(ONE[index : index + 1]) == []
        assert not framer.idle
    assert framer.receive_data(ONE[-1:]) == [ONE]


def test_a_single_line_end_is_a_pong_once_it_is_known_to_be_one() -> None:
    framer = StreamFramer()
    assert framer.receive_data(b"\r\n") == []
    assert framer.idle
    assert framer.receive_data(TWO) == [PONG, TWO]
    assert framer.receive_data(b"\r") == []
    assert framer.receive_data(b"\n\r\n") == [PING]
    assert framer.receive_data(b"\r\n\r\n\r\n" + TWO) == [PING, PONG, TWO]


@pytest.mark.parametrize(
    ("length", "body"),
    [
        (b"", b""),
        (b"content-LENGTH \t:  3 \r\n", b"abc"),
        (b"L: 3\r\n", b"abc"),
        (b"Content-Length:\r\n 3\r\n", b"abc"),
        (b"Content-Length: 3\r\nl: 3\r\n", b"abc"),
        (b"Subject: x\r\n Content-Length: 3\r\n", b""),
    ],
)
def test_the_length_in_every_spelling(length: bytes, body: bytes) -> None:
    data = HEAD + length + b"\r\n" + body
    assert StreamFramer().receive_data(data + ONE) == [data, ONE]


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + b"Content-Length: x\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1, 1\r\n\r\n", 400),
        (HEAD + b"Content-Length: \xd9\xa5\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1\r\nl: 2\r\n\r\n", 400),
        (HEAD + b"Content-Length: %d\r\n\r\n" % MAX_MESSAGE, 513),
        (HEAD + b"Subject: " + b"x" * MAX_LINE + b"\r\n\r\n", 400),
        (HEAD + b"Subject: x\r\n" * MAX_FIELDS + b"\r\n", 400),
    ],
)
def test_a_stream_whose_boundaries_are_lost_ends(bad: bytes, status: int) -> None:
    framer = StreamFramer()
    with pytest.raises(FramingError) as caught:
        framer.receive_data(ONE + bad + ONE)
    assert (caught.value.status, caught.value.complete) == (status, (ONE,))
    assert parse_head(caught.value.head) is not None
    with pytest.raises(FramingError):
        framer.receive_data(ONE)


@pytest.mark.parametrize("bad", [b"\rX", b"\n", b"\r\r", b"\r\n\n"])
def test_lone_line_ends_between_messages_end_the_stream(bad: bytes) -> None:
    framer = StreamFramer()
    with pytest.raises(FramingError):
        framer.receive_data(bad + TWO)


def test_a_head_that_never_ends_is_cut_off() -> None:
    framer = StreamFramer()
    for _ in range(MAX_MESSAGE // 1024):
        assert framer.receive_data(b"x" * 1024) == []
    with pytest.raises(FramingError) as caught:
        framer.receive_data(b"x")
    assert (caught.value.status, caught.value.head) == (513, b"")


@given(
    st.lists(st.sampled_from([ONE, TWO, b"\r\n\r\n"]), max_size=6), st.lists(st.integers(0, 500), max_size=6)
)
def test_where_the_stream_is_cut_makes_no_difference(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    framer = StreamFramer()
    events = [event for start, end in pairwise(edges) for event in framer.receive_data(stream[start:end])]
    assert events == [PING if part == b"\r\n\r\n" else part for part in parts]
