"""SIP on the wire, as far as a test phone needs it (RFC 3261 §7, §22).

Written apart from `sip/` on purpose: a test that parses with the parser it tests would share its mistakes.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

COMPACT = {
    "i": "call-id", "m": "contact", "e": "content-encoding", "l": "content-length", "c": "content-type",
    "f": "from", "s": "subject", "k": "supported", "t": "to", "v": "via", "o": "event", "u": "allow-events",
}  # fmt: skip


@dataclass(slots=True)
class SipMessage:
    """A request or a response. Header values are kept as they came, folded lines joined."""

    start: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    @property
    def is_response(self) -> bool:
        return self.start.startswith("SIP/2.0 ")

    @property
    def status(self) -> int:
        return int(self.start.split(" ", 2)[1]) if self.is_response else 0

    @property
    def method(self) -> str:
        return self.cseq[1] if self.is_response else self.start.split(" ", 1)[0]

    @property
    def uri(self) -> str:
        return self.start.split(" ")[1]

    @property
    def cseq(self) -> tuple[int, str]:
        number, method = self["CSeq"].split()
        return int(number), method

    @property
    def branch(self) -> str:
        return parameter(self.all("Via")[0].split(",")[0], "branch")

    @property
    def text(self) -> str:
        return self.body.decode()

    def get(self, name: str) -> str:
        """First value of a header, or an empty string."""
        values = self.all(name)
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        name = name.lower()
        return [value for key, value in self.headers if COMPACT.get(key.lower(), key.lower()) == name]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        assert values, f"no {name} header in\n{self}"
        return values[0]

    def __str__(self) -> str:
        return self.encode().decode(errors="backslashreplace").replace("\r\n", "\n").strip()

    def encode(self) -> bytes:
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        if not self.all("Content-Length"):
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def parse(data: bytes) -> SipMessage:
    """One whole message."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines: list[str] = []
    for line in head.decode().split("\r\n"):
        if line[:1] in (" ", "\t") and lines:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    headers = [
        (name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])
    ]
    message = SipMessage(lines[0], headers, body)
    length = message.get("Content-Length")
    if length:
        assert len(body) >= int(length), f"the body is shorter than its Content-Length:\n{message}"
        message.body = body[: int(length)]
    return message


class Framer:
    """Cuts a stream into messages by Content-Length (RFC 3261 §18.3)."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[SipMessage]:
        self._buffer += data
        found: list[SipMessage] = []
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n")
            head, separator, _ = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return found
            size = len(head) + len(separator) + _length(head)
            if len(self._buffer) < size:
                return found
            found.append(parse(self._buffer[:size]))
            self._buffer = self._buffer[size:]


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() in (b"content-length", b"l"):
            return int(value)
    raise AssertionError(f"a stream message without Content-Length:\n{head.decode(errors='replace')}")


def parameter(value: str, name: str) -> str:
    """A header parameter's value, unquoted; empty when absent."""
    outside = value.rpartition(">")[2] if ">" in value else value
    for part in outside.split(";")[1:]:
        key, _, content = part.partition("=")
        if key.strip().lower() == name.lower():
            return content.strip().strip('"')
    return ""


def address(value: str) -> str:
    """The URI of a name-addr or addr-spec."""
    if "<" in value:
        return value.partition("<")[2].partition(">")[0]
    return value.partition(";")[0].strip()


def challenge(value: str) -> dict[str, str]:
    """Parameters of a `Digest ...` header; quoted strings may hold commas."""
    scheme, _, rest = value.partition(" ")
    assert scheme.lower() == "digest", value
    found: dict[str, str] = {}
    while rest:
        name, _, rest = rest.lstrip(" ,").partition("=")
        if rest.startswith('"'):
            content, _, rest = rest[1:].partition('"')
        else:
            content, _, rest = rest.partition(",")
        found[name.strip().lower()] = content.strip()
    return found


def credentials(
    challenges: Sequence[str],
    *,
    method: str,
    uri: str,
    user: str,
    password: str,
    algorithms: Sequence[str] = ("SHA-256", "MD5"),
    qop: bool = True,
    cnonce: str = "",
) -> str:
    """The answer to the best of the challenges (RFC 7616 §3.4; without `qop`, RFC 2069's)."""
    offered = {c.get("algorithm", "MD5").upper(): c for c in map(challenge, challenges)}
    algorithm = next(name for name in algorithms if name in offered)
    ask = offered[algorithm]

    def hashed(text: str) -> str:
        return hashlib.new(algorithm.replace("-", "").lower(), text.encode()).hexdigest()

    ha1 = hashed(f"{user}:{ask['realm']}:{password}")
    ha2 = hashed(f"{method}:{uri}")
    parts = [f'username="{user}"', f'realm="{ask["realm"]}"', f'nonce="{ask["nonce"]}"', f'uri="{uri}"']
    if qop and "auth" in ask.get("qop", ""):
        cnonce = cnonce or secrets.token_hex(8)
        response = hashed(f"{ha1}:{ask['nonce']}:00000001:{cnonce}:auth:{ha2}")
        parts += [f'response="{response}"', "qop=auth", "nc=00000001", f'cnonce="{cnonce}"']
    else:
        response = hashed(f"{ha1}:{ask['nonce']}:{ha2}")
        parts.append(f'response="{response}"')
    if "algorithm" in ask:
        parts.append(f"algorithm={algorithm}")
    if "opaque" in ask:
        parts.append(f'opaque="{ask["opaque"]}"')
    return "Digest " + ", ".join(parts)
