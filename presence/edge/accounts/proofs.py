"""What a server keeps instead of a password: SCRAM keys (RFC 5802 §3) and digest HA1 (RFC 7616 §3.4.2)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from precis_i18n import get_profile

from presence.address import Address
from presence.errors import Condition, Refused
from presence.ports import Account, DigestAlgorithm, ScramKeys

ITERATIONS = 10_000
"RFC 7677 §4 wants at least 4096."
SCRAM_HASHES = {"SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512"}
_DIGEST_HASHES = {DigestAlgorithm.MD5: "md5", DigestAlgorithm.SHA256: "sha256"}
_NOBODY, _NO_HA1 = Address("nobody", "invalid"), "0" * 64
_opaque_string = get_profile("OpaqueString")


def prepare_password(password: str) -> str:
    """OpaqueString (RFC 8265 §4.2). Raises `Refused` BAD_REQUEST for what it disallows."""
    if len(password) > 1023:
        raise Refused(Condition.BAD_REQUEST, "the password is too long")
    try:
        return str(_opaque_string.enforce(password))
    except UnicodeEncodeError as error:
        raise Refused(Condition.BAD_REQUEST, "the password has characters that are not allowed") from error


def scram_keys(password: str, mechanism_hash: str, salt: bytes, iterations: int = ITERATIONS) -> ScramKeys:
    """Keys for a prepared password; milliseconds of work, so not for the event loop."""
    name = SCRAM_HASHES[mechanism_hash]
    salted = hashlib.pbkdf2_hmac(name, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", name)
    return ScramKeys(
        salt=salt,
        iterations=iterations,
        stored_key=hashlib.new(name, client_key).digest(),
        server_key=hmac.digest(salted, b"Server Key", name),
    )


def ha1(address: Address, password: str, algorithm: DigestAlgorithm) -> str:
    """Hex HA1 for the realm of the address's domain."""
    text = f"{address.local}:{address.domain}:{password}"
    return hashlib.new(_DIGEST_HASHES[algorithm], text.encode(), usedforsecurity=False).hexdigest()


def proofs(address: Address, password: str) -> tuple[dict[str, ScramKeys], dict[str, str]]:
    """(SCRAM keys by hash, HA1 by algorithm) for a new password; slow, run it in a thread."""
    return (
        derive(password),
        {algorithm.value: ha1(address, password, algorithm) for algorithm in DigestAlgorithm},
    )


def matches(password: str, keys: ScramKeys, mechanism_hash: str) -> bool:
    """Whether a password has these keys; constant time in the comparison, slow, run it in a thread."""
    try:
        prepared = prepare_password(password)
    except Refused:
        prepared = ""
    found = scram_keys(prepared, mechanism_hash, keys.salt, keys.iterations)
    return hmac.compare_digest(found.stored_key, keys.stored_key) and bool(prepared)


def matches_stored(password: str, account: Account | None) -> bool | None:
    """Whether this is the password of somebody whose proofs `proofs` made; None where that needs `matches`.

    The SHA-256 HA1, which is kept for phones, is the cheapest that is kept: who steals it guesses no faster
    than from the same row's. It is made of the password as it was typed, so one that is spelled otherwise
    with the same meaning (RFC 8265 §4.2) is none of it; there is no such thing in ASCII. Takes as long for
    nobody as for anybody.
    """
    address = account.address if account is not None else _NOBODY
    kept = account.ha1.get(DigestAlgorithm.SHA256, "") if account is not None else _NO_HA1
    same = hmac.compare_digest(ha1(address, password, DigestAlgorithm.SHA256).encode(), kept.encode())
    if same or (kept and password.isascii()):
        return same
    return None


def matches_ha1(password: str, hashed: str, spelling: str) -> bool:
    """Whether a password has this MD5 HA1, made with `login:realm` as spelled. Phones and operators made it
    of UTF-8 or, before there was such a thing, of ISO 8859-1. Takes as long for every password."""
    found = False
    for encoding in ("utf-8", "latin-1"):
        text = f"{spelling}:{password}".encode(encoding, "replace")
        made = hashlib.md5(text, usedforsecurity=False).hexdigest()
        right = hmac.compare_digest(made.encode(), hashed.lower().encode())
        # what has no ISO 8859-1 form must not match with question marks in its place
        found |= right and (encoding == "utf-8" or _has_latin_1(text, spelling, password))
    return found


def _has_latin_1(text: bytes, spelling: str, password: str) -> bool:
    return text.decode("latin-1") == f"{spelling}:{password}"


def fingerprint(hashed: str, salt: bytes, iterations: int = ITERATIONS) -> bytes:
    """Of an HA1, to notice that it changed; as slow to guess from as the SCRAM keys kept beside it."""
    return hashlib.pbkdf2_hmac("sha256", hashed.lower().encode(), b"fingerprint" + salt, iterations)


def derive(password: str, names: Iterable[str] = tuple(SCRAM_HASHES)) -> dict[str, ScramKeys]:
    """SCRAM keys by hash; slow, run it in a thread."""
    prepared = prepare_password(password)
    salt = secrets.token_bytes(16)
    return {name: scram_keys(prepared, name, salt) for name in names}


def stored_ha1(account: Account) -> tuple[str, str]:
    """The MD5 HA1 a password can be compared with, and the `login:realm` it was made of; empty without."""
    if account.own_ha1:
        return account.own_ha1, account.spelling
    hashed = account.ha1.get(DigestAlgorithm.MD5, "")
    return hashed, f"{account.address.local}:{account.address.domain}"
