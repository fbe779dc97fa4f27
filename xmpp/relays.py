"""STUN and TURN servers as settings name them (RFC 7064, RFC 7065), and their time-limited credentials.

The credentials are those coturn and reTurn take with a shared secret (draft-uberti-behave-turn-rest): the
name says until when, and whom for; the password is its HMAC-SHA-1.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
from dataclasses import dataclass

_PORTS = {"stun": 3478, "stuns": 5349, "turn": 3478, "turns": 5349}
_TRANSPORTS = {"udp", "tcp"}


@dataclass(frozen=True, slots=True)
class Relay:
    kind: str
    "stun, stuns, turn, turns."
    host: str
    port: int
    transport: str

    @property
    def needs_credentials(self) -> bool:
        return self.kind.startswith("turn")


@dataclass(frozen=True, slots=True)
class Ticket:
    """Credentials that end by themselves."""

    username: str
    password: str
    expires: int
    "Unix seconds."


def parse_relay(text: str) -> Relay:
    """`turn:HOST[:PORT][?transport=udp|tcp]`. Raises `ValueError`."""
    kind, colon, rest = text.partition(":")
    where, question, query = rest.partition("?")
    if not colon or kind not in _PORTS:
        raise ValueError(f"stun:, stuns:, turn: or turns: is wanted, not {text!r}")
    transport = "tcp" if kind in ("stuns", "turns") else "udp"
    if question:
        name, _, transport = query.partition("=")
        if name != "transport" or transport not in _TRANSPORTS:
            raise ValueError(f"?transport=udp or ?transport=tcp is wanted, not {text!r}")
    host, port = _split(where, text)
    return Relay(kind, host, port or _PORTS[kind], transport)


def _split(where: str, text: str) -> tuple[str, int]:
    if where.startswith("["):
        host, bracket, rest = where[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"write an IPv6 address in brackets, not {text!r}")
        number = rest[1:]
    else:
        host, _, number = where.partition(":")
    if not host or (number and not (number.isascii() and number.isdigit() and 0 < int(number) < 65536)):
        raise ValueError(f"HOST or HOST:PORT is wanted, not {text!r}")
    return host, int(number or 0)


def record(relay: Relay, domain: str) -> str:
    """The SRV record with which others than XMPP clients find it (RFC 8489 §8, RFC 5928 §3): a zone file's
    line. Empty for an address, which no such record can name."""
    try:
        ipaddress.ip_address(relay.host)
    except ValueError:
        return f"_{relay.kind}._{relay.transport}.{domain}. IN SRV 0 0 {relay.port} {relay.host}."
    return ""


def issue(secret: str, user: str, lifetime: int, now: float) -> Ticket:
    """A ticket for a user, good for `lifetime` seconds."""
    expires = int(now) + lifetime
    username = f"{expires}:{user}"
    made = hmac.digest(secret.encode(), username.encode(), "sha1")
    return Ticket(username, base64.b64encode(made).decode(), expires)
