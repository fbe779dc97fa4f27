"""URIs: sip and sips (RFC 3261 §19.1), tel (RFC 3966), im (RFC 3860), pres (RFC 3859); others stay opaque.

Lenient: non-ASCII text, underscores in host names. Strict: no white space, controls, quotes or angle
brackets; an IPv6 address needs its brackets, a port its range.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import unquote_to_bytes

from sip import grammar
from sip.errors import BadUri

_FORBIDDEN = re.compile(r'[\x00-\x20<>"\x7f]')
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_HOST = re.compile(r"[\w.\-]+")
_PORT = re.compile(r"[0-9]{1,5}")
_HIERARCHICAL = frozenset(("sip", "sips", "pres", "im"))
_MUST_AGREE = ("user", "ttl", "method", "maddr", "transport")
"Parameters that may not stand in one URI only (RFC 3261 §19.1.4)."
_MAX_LENGTH = 2048
_CACHEABLE = 256


@dataclass(frozen=True, slots=True)
class Uri:
    """A parsed URI. Two are `==` when all parts are; see `equivalent` for the meaning of RFC 3261."""

    scheme: str
    "Lower case."
    user: str = ""
    "As written, percent-escapes included; the number of a tel URI; all of an opaque URI behind its scheme."
    host: str = ""
    "Lower case; an IPv6 address without its brackets; empty for tel and opaque URIs."
    port: int | None = None
    parameters: grammar.Parameters = ()
    headers: str = ""
    "Behind the question mark, as it was written."
    password: str = ""
    _text: str = field(default="", init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        return hash((self.user, self.host))

    @property
    def secure(self) -> bool:
        return self.scheme == "sips"

    @property
    def hostport(self) -> str:
        """`host[:port]` as it stands in a URI or a Via."""
        return write_hostport(self.host, self.port)

    def parameter(self, name: str) -> str | None:
        """Value of a URI parameter; empty for a flag; None when absent."""
        return grammar.find_parameter(self.parameters, name)

    def with_parameter(self, name: str, value: str | None = None) -> Uri:
        """With `name` set; None makes it a flag."""
        return self._with(grammar.replace_parameter(self.parameters, name, value))

    def without_parameter(self, name: str) -> Uri:
        return self._with(grammar.drop_parameter(self.parameters, name))

    def _with(self, parameters: grammar.Parameters) -> Uri:
        return Uri(self.scheme, self.user, self.host, self.port, parameters, self.headers, self.password)

    def __str__(self) -> str:
        return self._text or self._written()

    def _written(self) -> str:
        userinfo = f"{self.user}:{self.password}" if self.password else self.user
        at = "@" if userinfo and self.host else ""
        headers = f"?{self.headers}" if self.headers else ""
        return (
            f"{self.scheme}:{userinfo}{at}{self.hostport}{grammar.write_parameters(self.parameters)}{headers}"
        )


def parse_uri(text: str) -> Uri:
    """A URI from its text, which `str` gives back byte for byte. Raises `BadUri`."""
    if len(text) <= _CACHEABLE:
        return _parse_cached(text)
    if len(text) > _MAX_LENGTH:
        raise BadUri("too long")
    return _parse(text)


def request_uri(text: str) -> Uri:
    """A Contact's URI as a Request-URI: without `?headers` and `method`, which have no place there (RFC 3261
    §19.1.1, table 1). Raises `BadUri`."""
    return _request_uri_cached(text) if len(text) <= _CACHEABLE else _request_uri(text)


def _request_uri(text: str) -> Uri:
    uri = parse_uri(text)
    if uri.headers:
        uri = Uri(uri.scheme, uri.user, uri.host, uri.port, uri.parameters, password=uri.password)
    return uri if uri.parameter("method") is None else uri.without_parameter("method")


_request_uri_cached = lru_cache(maxsize=4096)(_request_uri)


def _parse(text: str) -> Uri:
    if _FORBIDDEN.search(text) is not None:
        raise BadUri("forbidden character")
    scheme, colon, rest = text.partition(":")
    if not colon or _SCHEME.fullmatch(scheme) is None:
        raise BadUri("no scheme")
    if not rest:
        raise BadUri("nothing behind the scheme")
    scheme = scheme.lower()
    if scheme in _HIERARCHICAL:
        uri = _parse_hierarchical(scheme, rest)
    elif scheme == "tel":
        number, semicolon, parameters = rest.partition(";")
        uri = Uri(scheme, number, parameters=_parse_parameters(parameters) if semicolon else ())
    else:
        uri = Uri(scheme, rest)
    object.__setattr__(uri, "_text", text)
    return uri


_parse_cached = lru_cache(maxsize=4096)(_parse)


def _parse_hierarchical(scheme: str, rest: str) -> Uri:
    userinfo, at, place = rest.partition("@")
    if not at:
        userinfo, place = "", rest
    user, _, password = userinfo.partition(":")
    if at and not user:
        raise BadUri("empty user")
    place, _, headers = place.partition("?")
    hostport, semicolon, parameters = place.partition(";")
    try:
        host, port = parse_hostport(hostport)
    except grammar.Malformed as error:
        raise BadUri(str(error)) from None
    return Uri(
        scheme, user, host, port, _parse_parameters(parameters) if semicolon else (), headers, password
    )


def _parse_parameters(text: str) -> grammar.Parameters:
    parameters = []
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if not name:
            raise BadUri("empty parameter")
        parameters.append((name, value if equals else None))
    return tuple(parameters)


def parse_hostport(text: str) -> tuple[str, int | None]:
    """`host[:port]` of a URI or a Via; IPv6 loses its brackets. Raises `grammar.Malformed`."""
    return _hostport_cached(text) if len(text) <= _CACHEABLE else _hostport(text)


def _hostport(text: str) -> tuple[str, int | None]:
    port = ""
    if text.startswith("["):
        literal, bracket, behind = text[1:].partition("]")
        if not bracket or (behind and behind[0] != ":"):
            raise grammar.Malformed("unbalanced bracket")
        colon, port = behind[:1], behind[1:]
        host = _ipv6(literal)
    else:
        host, colon, port = text.partition(":")
        if _HOST.fullmatch(host) is None:
            raise grammar.Malformed("malformed host")
        host = host.lower()
    if not colon:
        return host, None
    if _PORT.fullmatch(port) is None or (number := int(port)) > 65535:
        raise grammar.Malformed("malformed port")
    return host, number


_hostport_cached = lru_cache(maxsize=4096)(_hostport)


def _ipv6(text: str) -> str:
    if "%" in text:
        raise grammar.Malformed("a zone has no meaning beyond its host")
    # The grammar of RFC 3261 has one colon too many before an IPv4 part (RFC 5118 §4.10).
    text = text.replace(":::", "::")
    try:
        IPv6Address(text)
    except AddressValueError:
        raise grammar.Malformed("malformed IPv6 address") from None
    return text.lower()


def write_hostport(host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def unescape(text: str) -> str:
    """Percent-escapes undone, read as UTF-8; what is not UTF-8 is read as Latin-1."""
    if "%" not in text:
        return text
    raw = unquote_to_bytes(text)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def equivalent(one: Uri, other: Uri) -> bool:
    """Whether both name the same resource (RFC 3261 §19.1.4). Not transitive, as the RFC notes itself."""
    if one.scheme != other.scheme or one.port != other.port or not _same_host(one.host, other.host):
        return False
    if unescape(one.user) != unescape(other.user) or unescape(one.password) != unescape(other.password):
        return False
    if _header_set(one.headers) != _header_set(other.headers):
        return False
    mine, theirs = _folded(one.parameters), _folded(other.parameters)
    if any((name in mine) != (name in theirs) for name in _MUST_AGREE):
        return False
    return all(theirs[name] == value for name, value in mine.items() if name in theirs)


def _same_host(one: str, other: str) -> bool:
    return one == other or (":" in one and ":" in other and IPv6Address(one) == IPv6Address(other))


def _folded(parameters: grammar.Parameters) -> dict[str, str]:
    return {unescape(name).lower(): unescape(value or "").lower() for name, value in parameters}


def _header_set(headers: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in headers.split("&") if part)
    return sorted((unescape(name).lower(), unescape(value)) for name, _, value in pairs)
