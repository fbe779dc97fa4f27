"""Lists that come with a SUBSCRIBE."""

from __future__ import annotations

import time

import pytest

from sip.lists import given
from sip.message import Request
from sip.parser import parse_message

LIST = (
    b'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list>'
    b'<entry uri="sip:bob@example.org"/></list></resource-lists>'
)


def asked(parts: bytes) -> Request:
    head = (
        "SUBSCRIBE sip:alice@example.org SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1\r\n"
        "From: <sip:alice@example.org>;tag=1\r\nTo: <sip:alice@example.org>\r\nCall-ID: c\r\n"
        'CSeq: 1 SUBSCRIBE\r\nContent-Type: multipart/mixed;boundary="x"\r\n'
        f"Content-Length: {len(parts)}\r\n\r\n"
    )
    parsed = parse_message(head.encode() + parts)
    assert isinstance(parsed, Request)
    return parsed


def test_a_list_is_found_among_other_parts() -> None:
    body = (
        b"--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x\r\n"
        b"Content-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list;a=b\r\n\r\n"
        + LIST
        + b"\r\n--x--\r\n"
    )
    assert [str(each) for each in given(asked(body)) or ()] == ["bob@example.org"]


@pytest.mark.parametrize("piece", [b";", b'"', b"(", b";a=b", b";a*=%", b"=?"])
@pytest.mark.parametrize("name", [b"Content-Type: text/plain", b"Content-Disposition: x"])
def test_a_long_field_of_a_part_is_read_in_one_go(name: bytes, piece: bytes) -> None:
    body = b"--x\r\n" + name + (piece * 50_000)[:50_000] + b"\r\n\r\nb\r\n--x--\r\n"
    begun = time.process_time()
    assert given(asked(body)) is None
    assert time.process_time() - begun < 1


def test_parts_within_parts_without_end_are_not_looked_into() -> None:
    nested = b"".join(
        b"--x%d\r\nContent-Type: multipart/mixed;boundary=x%d\r\n\r\n" % (n, n + 1) for n in range(900)
    )
    begun = time.process_time()
    assert given(asked(b"--x\r\n\r\n" + nested)) is None
    assert time.process_time() - begun < 1
