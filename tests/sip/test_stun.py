"""STUN on the SIP port (RFC 8489; test vectors of RFC 5769 in spirit: its addresses, our requests)."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip import stun
from tests.sip.house import BOB, open_house

ID = bytes.fromhex("b7e7a701bc34d686fa87dfae")
REQUEST = bytes.fromhex("000100002112a442") + ID


def test_the_answer_has_the_address_the_request_came_from() -> None:
    # RFC 5769 §2.2 and §2.3 have these addresses and this transaction.
    four = stun.answer(REQUEST, "192.0.2.1", 32853)
    assert four == bytes.fromhex("0101000c2112a442") + ID + bytes.fromhex("002000080001a147e112a643")
    six = stun.answer(REQUEST, "2001:db8:1234:5678:11:2233:4455:6677", 32853)
    assert six == bytes.fromhex("010100182112a442") + ID + bytes.fromhex(
        "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    )


def test_what_must_be_understood_and_is_not_is_said() -> None:
    asked = bytes.fromhex("000100082112a442") + ID + bytes.fromhex("0003000400000002")
    refused = stun.answer(asked, "192.0.2.1", 32853)
    assert refused[:2] == bytes.fromhex("0111")
    assert b"\x00\x00\x04\x14Unknown Attribute" in refused
    assert refused.endswith(bytes.fromhex("000a000200030000"))
    software = bytes.fromhex("000100082112a442") + ID + bytes.fromhex("8022000461626364")
    assert stun.answer(software, "192.0.2.1", 1)[:2] == bytes.fromhex("0101")


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\x01" + REQUEST[2:],  # a response
        b"\x00\x11" + REQUEST[2:],  # an indication
        REQUEST + b"\0\0\0\0",  # longer than it says
        b"\x00\x01\x00\x03" + REQUEST[4:] + b"\0\0\0",  # no multiple of four
    ],
)
def test_what_is_no_request_is_not_answered(data: bytes) -> None:
    assert stun.is_stun(data)
    assert stun.answer(data, "192.0.2.1", 1) == b""


@given(st.binary(max_size=80))
def test_whatever_comes_is_answered_or_not_but_understood(rest: bytes) -> None:
    head = b"\x00\x01" + (len(rest) // 4 * 4).to_bytes(2, "big") + REQUEST[4:]
    assert stun.answer(head + rest[: len(rest) // 4 * 4], "192.0.2.1", 1)[:2] in (b"\x01\x01", b"\x01\x11")


def test_sip_is_not_taken_for_it() -> None:
    assert not stun.is_stun(b"OPTIONS sip:example.org SIP/2.0\r\n")
    assert not stun.is_stun(b"\0\0\0\0" * 8)
    assert not stun.is_stun(REQUEST[:19])


async def test_a_phone_keeps_its_way_open_and_goes_on_speaking_sip(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house, house.phone(BOB) as phone:
        await phone.register()
        loop = asyncio.get_running_loop()
        for family, host, kind in ((socket.AF_INET, "127.0.0.1", 1), (socket.AF_INET6, "::1", 2)):
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.bind((host, 0))
                await loop.sock_sendto(sock, REQUEST, (host, house.ports["udp"]))
                async with asyncio.timeout(30):
                    answer = await loop.sock_recv(sock, 100)
            assert answer[:2] == bytes.fromhex("0101")
            assert answer[25] == kind
        phone.send_bytes(REQUEST)
        assert (await phone.register()).status == 200
