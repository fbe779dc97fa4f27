"""SASL DIGEST-MD5 (RFC 2831), for old clients of operators who keep nothing but HA1.

RFC 6331 made it historic: it is offered only where the settings name it. The HA1 is what the operator's file
says; of a password that is kept in the clear, both forms are tried that clients make: UTF-8, and ISO 8859-1
where it can be written so (§2.1.2.1, and clients that never send `charset`).

Left out: subsequent authentication (§2.2), integrity and confidentiality layers (§2.3, §2.4).
"""

from __future__ import annotations

import hashlib
import hmac

from presence.ports import Account
from xmpp.sasl import (
    Challenge,
    Registration,
    SaslContext,
    SaslFailure,
    Step,
    Success,
    check_authzid,
)

MAX_FIELDS = 32
_NOBODY = bytes(16)


class DigestMd5:
    def __init__(self, context: SaslContext) -> None:
        self.context = context
        self._nonce = ""
        self._success: Success | None = None

    async def receive(self, data: bytes) -> Step:
        if self._success is not None:
            if data:
                raise SaslFailure("malformed-request", "an empty response is wanted")
            return self._success
        if not self._nonce:
            if data:
                raise SaslFailure("malformed-request", "the server begins")
            self._nonce = self.context.nonce()
            realm = self.context.domain.replace("\\", "\\\\").replace('"', '\\"')
            return Challenge(
                f'realm="{realm}",nonce="{self._nonce}",qop="auth",charset=utf-8,algorithm=md5-sess'.encode()
            )
        return await self._answered(data)

    async def _answered(self, data: bytes) -> Step:
        fields = _parse(data)
        username = _text(fields.get("username", b""), fields)
        address = await self.context.user(username)
        account = await self.context.accounts.find(address)
        self._check_fields(fields)
        right = b""
        for secret in _secrets(account, fields):
            expected = _response(fields, secret, b"AUTHENTICATE:")
            same = hmac.compare_digest(expected, fields["response"].lower())
            if same and secret is not _NOBODY:
                right = secret
        if not right or account is None:
            raise SaslFailure("not-authorized", "wrong response or unknown user", address)
        check_authzid(_text(fields.get("authzid", b""), fields), address)
        if not account.enabled:
            raise SaslFailure("account-disabled", address=address)
        self._success = Success(address)
        return Challenge(b"rspauth=" + _response(fields, right, b":"))

    def _check_fields(self, fields: dict[str, bytes]) -> None:
        """§2.1.2: what the client has to repeat, and nothing twice (nc is 1 for ever)."""
        if any(not fields.get(name) for name in ("cnonce", "digest-uri", "response", "nc", "nonce")):
            raise SaslFailure("malformed-request", "nonce, cnonce, nc, digest-uri and response are wanted")
        if not hmac.compare_digest(fields["nonce"], self._nonce.encode()) or fields["nc"] != b"00000001":
            raise SaslFailure("not-authorized", "another challenge's answer")
        if fields.get("qop", b"auth") != b"auth":
            raise SaslFailure("malformed-request", "only qop=auth was offered")
        domain = self.context.domain.encode()
        service, _, host = fields["digest-uri"].partition(b"/")
        if service.lower() != b"xmpp" or host.partition(b"/")[0].lower() != domain:
            raise SaslFailure("not-authorized", "meant for another service")
        if fields.get("realm", domain) != domain:
            raise SaslFailure("not-authorized", "another realm")


def _secrets(account: Account | None, fields: dict[str, bytes]) -> list[bytes]:
    """H({ username : realm : password }), in every form the account can have it."""
    if account is None:
        return [_NOBODY]
    if not account.password:
        hexed = account.ha1.get("MD5", "")
        return [bytes.fromhex(hexed)] if hexed else [_NOBODY]
    found = []
    for encoding in ("utf-8", "latin-1"):
        try:
            name = _text(fields["username"], fields).encode(encoding)
            password = account.password.encode(encoding)
        except UnicodeEncodeError:
            continue
        realm = fields.get("realm", b"")
        found.append(_md5(name + b":" + realm + b":" + password))
    return found


def _response(fields: dict[str, bytes], secret: bytes, method: bytes) -> bytes:
    """§2.1.2.1; with `:` for the method it is the server's `rspauth` (§2.1.3)."""
    a1 = secret + b":" + fields["nonce"] + b":" + fields["cnonce"]
    if fields.get("authzid"):
        a1 += b":" + fields["authzid"]
    a2 = method + fields["digest-uri"]
    text = b":".join((_hex(a1), fields["nonce"], fields["nc"], fields["cnonce"], b"auth", _hex(a2)))
    return _hex(text)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _hex(data: bytes) -> bytes:
    return _md5(data).hex().encode()


def _text(value: bytes, fields: dict[str, bytes]) -> str:
    """UTF-8 where the client says so, else ISO 8859-1 (§2.1.2)."""
    if fields.get("charset", b"").lower() != b"utf-8":
        return value.decode("latin-1")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise SaslFailure("malformed-request", "not UTF-8") from None


def _parse(data: bytes) -> dict[str, bytes]:
    """`name=value,name="quoted \\" value"`: lower-case names; the first of two counts for nothing."""
    fields: dict[str, bytes] = {}
    at, end = 0, len(data)
    while at < end:
        equals = data.find(b"=", at)
        if equals < 0 or len(fields) >= MAX_FIELDS:
            raise SaslFailure("malformed-request", "not a digest response")
        name = data[at:equals].strip().decode("latin-1").lower()
        value, at = _value(data, equals + 1)
        if name in fields:
            raise SaslFailure("malformed-request", "a field stands twice")
        fields[name] = value
    return fields


def _value(data: bytes, at: int) -> tuple[bytes, int]:
    """A value and where the next field begins."""
    if data[at : at + 1] != b'"':
        comma = data.find(b",", at)
        stop = comma if comma >= 0 else len(data)
        return data[at:stop].strip(), stop + 1
    value = bytearray()
    at += 1
    while at < len(data):
        byte = data[at : at + 1]
        if byte == b'"':
            comma = data.find(b",", at)
            return bytes(value), comma + 1 if comma >= 0 else len(data)
        if byte == b"\\":
            at += 1
            byte = data[at : at + 1]
        value += byte
        at += 1
    raise SaslFailure("malformed-request", "a quoted value does not end")


REGISTRATION = Registration("DIGEST-MD5", DigestMd5, proof="DIGEST-MD5", server_first=True)
