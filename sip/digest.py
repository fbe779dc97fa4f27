"""Digest authentication (RFC 8760, RFC 7616, RFC 3261 §22), both sides.

The server keeps no state for a challenge: a nonce carries its time and is signed by its process. What it
does keep, bounded, are the counters of nonces that were used with success, so that captured credentials
cannot be used again.
Lenient: quotes where none belong and none where they do, no qop at all (RFC 2069 style), `auth-int`, `-sess`.
Without qop there is no counter; then the digest-uri must be the request's, and the request can be repeated
while the nonce lives.

Left out: usernames that are hashed or in extended notation (RFC 7616 §3.4.4), Authentication-Info.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Protocol

from presence.ports import DigestQuestion
from sip import grammar
from sip.errors import BadUri
from sip.headers import Challenge, Credentials
from sip.message import Request
from sip.uri import Uri, equivalent, parse_uri

_HASHES: dict[str, Callable[..., Any]] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
if "sha512_256" in hashlib.algorithms_available:
    _HASHES["SHA-512-256"] = partial(hashlib.new, "sha512_256")
_QOPS = ("", "auth", "auth-int")
_ASKED = (
    "username", "realm", "nonce", "uri", "response", "algorithm", "qop", "nc", "cnonce", "opaque",
)  # fmt: skip
_WINDOW = 64
"Counters below the highest one seen that may still come, out of order."
_SEEN = 2**_WINDOW - 1
_NO_HA1 = "0" * 32
LIFETIME = 300.0
"Seconds a nonce is good for."
_CACHEABLE = 256
"Characters of a method and a URI whose digest is remembered."


class Signed(Protocol):
    """A request as its digest covers it: of SIP, or of HTTP with the same accounts."""

    @property
    def method(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def uri(self) -> Uri | str:
        """A string is no SIP URI."""


class Verdict(Enum):
    OK = "ok"
    STALE = "stale"
    "Right, but the nonce is old, unknown or used up: challenge again with `stale=true`."
    BAD = "bad"
    "Wrong user, password or algorithm."
    MISSING = "missing"
    "No credentials for this realm: challenge."


def supported(algorithm: str) -> bool:
    """Whether this machine can compute an algorithm, with or without `-sess`."""
    return algorithm.upper().removesuffix("-SESS") in _HASHES


def hexdigest(algorithm: str, data: bytes) -> str:
    digest: str = _HASHES[algorithm](data, usedforsecurity=False).hexdigest()
    return digest


def make_ha1(algorithm: str, username: str, realm: str, password: str) -> str:
    """What an account backend stores."""
    return hexdigest(algorithm, f"{username}:{realm}:{password}".encode())


def compute(fields: Mapping[str, str], algorithm: str, ha1: str, method: str, body: bytes = b"") -> str:
    """The `response` (RFC 7616 §3.4.1) for the nonce, cnonce, nc, qop and uri in `fields`.

    `algorithm` is without `-sess`; whether it is a session's is read from the field.
    """
    nonce, cnonce, qop = fields.get("nonce", ""), fields.get("cnonce", ""), fields.get("qop", "")
    if fields.get("algorithm", "").upper().endswith("-SESS"):
        ha1 = hexdigest(algorithm, f"{ha1}:{nonce}:{cnonce}".encode())
    action = f"{method}:{fields.get('uri', '')}"
    if qop == "auth-int":
        ha2 = hexdigest(algorithm, f"{action}:{hexdigest(algorithm, body)}".encode())
    else:
        ha2 = _ha2(algorithm, action) if len(action) <= _CACHEABLE else hexdigest(algorithm, action.encode())
    middle = f"{nonce}:{fields.get('nc', '')}:{cnonce}:{qop}" if qop else nonce
    return hexdigest(algorithm, f"{ha1}:{middle}:{ha2}".encode())


@lru_cache(maxsize=4096)
def _ha2(algorithm: str, action: str) -> str:
    return hexdigest(algorithm, action.encode())


def find_credentials(request: Request, realm: str) -> Credentials | None:
    """The Digest credentials a request has for a realm, wherever the client put them."""
    for name in ("Authorization", "Proxy-Authorization"):
        for value in request.headers.fields(name):
            try:
                credentials = Credentials.parse(value)
            except grammar.Malformed:
                continue
            if credentials.scheme == "digest" and credentials.get("realm") == realm:
                return credentials
    return None


class NonceKeeper:
    """Challenges and verdicts of one process. `secret` is its own and dies with it, as what is known of the
    nonces' uses does. Times are Unix seconds."""

    def __init__(self, secret: bytes, lifetime: float = LIFETIME, capacity: int = 50_000) -> None:
        if len(secret) < 16:
            raise ValueError("the secret has fewer than 16 bytes")
        self._secret = secret
        self._lifetime = lifetime
        self._capacity = capacity
        self._bears_mark = lru_cache(maxsize=4096)(self._look_for_mark)
        self._used: dict[str, _Counters] = {}
        self._floor = 0.0
        "Nonces issued up to here may have been forgotten, and count as used up."

    def challenges(
        self, algorithms: Iterable[str], realm: str, now: float, *, stale: bool = False, place: str = ""
    ) -> list[str]:
        """Values of WWW-Authenticate or Proxy-Authenticate, one per algorithm, the best first. `place`:
        the host that asks, see `issued_to`."""
        nonce = self._issue(realm, now, place)
        tail = ", stale=true" if stale else ""
        return [
            f'Digest realm={grammar.quote(realm)}, nonce="{nonce}", algorithm={algorithm}, qop="auth"{tail}'
            for algorithm in algorithms
        ]

    def verify(
        self, credentials: Credentials | None, request: Signed, ha1: Mapping[str, str], now: float
    ) -> Verdict:
        """Judge what `find_credentials` found.

        `ha1` has the hex HA1 by algorithm of the user the credentials name; give an empty one for an unknown
        user, it takes as long.
        """
        if credentials is None:
            return Verdict.MISSING
        fields = _fields(credentials)
        algorithm = fields["algorithm"].upper().removesuffix("-SESS")
        if algorithm not in _HASHES or fields["qop"] not in _QOPS:
            return Verdict.BAD
        expected = compute(fields, algorithm, ha1.get(algorithm, _NO_HA1), request.method, request.body)
        given = fields.get("response", "").lower().encode()
        if not hmac.compare_digest(expected.encode(), given) or algorithm not in ha1:
            return Verdict.BAD
        return self._judge_use(fields, request, now, count=True)

    def precheck(self, credentials: Credentials, request: Signed, now: float) -> Verdict:
        """Judge everything but the response, which somebody else is going to: OK, STALE or BAD. The nonce
        does not count as used; `use` it when the response was right."""
        fields = _fields(credentials)
        if not supported(fields["algorithm"]) or fields["qop"] not in _QOPS:
            return Verdict.BAD
        return self._judge_use(fields, request, now, count=False)

    def use(self, credentials: Credentials, request: Signed, now: float) -> Verdict:
        """Note that a right response used its nonce: OK, or STALE if it was used before."""
        return self._judge_use(_fields(credentials), request, now, count=True)

    def _judge_use(self, fields: Mapping[str, str], request: Signed, now: float, *, count: bool) -> Verdict:
        qop, nonce = fields["qop"], fields.get("nonce", "")
        if not qop and not _same_uri(fields.get("uri", ""), request):
            return Verdict.BAD
        issued = self._issued(nonce, fields.get("realm", ""))
        if issued is None or not now - self._lifetime <= issued <= now + self._lifetime:
            return Verdict.STALE
        if count and qop and not self._count(fields, issued, now):
            return Verdict.STALE
        return Verdict.OK

    def issued_to(self, credentials: Credentials, place: str) -> bool:
        """Whether the nonce bears the mark of that host: who cannot read what is sent there has none."""
        nonce = credentials.get("nonce") or ""
        return len(nonce) == 32 and self._bears_mark(nonce, place)

    def _look_for_mark(self, nonce: str, place: str) -> bool:
        try:
            stamp = base64.urlsafe_b64decode(nonce)[:12]
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(stamp[9:], self._mark(stamp[:9], place))

    def _mark(self, stamp: bytes, place: str) -> bytes:
        return hmac.digest(self._secret, b"place" + stamp + place.encode(), "sha256")[:3]

    def _issue(self, realm: str, now: float, place: str) -> str:
        stamp = int(now * 1000).to_bytes(6, "big") + secrets.token_bytes(3)
        stamp += self._mark(stamp, place)
        return base64.urlsafe_b64encode(stamp + self._sign(stamp, realm)).decode()

    def _issued(self, nonce: str, realm: str) -> float | None:
        """When we issued a nonce; None if we did not, or may have forgotten its counters."""
        counters = self._used.get(nonce)
        if counters is not None and counters.realm == realm:
            return counters.issued
        if len(nonce) != 32:
            return None
        try:
            raw = base64.urlsafe_b64decode(nonce)
        except (binascii.Error, ValueError):
            return None
        stamp, signature = raw[:12], raw[12:]
        if not hmac.compare_digest(signature, self._sign(stamp, realm)):
            return None
        issued = int.from_bytes(stamp[:6], "big") / 1000
        return None if issued <= self._floor and nonce not in self._used else issued

    def _sign(self, stamp: bytes, realm: str) -> bytes:
        return hmac.digest(self._secret, stamp + realm.encode("utf-8", "replace"), "sha256")[:12]

    def _count(self, fields: Mapping[str, str], issued: float, now: float) -> bool:
        """Note a use of a nonce; False when this one was seen before or lies too far back."""
        nonce, text = fields["nonce"], fields.get("nc", "")
        try:
            number = int(text, 16) if len(text) <= 8 else -1
        except ValueError:
            number = -1
        if number < 0:
            return False
        counters = self._used.get(nonce)
        if counters is None:
            self._make_room(now)
            counters = self._used[nonce] = _Counters(issued, fields.get("realm", ""))
        return counters.note(number)

    def _make_room(self, now: float) -> None:
        while self._used:
            oldest = next(iter(self._used))
            issued = self._used[oldest].issued
            if issued >= now - self._lifetime and len(self._used) < self._capacity:
                return
            self._floor = max(self._floor, issued)
            del self._used[oldest]


@dataclass(slots=True)
class _Counters:
    """The nc values seen with one nonce (RFC 7616 §3.4, nc)."""

    issued: float
    realm: str = ""
    highest: int = -1
    seen: int = 0
    "Bit n: `highest - n` was seen."

    def note(self, number: int) -> bool:
        if number > self.highest:
            self.seen = ((self.seen << min(number - self.highest, _WINDOW)) | 1) & _SEEN
            self.highest = number
            return True
        bit = 1 << (self.highest - number) if self.highest - number < _WINDOW else 0
        if not bit or self.seen & bit:
            return False
        self.seen |= bit
        return True


def _fields(credentials: Credentials) -> dict[str, str]:
    """With the defaults of RFC 3261 §22.4 and of RFC 2069, which had neither algorithm nor qop."""
    fields = credentials.fields.copy()
    fields.setdefault("algorithm", "MD5")
    fields["qop"] = fields.get("qop", "").lower()
    return fields


def question(credentials: Credentials, request: Signed) -> DigestQuestion:
    """The response, for whoever can judge it."""
    fields = _fields(credentials)
    algorithm = fields["algorithm"].upper().removesuffix("-SESS")
    whole = fields["qop"] == "auth-int" and supported(algorithm)
    given = {name: fields.get(name, "") for name in _ASKED}
    return DigestQuestion(
        **given,
        method=request.method,
        body_digest=hexdigest(algorithm, request.body) if whole else "",
    )


def _same_uri(text: str, request: Signed) -> bool:
    if text == str(request.uri):
        return True
    try:
        return isinstance(request.uri, Uri) and equivalent(parse_uri(text), request.uri)
    except BadUri:
        return False


# --- the client's side ---------------------------------------------------------------------------


def select(values: Iterable[str]) -> Challenge | None:
    """The topmost challenge we can answer (RFC 8760 §2.4)."""
    for value in values:
        try:
            challenge = Challenge.parse(value)
        except grammar.Malformed:
            continue
        if challenge.scheme == "digest" and supported(challenge.get("algorithm") or "MD5"):
            return challenge
    return None


def answer(
    challenge: Challenge,
    username: str,
    method: str,
    uri: str,
    *,
    password: str = "",
    ha1: str = "",
    body: bytes = b"",
    nc: int = 1,
    cnonce: str = "",
) -> str:
    """The value of Authorization or Proxy-Authorization; a given `ha1` goes before `password`."""
    algorithm = challenge.get("algorithm") or "MD5"
    base = algorithm.upper().removesuffix("-SESS")
    realm = challenge.get("realm") or ""
    offered = [option.strip().lower() for option in (challenge.get("qop") or "").split(",")]
    qop = next((option for option in ("auth", "auth-int") if option in offered), "")
    session = base != algorithm.upper()
    fields = {"nonce": challenge.get("nonce") or "", "uri": uri, "algorithm": algorithm}
    if qop or session:
        fields["cnonce"] = cnonce or secrets.token_hex(8)
    if qop:
        fields |= {"qop": qop, "nc": f"{nc:08x}"}
    response = compute(fields, base, ha1 or make_ha1(base, username, realm, password), method, body)
    quoted = {
        "username": username,
        "realm": realm,
        "nonce": fields["nonce"],
        "uri": uri,
        "response": response,
    }
    if "cnonce" in fields:
        quoted["cnonce"] = fields["cnonce"]
    if (opaque := challenge.get("opaque")) is not None:
        quoted["opaque"] = opaque
    parts = [f"{name}={grammar.quote(value)}" for name, value in quoted.items()]
    parts += [f"{name}={fields[name]}" for name in ("algorithm", "qop", "nc") if name in fields]
    return "Digest " + ", ".join(parts)
