"""What a server keeps instead of a password: SCRAM keys (RFC 5802 §3) and digest HA1 (RFC 7616 §3.4.2)."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from precis_i18n import get_profile

from presence.address import Address
from presence.errors import Condition, Refused
from presence.ports import DigestAlgorithm, ScramKeys

ITERATIONS = 10_000
"RFC 7677 §4 wants at least 4096."
SCRAM_HASHES = {"SHA-1": "sha1", "SHA-256": "sha256"}
_DIGEST_HASHES = {DigestAlgorithm.MD5: "md5", DigestAlgorithm.SHA256: "sha256"}
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
    prepared = prepare_password(password)
    salt = secrets.token_bytes(16)
    return (
        {name: scram_keys(prepared, name, salt) for name in SCRAM_HASHES},
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
