"""reTurn's `users.txt`: `login:password-or-HA1:realm:state`, and htdigest's `login:realm:HA1`.

A password may contain colons: login is what stands before the first one, realm and state what stands behind
the last two. States are `authorized`, `refused` and `restricted` (which limits a relay's bandwidth, not who
may log in), in any case; none means authorized. A line that cannot be read costs only itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from presence.address import Address, canonical_domain, canonical_local
from presence.edge.accounts.proofs import ha1
from presence.errors import InvalidAddress
from presence.ports import Account, DigestAlgorithm

Secrets = Literal["auto", "ha1", "plain"]
STATES = frozenset({"authorized", "refused", "restricted", ""})
MAX_LINE = 4096
MAX_PROBLEMS = 100
"Broken lines told one by one."
_HA1 = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)


class Entry(msgspec.Struct, frozen=True):
    """One readable line. Only one of `ha1` and `password` is set."""

    address: Address
    login: str
    realm: str
    state: str
    ha1: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Entry({self.address}, {self.state})"  # a traceback shows no secret

    @property
    def enabled(self) -> bool:
        return self.state != "refused"

    def account(self) -> Account:
        """With all the proofs the line can give."""
        spelling = f"{self.login}:{self.realm}"
        if self.password:
            digests = {a.value: ha1(self.address, self.password, a) for a in DigestAlgorithm}
            return Account(
                address=self.address,
                enabled=self.enabled,
                ha1=digests,
                spelling=spelling,
                password=self.password,
            )
        same_realm = self.realm.lower() == self.address.domain
        return Account(
            address=self.address,
            enabled=self.enabled,
            ha1={DigestAlgorithm.MD5.value: self.ha1} if same_realm else {},
            own_ha1=self.ha1,
            spelling=spelling,
        )


@dataclass(frozen=True, slots=True)
class Problem:
    line: int
    "Counted from 1."
    text: str
    "What is wrong; never what the line says."


@dataclass(slots=True)
class Parsed:
    entries: dict[Address, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: int = 0
    "How many lines were skipped; `problems` has the first of them."

    def skip(self, line: int, text: str) -> None:
        self.broken += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(line, text))


class Broken(ValueError):
    """A line that cannot be read."""


def parse_users(
    data: bytes, *, secrets: Secrets = "auto", domains: Mapping[str, str] | None = None
) -> Parsed:
    """The whole file. `domains`: realm → domain, where they differ. Of two lines for one person the first
    counts."""
    parsed = Parsed()
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        line = raw.strip()
        if not line or line.startswith((b"#", b";")):
            continue
        try:
            entry = parse_line(line, secrets, domains or {})
        except Broken as broken:
            parsed.skip(number, str(broken))
            continue
        if parsed.entries.setdefault(entry.address, entry) is not entry:
            parsed.skip(number, f"a second line for {entry.address}")
    return parsed


def parse_line(line: bytes, secrets: Secrets, domains: Mapping[str, str]) -> Entry:
    """One line without its end. Raises `Broken`."""
    login, realm, state, secret, hashed = _split(_decode(line), secrets)
    if not login or not realm or not secret:
        raise Broken("login, password and realm must not be empty")
    name, at, domain = login.partition("@")
    if not name:
        raise Broken("there is nothing before the @")
    try:
        domain = domain if at else realm
        address = Address(canonical_local(name), canonical_domain(domains.get(domain, domain)))
    except InvalidAddress as error:
        raise Broken(f"login and realm make no address: {error}") from None
    if hashed:
        return Entry(address, login, realm, state, ha1=secret.lower())
    return Entry(address, login, realm, state, password=secret)


def _decode(line: bytes) -> str:
    if len(line) > MAX_LINE:
        raise Broken("the line is too long")
    if b"\0" in line:
        raise Broken("there is a NUL in the line")
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _split(line: str, secrets: Secrets) -> tuple[str, str, str, str, bool]:
    """login, realm, state, secret, whether the secret is an HA1."""
    fields = line.split(":")
    if len(fields) in (3, 4) and secrets != "plain" and is_ha1(fields[2]) and not is_ha1(fields[1]):
        login, realm, secret = fields[0], fields[1], fields[2]
        return login.strip(), realm.strip(), _state(fields[3] if len(fields) == 4 else ""), secret, True
    if len(fields) < 4:
        raise Broken("login:password:realm:state is wanted")
    login, secret, realm, state = fields[0], ":".join(fields[1:-2]), fields[-2], _state(fields[-1])
    hashed = secrets == "ha1" or (secrets == "auto" and is_ha1(secret))
    if hashed and not is_ha1(secret):
        raise Broken("the second field is not an HA1 (32 hexadecimal digits)")
    return login.strip(), realm.strip(), state, secret, hashed


def _state(text: str) -> str:
    state = text.strip().lower()
    if state not in STATES:
        raise Broken("the state is none of authorized, refused, restricted")
    return state


def is_ha1(text: str) -> bool:
    return len(text) == 32 and _HA1.fullmatch(text) is not None


def write_users(accounts: Iterable[Account]) -> Iterator[str]:
    """Lines as the TURN server reads them, one per account that has an MD5 HA1."""
    for account in accounts:
        login, _, realm = account.spelling.partition(":")
        hashed = account.own_ha1 or account.ha1.get(DigestAlgorithm.MD5, "")
        if not account.own_ha1:
            login, realm = account.address.local, account.address.domain
        if hashed:
            yield f"{login}:{hashed}:{realm}:{'authorized' if account.enabled else 'refused'}"
