"""SASL mechanisms, the server's side (RFC 4422, RFC 4616, RFC 5802, RFC 7677), without a stream around them.

A mechanism is one class with one registration. It is driven with the client's decoded messages and answers
with a `Challenge`, `Success`, or a `SaslFailure` that names what the client hears (RFC 6120 §6.5).

Channel binding is `tls-server-end-point` (RFC 5929 §4). GAP RFC 9266: no `tls-exporter`, the standard
library has none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from presence.address import Address, parse_address
from presence.errors import InvalidAddress
from presence.ports import Accounts, ScramKeys

_MAX_MESSAGE = 4096
"Bytes of one client message; credentials are far shorter."


class SaslFailure(Exception):
    """Authentication ends with `<failure/>` (RFC 6120 §6.5). `why` is for the log only."""

    def __init__(
        self, condition: str, why: str = "", address: Address | None = None, *, text: str = ""
    ) -> None:
        super().__init__(why or condition)
        self.condition = condition
        self.address = address
        "Who tried, as far as it is known."
        self.text = text
        "For the user; empty where the condition says all."


@dataclass(frozen=True, slots=True)
class Challenge:
    data: bytes


@dataclass(frozen=True, slots=True)
class Success:
    address: Address
    data: bytes | None = None
    "Additional data with success (RFC 4422 §3.6)."


Step = Challenge | Success


@dataclass(frozen=True, slots=True)
class SaslContext:
    """What a mechanism may use."""

    accounts: Accounts
    domain: str
    "The stream's: user names are looked up in it."
    offered: frozenset[str] = frozenset()
    "Mechanism names on this stream's list, for downgrade protection (RFC 5802 §6)."
    protects_offer: bool = False
    "Tell clients in SCRAM what the list was (XEP-0474)."
    channel_bindings: Mapping[str, bytes] = field(default_factory=dict)
    fake_secret: bytes = b""
    "Makes the salts of users who do not exist; the same over restarts, or their salts would change."
    fake_iterations: int = 10_000
    nonce: Callable[[], str] = lambda: secrets.token_urlsafe(18)
    admit: Callable[[Address], Awaitable[None]] | None = None
    "Asked before anything is found out about an account. Raises `SaslFailure`."

    async def user(self, name: str) -> Address:
        """The account a user name means. Raises `SaslFailure`."""
        address = _address(name, self.domain)
        if self.admit is not None:
            await self.admit(address)
        return address


class Mechanism(Protocol):
    """One authentication exchange; made anew for each `<auth/>`."""

    async def receive(self, data: bytes) -> Step:
        """The client's next message. Raises `SaslFailure`, and `Unavailable` when accounts cannot be
        asked."""


@dataclass(frozen=True, slots=True)
class Registration:
    name: str
    make: Callable[[SaslContext], Mechanism]
    proof: str
    "The backend's word for it in `Accounts.mechanisms`."
    binding: bool = False
    "Needs channel binding."
    clear: bool = False
    "Shows the password to whoever reads the stream."
    server_first: bool = False
    "The server speaks first; an initial response is refused by the mechanism itself."


REGISTRY: dict[str, Registration] = {}
"Name → mechanism, strongest first: the order in which they are offered."


def register(registration: Registration) -> None:
    REGISTRY[registration.name] = registration


def offer(*, proofs: frozenset[str], wanted: tuple[str, ...], secure: bool, bound: bool) -> list[str]:
    """Names to offer, strongest first.

    `proofs` is what can be checked of this client (`Accounts.offers`), `wanted` what the settings allow,
    `secure` says that nobody can read the stream, `bound` that there is channel binding data.
    """
    return [
        name
        for name, known in REGISTRY.items()
        if known.proof in proofs
        and known.proof in wanted
        and (secure or not known.clear)
        and (bound or not known.binding)
    ]


def decode(text: str) -> bytes | None:
    """The data of `<auth/>` and `<response/>`: None when there is none, empty for `=` (RFC 6120 §6.4.2)."""
    if not text:
        return None
    if text == "=":
        return b""
    if len(text) > _MAX_MESSAGE * 4 // 3:
        raise SaslFailure("malformed-request", "message too long")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SaslFailure("incorrect-encoding", "not base64") from None


def _address(name: str, domain: str) -> Address:
    """The account a user name means: the local part, or the whole address as some clients send it."""
    try:
        address = parse_address(name if "@" in name else f"{name}@{domain}")
    except InvalidAddress:
        raise SaslFailure("not-authorized", "not a user name") from None
    if address.domain != domain or not address.local:
        raise SaslFailure("not-authorized", "another domain's user")
    return address


def check_authzid(authzid: str, address: Address) -> None:
    """Nobody may act for another (RFC 6120 §6.3.8)."""
    if not authzid:
        return
    try:
        same = parse_address(authzid) == address
    except InvalidAddress:
        same = False
    if not same:
        raise SaslFailure("invalid-authzid", address=address)


# --- PLAIN (RFC 4616) -----------------------------------------------------------------------------


class Plain:
    def __init__(self, context: SaslContext) -> None:
        self.context = context

    async def receive(self, data: bytes) -> Step:
        try:
            authzid, authcid, password = data.decode().split("\0")
        except ValueError:
            raise SaslFailure("malformed-request", "authzid NUL authcid NUL password is wanted") from None
        if not authcid or not password:
            raise SaslFailure("malformed-request", "empty user name or password")
        accounts = self.context.accounts
        address = await self.context.user(authcid)
        if not await accounts.check_password(address, password):
            raise SaslFailure("not-authorized", "wrong password or unknown user", address)
        check_authzid(authzid, address)
        account = await accounts.find(address)
        if account is not None and not account.enabled:
            raise SaslFailure("account-disabled", address=address)
        return Success(address)


# --- SCRAM (RFC 5802, RFC 7677) -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Begun:
    """A SCRAM exchange after its first two messages."""

    address: Address
    keys: ScramKeys | None
    expected_binding: bytes
    "gs2 header and channel binding data, as `c=` must repeat them."
    nonce: str
    so_far: str
    "client-first-message-bare and server-first-message."


class Scram:
    """The exchange of RFC 5802 §3 with stored keys; the password never comes here."""

    def __init__(self, context: SaslContext, algorithm: str, plus: bool) -> None:
        self.context = context
        self.algorithm = algorithm
        "As in `Account.scram`: `SHA-1`, `SHA-256`."
        self.plus = plus
        self.digest = algorithm.replace("-", "").lower()
        self._begun: _Begun | None = None

    async def receive(self, data: bytes) -> Step:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise SaslFailure("malformed-request", "not UTF-8") from None
        if self._begun is None:
            return await self._first(text)
        return await self._last(self._begun, text)

    async def _first(self, text: str) -> Step:
        flag, authzid, bare = _split_header(text)
        bound = self._bound_data(flag)
        fields = bare.split(",")
        if len(fields) < 2 or not fields[0].startswith("n=") or not fields[1].startswith("r="):
            raise SaslFailure("malformed-request", "n=,r= are wanted")  # m= is for extensions we have not
        name, client_nonce = unescape(fields[0][2:]), fields[1][2:]
        if not name or not client_nonce or not client_nonce.isprintable():
            raise SaslFailure("malformed-request", "empty user name or nonce")
        address = await self.context.user(name)
        if authzid:
            check_authzid(unescape(authzid), address)
        account = await self.context.accounts.find(address)
        keys = account.scram.get(self.algorithm) if account is not None else None
        shown = keys if keys is not None else self._pretend(address)
        nonce = client_nonce + self.context.nonce()
        salt = base64.b64encode(shown.salt).decode()
        first = f"r={nonce},s={salt},i={shown.iterations}"
        if self.context.protects_offer:
            first += f",h={self._offer_hash()}"
        header = text[: len(text) - len(bare)].encode()
        self._begun = _Begun(address, keys, header + bound, nonce, f"{bare},{first}")
        return Challenge(first.encode())

    def _bound_data(self, flag: str) -> bytes:
        """What the client's certificate view must be: RFC 5802 §6's table of flag and offer."""
        offered_plus = any(name.endswith("-PLUS") for name in self.context.offered)
        if flag == "n" and not self.plus:
            return b""
        if flag == "y" and not self.plus:
            if offered_plus:  # somebody removed our -PLUS from the list the client saw
                raise SaslFailure("not-authorized", "downgrade: the client did not see -PLUS")
            return b""
        if not flag.startswith("p=") or not self.plus:
            raise SaslFailure("malformed-request", "channel binding flag and mechanism disagree")
        bound = self.context.channel_bindings.get(flag[2:])
        if bound is None:
            raise SaslFailure("not-authorized", f"channel binding {flag[2:][:32]} is not supported")
        return bound

    def _offer_hash(self) -> str:
        """XEP-0474 §5.1: the client finds out if somebody changed the lists it saw. Both are sorted by
        octets."""
        text = "\x1e".join(sorted(self.context.offered))
        if self.context.channel_bindings:
            text += "\x1f" + "\x1e".join(sorted(self.context.channel_bindings))
        return base64.b64encode(hashlib.new(self.digest, text.encode()).digest()).decode()

    def _pretend(self, address: Address) -> ScramKeys:
        """Keys for someone without any: the same each time, so that nobody learns who exists (RFC 5802
        §9)."""
        seed = f"{self.algorithm}:{address}".encode()
        salt = hmac.digest(self.context.fake_secret, seed, "sha256")[:16]
        return ScramKeys(salt=salt, iterations=self.context.fake_iterations, stored_key=b"", server_key=b"")

    async def _last(self, begun: _Begun, text: str) -> Step:
        address, keys = begun.address, begun.keys
        without_proof, comma, proof_field = text.rpartition(",p=")
        fields = without_proof.split(",")
        if not comma or len(fields) < 2 or not fields[0].startswith("c=") or not fields[1].startswith("r="):
            raise SaslFailure("malformed-request", "c=,r=,p= are wanted", address)
        try:
            proof = base64.b64decode(proof_field, validate=True)
            binding = base64.b64decode(fields[0][2:], validate=True)
        except (binascii.Error, ValueError):
            raise SaslFailure("malformed-request", "not base64", address) from None
        bound_as_expected = hmac.compare_digest(binding, begun.expected_binding)
        same_nonce = hmac.compare_digest(fields[1][2:].encode(), begun.nonce.encode())
        message = f"{begun.so_far},{without_proof}".encode()
        right = self._proves(keys or _NO_KEYS[self.algorithm], message, proof)
        if not (bound_as_expected and same_nonce and right and keys is not None):
            raise SaslFailure("not-authorized", "wrong proof", address)
        account = await self.context.accounts.find(address)
        if account is None or account.scram.get(self.algorithm) != keys:
            raise SaslFailure("not-authorized", "the password has just been changed", address)
        if not account.enabled:
            raise SaslFailure("account-disabled", address=address)
        signature = hmac.digest(keys.server_key, message, self.digest)
        return Success(address, b"v=" + base64.b64encode(signature))

    def _proves(self, keys: ScramKeys, message: bytes, proof: bytes) -> bool:
        signature = hmac.digest(keys.stored_key, message, self.digest)
        if len(proof) != len(signature):
            return False
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        return hmac.compare_digest(hashlib.new(self.digest, client_key).digest(), keys.stored_key)


def _split_header(text: str) -> tuple[str, str, str]:
    """gs2-cbind-flag, authzid (escaped), and client-first-message-bare (RFC 5802 §7)."""
    parts = text.split(",", 2)
    if len(parts) != 3 or not (parts[0] in ("n", "y") or (parts[0].startswith("p=") and len(parts[0]) > 2)):
        raise SaslFailure("malformed-request", "no gs2 header")
    if parts[1] and not parts[1].startswith("a="):
        raise SaslFailure("malformed-request", "no gs2 header")
    return parts[0], parts[1][2:], parts[2]


def unescape(name: str) -> str:
    """saslname (RFC 5802 §5.1): `=2C` is a comma, `=3D` an equals sign, any other `=` an error."""
    pieces = name.split("=")
    for piece in pieces[1:]:
        if not piece.startswith(("2C", "3D")):
            raise SaslFailure("malformed-request", "'=' in a user name is written =3D")
    return pieces[0] + "".join(("," if piece[:2] == "2C" else "=") + piece[2:] for piece in pieces[1:])


_NO_KEYS = {
    "SHA-1": ScramKeys(salt=b"", iterations=0, stored_key=bytes(20), server_key=bytes(20)),
    "SHA-256": ScramKeys(salt=b"", iterations=0, stored_key=bytes(32), server_key=bytes(32)),
    "SHA-512": ScramKeys(salt=b"", iterations=0, stored_key=bytes(64), server_key=bytes(64)),
}
"Compared with for users without keys, so that they take as long; no proof can match them."


def _scram(algorithm: str, plus: bool) -> Registration:
    name = f"SCRAM-{algorithm}"
    return Registration(
        f"{name}-PLUS" if plus else name,
        lambda context: Scram(context, algorithm, plus),
        proof=name,
        binding=plus,
    )


register(_scram("SHA-512", plus=True))
register(_scram("SHA-256", plus=True))
register(_scram("SHA-1", plus=True))
register(_scram("SHA-512", plus=False))
register(_scram("SHA-256", plus=False))
register(_scram("SHA-1", plus=False))
register(Registration("PLAIN", Plain, proof="PLAIN", clear=True))
