"""STUN Binding requests on a SIP port, with which phones keep their way open (RFC 8489, RFC 5626 §8).

Left out: everything else of STUN; FINGERPRINT and MESSAGE-INTEGRITY are not asked for and not checked.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

_COOKIE = 0x2112A442
_HEADER = struct.Struct("!HHI12s")
_BINDING_REQUEST, _BINDING_SUCCESS, _BINDING_ERROR = 0x0001, 0x0101, 0x0111
_ERROR_CODE, _UNKNOWN_ATTRIBUTES, _XOR_MAPPED_ADDRESS = 0x0009, 0x000A, 0x0020
_REQUIRED = range(0x8000)
"Attributes that must be understood (RFC 8489 §14)."
_KNOWN = frozenset((0x0006, 0x0008, 0x0014, 0x0015, 0x001C, 0x001D, 0x001E))
"USERNAME and what belongs to it: nobody asked for them, so they change nothing."


def is_stun(data: bytes) -> bool:
    """A SIP message never begins like this (RFC 5626 §8)."""
    return len(data) >= _HEADER.size and data[0] < 2 and data[4:8] == b"\x21\x12\xa4\x42"


def answer(data: bytes, host: str, port: int) -> bytes:
    """The answer to what came from a host and port; empty where none is due (RFC 8489 §6.3)."""
    kind, length, _, transaction = _HEADER.unpack_from(data)
    if kind != _BINDING_REQUEST or length % 4 or length != len(data) - _HEADER.size:
        return b""
    unknown = _unknown(data[_HEADER.size :])
    if unknown:
        reason = b"Unknown Attribute"
        listed = b"".join(struct.pack("!H", each) for each in unknown)
        body = _attribute(_ERROR_CODE, b"\0\0\x04\x14" + reason) + _attribute(_UNKNOWN_ATTRIBUTES, listed)
        return _HEADER.pack(_BINDING_ERROR, len(body), _COOKIE, transaction) + body
    body = _attribute(_XOR_MAPPED_ADDRESS, _xor(host, port, transaction))
    return _HEADER.pack(_BINDING_SUCCESS, len(body), _COOKIE, transaction) + body


def _unknown(attributes: bytes) -> list[int]:
    """Types that must be understood and are not. What cannot be read is none."""
    found = []
    while len(attributes) >= 4:
        kind, length = struct.unpack_from("!HH", attributes)
        if kind in _REQUIRED and kind not in _KNOWN:
            found.append(kind)
        attributes = attributes[4 + length + -length % 4 :]
    return found[:16]


def _xor(host: str, port: int, transaction: bytes) -> bytes:
    """RFC 8489 §14.2."""
    address = ip_address(host)
    key = struct.pack("!I", _COOKIE) + transaction
    packed = bytes(a ^ b for a, b in zip(address.packed, key, strict=False))
    return struct.pack("!BBH", 0, 1 if address.version == 4 else 2, port ^ (_COOKIE >> 16)) + packed


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)
