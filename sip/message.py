"""Requests and responses (RFC 3261 §7): a start line, an ordered multimap of header fields, a body.

Header values stay text until somebody asks for them; a parsed value is kept until the field changes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Literal, TypeVar

from sip import grammar
from sip.errors import BadHeader, BadUri
from sip.headers import CSeq, Event, MediaType, NameAddr, SubscriptionState, Via
from sip.names import CANONICAL, LISTS, canonical
from sip.reasons import reason_of
from sip.uri import Uri

T = TypeVar("T")
_LONG_NAME = 36
"Bytes of a name, its colon and the end of its line; no name of ours is longer."
_TAG_KEY = secrets.token_hex(16)
_MAGIC_COOKIE = "z9hG4bK"
_COPIED = ("Via", "From", "To", "Call-ID", "CSeq")
_COPIED_IN_DIALOG = ("Via", "Record-Route", "From", "To", "Call-ID", "CSeq")
_DIALOG_METHODS = frozenset(("INVITE", "SUBSCRIBE", "NOTIFY", "REFER"))
"RFC 3261 §12.1.1, RFC 6665 §4.4.1, RFC 3515 §2.4.4."


class Headers:
    """Header fields by name, in order. Names in any case or compact; values as they stood on the wire."""

    __slots__ = ("_fields", "_parsed")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: dict[str, list[str]] = {}
        self._parsed: dict[str, Any] = {}
        for name, value in items:
            self.add(name, value)

    @classmethod
    def adopt(cls, fields: dict[str, list[str]]) -> Headers:
        """For the parser: fields whose names are canonical and whose values are known to be single lines."""
        headers = cls.__new__(cls)
        headers._fields = fields
        headers._parsed = {}
        return headers

    def get(self, name: str) -> str | None:
        """The first value, unsplit."""
        values = self._fields.get(name)
        if values is None and name not in CANONICAL:
            values = self._fields.get(canonical(name))
        return values[0] if values else None

    def fields(self, name: str) -> list[str]:
        """Every field of this name, unsplit."""
        return list(self._fields.get(name) or self._fields.get(canonical(name)) or ())

    def has(self, *names: str) -> bool:
        """Whether there is a field of one of these canonical names."""
        return not self._fields.keys().isdisjoint(names)

    def all(self, name: str) -> list[str]:
        """Every value, split at commas where the header's grammar has lists. Raises `BadHeader`."""
        values = self._fields.get(name) or self._fields.get(canonical(name))
        if not values:
            return []
        if canonical(name) not in LISTS:
            return list(values)
        try:
            return [member for value in values for member in grammar.split_list(value)]
        except grammar.Malformed as error:
            raise BadHeader(name, str(error)) from None

    def add(self, name: str, value: str) -> None:
        """Behind the fields of the same name."""
        name = self._changing(name, value)
        self._fields.setdefault(name, []).append(value)

    def prepend(self, name: str, value: str) -> None:
        """Before the fields of the same name, or before all if there are none."""
        name = self._changing(name, value)
        if name in self._fields:
            self._fields[name].insert(0, value)
        else:
            self._fields = {name: [value], **self._fields}

    def set(self, name: str, value: str) -> None:
        """In place of all fields of this name."""
        name = self._changing(name, value)
        self._fields[name] = [value]

    def remove(self, name: str) -> None:
        self._fields.pop(self._forget(canonical(name)), None)

    def _changing(self, name: str, value: str) -> str:
        if "\n" in value or "\r" in value or "\0" in value:
            raise ValueError("a header value is one line")
        if not grammar.is_token(name):
            raise ValueError("a header name is a token")
        return self._forget(canonical(name))

    def _forget(self, name: str) -> str:
        """What was parsed of a field that is about to change."""
        self._parsed.pop(name, None)
        self._parsed.pop(name + "*", None)
        return name

    def parsed(self, name: str, parse: Callable[[str], T]) -> T | None:
        """First value of a canonical name, parsed and kept; None when absent. Raises `BadHeader`."""
        kept: T | None = self._parsed.get(name)
        if kept is not None:
            return kept
        values = self._fields.get(name)
        if not values:
            return None
        try:
            value = parse(values[0])
        except (grammar.Malformed, BadUri) as error:
            raise BadHeader(name, str(error)) from None
        self._parsed[name] = value
        return value

    def require(self, parsers: Iterable[tuple[str, Callable[[str], Any]]]) -> None:
        """Parse and keep the first value of each of these canonical names. Raises `BadHeader`, also for one
        that is missing."""
        for name, parse in parsers:
            values = self._fields.get(name)
            if not values:
                raise BadHeader(name, "missing")
            try:
                self._parsed[name] = parse(values[0])
            except (grammar.Malformed, BadUri) as error:
                raise BadHeader(name, str(error)) from None

    def parsed_list(self, name: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        """All values of a canonical name, parsed and kept. Raises `BadHeader`."""
        key = name + "*"
        kept: tuple[T, ...] | None = self._parsed.get(key)
        if kept is not None:
            return kept
        try:
            values = tuple(parse(value) for value in self.all(name))
        except (grammar.Malformed, BadUri) as error:
            raise BadHeader(name, str(error)) from None
        self._parsed[key] = values
        return values

    def know(self, name: str, value: Any) -> None:
        """Keep the parsed form of a field that was just written from it; `name` is canonical."""
        self._parsed[name] = value

    def put_first(self, name: str, value: str) -> None:
        """As `prepend`, for a canonical name and a value known to be one line."""
        self._forget(name)
        fields = {name: [value]}
        others = self._fields.pop(name, None)
        if others:
            fields[name] += others
        fields.update(self._fields)
        self._fields = fields

    def replace_first(self, name: str, value: str) -> None:
        """In place of the first field of a canonical name; the value is known to be one line."""
        self._forget(name)
        self._fields[name][0] = value

    def items(self) -> Iterator[tuple[str, str]]:
        """(name, value) of every field; fields of one name stand together."""
        for name, values in self._fields.items():
            for value in values:
                yield name, value

    def at_most(self) -> int:
        """Bytes these may have on the wire, quickly: never too few."""
        values = self._fields.values()
        text = "".join(map("".join, values))
        names = sum(map(len, values)) * _LONG_NAME
        return names + (len(text) if text.isascii() else len(text.encode()))

    def copy(self) -> Headers:
        return Headers.adopt({name: list(values) for name, values in self._fields.items()})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical(name) in self._fields

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._fields == other._fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({list(self.items())!r})"


class Message:
    """What requests and responses share. Properties raise `BadHeader` when a field makes no sense."""

    __slots__ = ("body", "headers")

    headers: Headers
    body: bytes

    @property
    def via(self) -> Via:
        """The top one."""
        kept: Via | None = self.headers._parsed.get("Via")
        return kept if kept is not None else _required("Via", self.headers.parsed("Via", first_via))

    @property
    def vias(self) -> tuple[Via, ...]:
        return self.headers.parsed_list("Via", Via.parse)

    @property
    def from_(self) -> NameAddr:
        kept: NameAddr | None = self.headers._parsed.get("From")
        return kept if kept is not None else _required("From", self.headers.parsed("From", NameAddr.parse))

    @property
    def to(self) -> NameAddr:
        kept: NameAddr | None = self.headers._parsed.get("To")
        return kept if kept is not None else _required("To", self.headers.parsed("To", NameAddr.parse))

    @property
    def call_id(self) -> str:
        return _required("Call-ID", self.headers.get("Call-ID"))

    @property
    def cseq(self) -> CSeq:
        kept: CSeq | None = self.headers._parsed.get("CSeq")
        return kept if kept is not None else _required("CSeq", self.headers.parsed("CSeq", CSeq.parse))

    @property
    def contacts(self) -> tuple[NameAddr, ...] | Literal["*"]:
        """Empty without a Contact; the star only when it stands alone."""
        if self.headers.get("Contact") == "*" and len(self.headers.fields("Contact")) == 1:
            return "*"
        return self.headers.parsed_list("Contact", NameAddr.parse)

    @property
    def expires(self) -> int | None:
        """Seconds, capped at 2**32 - 1."""
        return self.headers.parsed("Expires", _delta_seconds)

    @property
    def retry_after(self) -> int | None:
        """Seconds to leave the sender alone (RFC 3261 §20.33); None where it says nothing understandable."""
        value = (self.headers.get("Retry-After") or "").partition(";")[0].partition("(")[0].strip()
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None

    @property
    def max_forwards(self) -> int | None:
        return self.headers.parsed("Max-Forwards", _max_forwards)

    @property
    def event(self) -> Event | None:
        return self.headers.parsed("Event", Event.parse)

    @property
    def subscription_state(self) -> SubscriptionState | None:
        return self.headers.parsed("Subscription-State", SubscriptionState.parse)

    @property
    def content_type(self) -> MediaType | None:
        return self.headers.parsed("Content-Type", _media_type)

    @property
    def accept(self) -> tuple[MediaType, ...] | None:
        """None without an Accept; an empty one takes nothing."""
        if "Accept" not in self.headers:
            return None
        if not any(self.headers.fields("Accept")):
            return ()
        return self.headers.parsed_list("Accept", MediaType.parse)

    @property
    def routes(self) -> tuple[NameAddr, ...]:
        return self.headers.parsed_list("Route", NameAddr.parse)

    @property
    def record_routes(self) -> tuple[NameAddr, ...]:
        return self.headers.parsed_list("Record-Route", NameAddr.parse)

    @property
    def paths(self) -> tuple[NameAddr, ...]:
        """RFC 3327."""
        return self.headers.parsed_list("Path", NameAddr.parse)


class Request(Message):
    __slots__ = ("method", "uri")

    def __init__(
        self, method: str, uri: Uri, headers: Headers | Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.body = body
        self.method = method
        self.uri = uri

    def stamp(self, host: str, port: int) -> None:
        """Note in the top Via where the request came from (RFC 3261 §18.2.1, RFC 3581 §4)."""
        headers = self.headers
        written, stamped = headers._fields["Via"][0], self.via.stamped(host, port)
        text = str(stamped)
        if "," in written:
            text = ", ".join((text, *grammar.split_list(written)[1:]))
        headers.replace_first("Via", text)
        headers.know("Via", stamped)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri}>"


class Response(Message):
    __slots__ = ("reason", "status")

    def __init__(
        self,
        status: int,
        reason: str = "",
        headers: Headers | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.body = body
        self.status = status
        self.reason = reason or reason_of(status)

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason}>"


def serialise(message: Request | Response) -> bytes:
    """The bytes for the wire; Content-Length always tells the truth."""
    if isinstance(message, Request):
        lines = [f"{message.method} {message.uri} SIP/2.0"]
    else:
        lines = [f"SIP/2.0 {message.status} {message.reason}"]
    fields = message.headers._fields
    lines += [
        f"{name}: {value}" for name, values in fields.items() if name != "Content-Length" for value in values
    ]
    body = message.body
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return "\r\n".join(lines).encode() + body


def respond(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> Response:
    """The answer to a request, without further fields than those of RFC 3261 §8.2.6 and `headers`.

    A To without tag gets `to_tag`, or one that is the same for every repeat of the request; a 100 gets none.
    """
    theirs = request.headers._fields
    copied: tuple[str, ...] = _COPIED
    if "Record-Route" in theirs and not (
        status >= 300 or status == 100 or request.method not in _DIALOG_METHODS
    ):
        copied = _COPIED_IN_DIALOG
    fields = {name: theirs[name].copy() for name in copied if theirs.get(name)}
    if status == 100:
        if "Timestamp" in theirs:
            fields["Timestamp"] = theirs["Timestamp"][:1]
    elif "To" in fields:
        fields["To"] = [_tagged(request, fields["To"][0], to_tag)]
    response = Response(status, reason or "", Headers.adopt(fields), body)
    for name, value in headers:
        response.headers.add(name, value)
    return response


def _tagged(request: Request, to: str, tag: str | None) -> str:
    # A value without the letters has no tag; one that cannot be parsed is returned as it came.
    if "tag" in to.lower():
        try:
            if request.to.tag:
                return to
        except BadHeader:
            return to
    # Appended, not rewritten: a parameter behind a bare address is one of the header (RFC 3261 §20).
    return f"{to};tag={tag or _stateless_tag(request)}"


def _stateless_tag(request: Request) -> str:
    # RFC 3261 §8.2.7: the same for a retransmission, whoever answers it.
    get = request.headers._fields.get
    said = get("Call-ID", _NOTHING)[0], get("From", _NOTHING)[0], get("CSeq", _NOTHING)[0]
    return f"{hash((_TAG_KEY, said)) & 0xFFFFFFFFFFFFFFFF:016x}"


_NOTHING = [""]


def new_tag() -> str:
    """64 random bits (RFC 3261 §19.3)."""
    if not _chance:
        drawn = secrets.token_hex(8 * 256)  # many at once: each draw asks the kernel
        _chance.extend(drawn[start : start + 16] for start in range(0, len(drawn), 16))
    return _chance.pop()


_chance: list[str] = []


def new_branch(mark: str = "") -> str:
    """Unique over time and space, with the cookie of RFC 3261 §8.1.1.7, and something of one's own."""
    return _MAGIC_COOKIE + mark + new_tag()


def new_call_id() -> str:
    return secrets.token_hex(16)


def _required(name: str, value: T | None) -> T:
    if value is None:
        raise BadHeader(name, "missing")
    return value


_media_type = lru_cache(maxsize=256)(MediaType.parse)
"A handful of texts in all messages."


def first_via(text: str) -> Via:
    """The top one of a field that may have several."""
    return Via.parse(grammar.split_list(text)[0] if "," in text else text)


def _delta_seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise grammar.Malformed("not a number")
    return min(int(text[:11]), 2**32 - 1)


@lru_cache(maxsize=256)
def _max_forwards(text: str) -> int:
    return grammar.parse_number(text, 255)
