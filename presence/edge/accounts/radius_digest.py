"""Digest responses as RADIUS attributes: draft-sterman-aaa-sip-00 (which FreeRADIUS's `rlm_digest` reads)
and RFC 5090 §3; and the digest client that asks whether a plain password is right."""

from __future__ import annotations

import hashlib
import secrets

from presence.ports import DigestQuestion

USER_NAME, NAS_IDENTIFIER = 1, 32
ACCEPT, REJECT, CHALLENGE = 2, 3, 11
_DIGEST_RESPONSE, _DIGEST_ATTRIBUTES = 206, 207
_STERMAN = {
    "realm": 1, "nonce": 2, "method": 3, "uri": 4, "qop": 5, "algorithm": 6, "body_digest": 7, "cnonce": 8,
    "nc": 9, "username": 10,
}  # fmt: skip
_RFC_5090 = {
    "response": 103, "realm": 104, "nonce": 105, "method": 108, "uri": 109, "qop": 110, "algorithm": 111,
    "body_digest": 112, "cnonce": 113, "nc": 114, "username": 115, "opaque": 116,
}  # fmt: skip

Attributes = list[tuple[int, bytes]]


class NotWritable(ValueError):
    """A value does not fit into an attribute (253 bytes, 251 inside another one)."""


def sterman(question: DigestQuestion) -> Attributes:
    """Each value in a Digest-Attributes of its own: type, length with these two bytes, value."""
    found = [(_DIGEST_RESPONSE, _fitting(question.response, 253))]
    for name, kind in _STERMAN.items():
        if text := getattr(question, name):
            value = _fitting(text, 251)
            found.append((_DIGEST_ATTRIBUTES, bytes([kind, len(value) + 2]) + value))
    return found


def rfc_5090(question: DigestQuestion) -> Attributes:
    """Each value in the attribute that has its name."""
    values = ((kind, getattr(question, name)) for name, kind in _RFC_5090.items())
    return [(kind, _fitting(text, 253)) for kind, text in values if text]


def _fitting(text: str, limit: int) -> bytes:
    value = text.encode("utf-8", "surrogateescape")
    if len(value) > limit:
        raise NotWritable("a digest value is too long for RADIUS")
    return value


def ask_for(username: str, realm: str, password: str) -> DigestQuestion:
    """What a digest client with this password would answer to a challenge of ours."""
    nonce, cnonce = secrets.token_hex(16), secrets.token_hex(8)
    method, uri, count = "REGISTER", f"sip:{realm}", "00000001"
    ha1 = _md5(f"{username}:{realm}:{password}")
    ha2 = _md5(f"{method}:{uri}")
    return DigestQuestion(
        username=username,
        realm=realm,
        nonce=nonce,
        uri=uri,
        response=_md5(f"{ha1}:{nonce}:{count}:{cnonce}:auth:{ha2}"),
        method=method,
        algorithm="MD5",
        qop="auth",
        nc=count,
        cnonce=cnonce,
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
