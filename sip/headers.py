"""Values of header fields: one frozen class each, with `parse` and `__str__` (RFC 3261 §20, RFC 6665 §8.2).

A parsed value is written back byte for byte; one that was built or changed is written in the canonical form.
Every `parse` raises `grammar.Malformed` (or `BadUri`); the message classes turn that into a `BadHeader`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Self

import msgspec

from sip import grammar
from sip.grammar import Malformed, Parameters
from sip.uri import Uri, parse_hostport, parse_uri, write_hostport

MAX_CSEQ = 2**31 - 1
"RFC 3261 §8.1.1.5."
_METHODS = frozenset(("MESSAGE", "PUBLISH", "NOTIFY", "SUBSCRIBE", "REGISTER", "OPTIONS"))
"What the fast way knows."
_CACHEABLE = 256
"Characters of a text that is remembered with what it means."


class Via(msgspec.Struct, frozen=True, eq=False):
    """One hop (RFC 3261 §20.42)."""

    transport: str
    "Upper case: UDP, TCP, TLS, WS, WSS."
    host: str
    "Lower case; an IPv6 address without its brackets."
    port: int | None = None
    parameters: Parameters = ()
    _text: str = ""

    @classmethod
    def parse(cls, text: str) -> Via:
        return _framed(text, "", 0) or _parse_via(text)

    @property
    def branch(self) -> str:
        return grammar.find_parameter(self.parameters, "branch") or ""

    @property
    def received(self) -> str:
        """Address the request came from, without brackets. Whoever stamps puts it behind what was there."""
        return (grammar.find_parameter(self.parameters[::-1], "received") or "").strip("[]")

    @property
    def rport(self) -> int | None:
        """Port the request came from (RFC 3581); 0 when asked for and not yet filled in."""
        value = grammar.find_parameter(self.parameters, "rport")
        if value is None:
            return None
        return int(value) if grammar.DIGITS.fullmatch(value) and int(value) <= 65535 else 0

    @property
    def hostport(self) -> str:
        """The sent-by (RFC 3261 §18.1.1)."""
        return write_hostport(self.host, self.port)

    def parameter(self, name: str) -> str | None:
        return grammar.find_parameter(self.parameters, name)

    def with_parameter(self, name: str, value: str | None = None) -> Via:
        parameters = grammar.replace_parameter(self.parameters, name, value)
        return Via(self.transport, self.host, self.port, parameters)

    def stamped(self, host: str, port: int) -> Via:
        """With `received` and `rport` from the packet's source (RFC 3261 §18.2.1, RFC 3581 §4)."""
        return _framed(self._text, host, port) or _stamped(self, host, port)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Via) and _said(self) == _said(other)

    def __ne__(self, other: object) -> bool:
        return not self == other  # a Struct has one of its own, which does not ask `__eq__`

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        if self._text:
            return self._text
        return f"SIP/2.0/{self.transport} {self.hostport}{grammar.write_parameters(self.parameters)}"


def _said(value: Via | NameAddr) -> tuple[object, ...]:
    """All but how it was written."""
    return msgspec.structs.astuple(value)[:-1]


def _parse_via(text: str) -> Via:
    sent, semicolon, parameters = text.partition(";")
    transport, host, port = _parse_sent(sent) if len(sent) > _CACHEABLE else _sent(sent)
    return Via(transport, host, port, grammar.parse_parameters(";" + parameters) if semicolon else (), text)


def _stamped(via: Via, host: str, port: int) -> Via:
    parameters, asked, told = [], False, False
    for pair in via.parameters:
        name = pair[0].lower()
        if name == "rport":
            asked = True
            pair = (pair[0], str(port))
        elif name == "received":
            told = told or bool(pair[1])
            continue
        parameters.append(pair)
    if not asked and not told and host == via.host:
        return via
    return Via(via.transport, via.host, via.port, (*parameters, ("received", host)))


class _Frame(NamedTuple):
    """What the Vias of one peer have in common: all but the branch."""

    before: str
    behind: str
    transport: str
    host: str
    port: int | None
    parameters_before: Parameters
    parameters_behind: Parameters


_ANY = "\0"
"Stands for a branch; none has it, and nothing else."


@lru_cache(maxsize=4096)
def _frame(before: str, behind: str, host: str, port: int) -> _Frame:
    """Around the first branch of a Via, stamped if there is a `host`."""
    via = _parse_via(f"{before};branch={_ANY}{behind}")
    if host:
        via = _stamped(via, host, port)
    at = via.parameters.index(("branch", _ANY))
    before, _, behind = str(via).partition(f";branch={_ANY}")
    parameters = via.parameters
    return _Frame(before, behind, via.transport, via.host, via.port, parameters[:at], parameters[at + 1 :])


def _framed(text: str, host: str, port: int) -> Via | None:
    """A Via by its frame, stamped if there is a `host`; None where it is not in the usual spelling."""
    before, mark, rest = text.partition(";branch=")
    branch, semicolon, behind = rest.partition(";")
    if not mark or len(text) > _CACHEABLE or '"' in text or not grammar.is_token(branch):
        return None
    frame = _frame(before, semicolon + behind, host, port)
    return Via(
        frame.transport,
        frame.host,
        frame.port,
        (*frame.parameters_before, ("branch", branch), *frame.parameters_behind),
        f"{frame.before};branch={branch}{frame.behind}",
    )


def _parse_sent(sent: str) -> tuple[str, str, int | None]:
    """Transport, host and port of a Via."""
    protocol, _, place = sent.strip().partition(" ")
    if protocol[:8].upper() == "SIP/2.0/" and "/" not in place:
        transport = protocol[8:]
    else:
        transport, place = _spaced_protocol(sent)
    if not grammar.is_token(transport):
        raise Malformed("no transport")
    place = place.strip()
    if " " in place or "\t" in place:
        place = place.replace(" ", "").replace("\t", "")
    host, port = parse_hostport(place)
    return transport.upper(), host, port


_sent = lru_cache(maxsize=4096)(_parse_sent)


def _spaced_protocol(sent: str) -> tuple[str, str]:
    """`SIP / 2.0 / UDP host`: the grammar allows white space around the slashes."""
    parts = [part.strip() for part in sent.split("/", 2)]
    if len(parts) != 3 or parts[0].upper() != "SIP" or parts[1] != "2.0":
        raise Malformed("unknown protocol")
    transport, *places = parts[2].split(None, 1) or [""]
    if not places:
        raise Malformed("no transport and sent-by")
    return transport, places[0]


class NameAddr(msgspec.Struct, frozen=True, eq=False):
    """From, To, Contact, Route, Record-Route, Path, P-Asserted-Identity and their like (RFC 3261 §20.10)."""

    uri: Uri
    display: str = ""
    "Without quotes and escapes."
    parameters: Parameters = ()
    _text: str = ""

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        # most: the same person as before, and a tag of its own each time
        if len(text) <= _CACHEABLE and text.count(">") == 1 and "<" in text:
            address, _, rest = text.partition(">")
            uri, display, _ = _address(address + ">")
        else:
            uri, display, rest = _parse_name_addr(text)
        if not rest:
            return cls(uri, display, (), text)
        if rest[:5] == ";tag=" and grammar.is_token(rest[5:]):
            return cls(uri, display, (("tag", rest[5:]),), text)
        return cls(uri, display, grammar.parse_parameters(rest), text)

    @property
    def tag(self) -> str:
        """Empty when there is none."""
        return self.parameter("tag") or ""

    @property
    def expires(self) -> int | None:
        """Seconds, None when absent. What is no number means 3600 (RFC 3261 §10.2.1.1)."""
        value = self.parameter("expires")
        if value is None:
            return None
        if not value.isascii() or not value.isdigit():
            return 3600
        return min(int(value[:11]), 2**32 - 1)

    def parameter(self, name: str) -> str | None:
        """Unquoted value of a header parameter; empty for a flag; None when absent."""
        return grammar.find_parameter(self.parameters, name)

    def with_parameter(self, name: str, value: str | None = None) -> NameAddr:
        """With `name` set; quote the value yourself where its grammar wants that."""
        return NameAddr(self.uri, self.display, grammar.replace_parameter(self.parameters, name, value))

    def without_parameter(self, name: str) -> NameAddr:
        return NameAddr(self.uri, self.display, grammar.drop_parameter(self.parameters, name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NameAddr) and _said(self) == _said(other)

    def __ne__(self, other: object) -> bool:
        return not self == other  # a Struct has one of its own, which does not ask `__eq__`

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        if self._text:
            return self._text
        shown = ""
        if self.display:
            shown = (
                f"{self.display} "
                if all(map(grammar.is_token, self.display.split(" ")))
                else grammar.quote(self.display) + " "
            )
        return f"{shown}<{self.uri}>{grammar.write_parameters(self.parameters)}"


def _parse_name_addr(text: str) -> tuple[Uri, str, str]:
    """URI, display name, and the parameters' text."""
    display = ""
    if text[:1] == '"':
        end = grammar.closing_quote(text, 0)
        display = grammar.unquote(text[: end + 1])
        opening = text.find("<", end)
        if opening < 0 or text[end + 1 : opening].strip():
            raise Malformed("no address behind the display name")
    else:
        opening = text.find("<")
        if opening > 0:
            display = text[:opening].strip()
    if opening < 0:
        address, semicolon, rest = text.partition(";")
        # RFC 3261 §20: question mark, comma and semicolon belong into angle brackets.
        if "?" in address or "," in address:
            raise Malformed("address needs angle brackets")
        rest = semicolon + rest
    else:
        closing = text.find(">", opening)
        if closing < 0 or ('"' in display and text[:1] != '"'):
            raise Malformed("unbalanced bracket")
        address, rest = text[opening + 1 : closing], text[closing + 1 :]
    return parse_uri(address.strip()), display, rest


_address = lru_cache(maxsize=4096)(_parse_name_addr)


class CSeq(msgspec.Struct, frozen=True):
    """RFC 3261 §20.16."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> Self:
        number, _, method = text.partition(" ")
        if method in _METHODS and len(number) < 10 and number.isascii() and number.isdigit():
            return cls(int(number), method)
        parts = text.split()
        if len(parts) != 2 or not grammar.is_token(parts[1]):
            raise Malformed("not a number and a method")
        number, method = parts
        # A leading zero is allowed and leading zeros are unbounded (RFC 4475 §3.1.1.1 has eight).
        digits = number.lstrip("0") or number[-1:]
        return cls(grammar.parse_number(digits, MAX_CSEQ), method)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


@dataclass(frozen=True, slots=True)
class Valued:
    """A token with parameters: the shape of Event, Content-Type, Accept and many others."""

    value: str
    "Lower case."
    parameters: Parameters = ()
    _text: str = field(default="", init=False, repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        value, semicolon, rest = text.partition(";")
        value = cls._checked(value.strip().lower())
        parsed = cls(value, grammar.parse_parameters(semicolon + rest) if rest else ())
        object.__setattr__(parsed, "_text", text)
        return parsed

    @classmethod
    def _checked(cls, value: str) -> str:
        if not grammar.is_token(value):
            raise Malformed("no value")
        return value

    def parameter(self, name: str) -> str | None:
        """Unquoted value; empty for a flag; None when absent."""
        return grammar.find_parameter(self.parameters, name)

    def __str__(self) -> str:
        return self._text or self.value + grammar.write_parameters(self.parameters)


@dataclass(frozen=True, slots=True)
class Event(Valued):
    """RFC 6665 §8.2.1."""

    @property
    def package(self) -> str:
        """With its templates: `presence.winfo`."""
        return self.value

    @property
    def id(self) -> str:
        return self.parameter("id") or ""


@dataclass(frozen=True, slots=True)
class SubscriptionState(Valued):
    """RFC 6665 §8.2.3; `value` is active, pending, terminated or an extension."""

    @property
    def reason(self) -> str:
        return (self.parameter("reason") or "").lower()

    @property
    def expires(self) -> int | None:
        return _seconds(self.parameter("expires"))

    @property
    def retry_after(self) -> int | None:
        return _seconds(self.parameter("retry-after"))


def _seconds(text: str | None) -> int | None:
    return min(int(text[:11]), 2**32 - 1) if text and text.isascii() and text.isdigit() else None


@dataclass(frozen=True, slots=True)
class MediaType(Valued):
    """Content-Type (RFC 3261 §20.15) and the ranges of Accept (§20.1); `value` is `type/subtype`."""

    @classmethod
    def _checked(cls, value: str) -> str:
        kind, slash, subtype = (part.strip() for part in value.partition("/"))
        if not slash or not grammar.is_token(kind) or not grammar.is_token(subtype):
            raise Malformed("no media type")
        return f"{kind}/{subtype}"

    @property
    def charset(self) -> str:
        """Lower case; UTF-8 is SIP's default (RFC 3261 §7.4.1)."""
        return (self.parameter("charset") or "utf-8").lower()

    @property
    def q(self) -> float:
        """Preference, 0.0 to 1.0; 0 refuses."""
        try:
            return min(max(float(self.parameter("q") or 1.0), 0.0), 1.0)
        except ValueError:
            return 1.0

    def includes(self, media_type: str) -> bool:
        """Whether a range takes `type/subtype`; a range with q=0 takes nothing."""
        kind, _, subtype = self.value.partition("/")
        other_kind, _, other_subtype = media_type.lower().partition("/")
        return self.q > 0 and kind in ("*", other_kind) and subtype in ("*", other_subtype)


class Authentication(msgspec.Struct, frozen=True):
    """A challenge or credentials: a scheme and its comma-separated parameters (RFC 7616 §3.3, §3.4).

    Lenient: what ought to be quoted may come bare and the other way round; names and the scheme in any case.
    """

    scheme: str
    "Lower case."
    fields: dict[str, str]
    "Lower-case name → unquoted value. A field that stands twice is malformed."

    @classmethod
    def parse(cls, text: str) -> Self:
        scheme, _, rest = text.strip().partition(" ")
        if not grammar.is_token(scheme):
            raise Malformed("no scheme")
        fields = _plain_fields(rest)
        if fields is not None:
            return cls(scheme.lower(), fields)
        fields = {}
        for part in grammar.split_quoted(rest, ","):
            name, equals, value = part.partition("=")
            name = name.strip().lower()
            if not equals and not name:
                continue
            if not equals or not grammar.is_token(name) or name in fields:
                raise Malformed("malformed field")
            fields[name] = grammar.unquote(value.strip())
        return cls(scheme.lower(), fields)

    def get(self, name: str) -> str | None:
        return self.fields.get(name)


_QUOTED = frozenset(("username", "realm", "nonce", "uri", "response", "cnonce", "opaque"))
_BARE = frozenset(("algorithm", "qop", "nc"))


def _plain_fields(text: str) -> dict[str, str] | None:
    """The usual spelling, `name="value", name=value`, without blanks, commas and escapes in the values; None
    when a closer look is needed."""
    parts = text.split(", ")
    gaps = len(parts) - 1
    if text.count(" ") != gaps or text.count(",") != gaps or "\\" in text or "\t" in text:
        return None
    fields: dict[str, str] = {}
    quotes = 0
    for part in parts:
        name, _, value = part.partition("=")
        if name in _QUOTED:
            if len(value) < 2 or value[0] != '"' or value[-1] != '"':
                return None
            quotes += 2
            fields[name] = value[1:-1]
        elif name in _BARE and value:
            fields[name] = value
        else:
            return None
    return fields if len(fields) == len(parts) and text.count('"') == quotes else None


class Challenge(Authentication, frozen=True):
    """WWW-Authenticate, Proxy-Authenticate."""


class Credentials(Authentication, frozen=True):
    """Authorization, Proxy-Authorization."""
