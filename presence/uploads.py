"""Files people put here over HTTP (XEP-0363), without file and socket: slots, their tickets, how a file is
served.

A slot's PUT address carries a ticket that says, signed, what may be put there: whoever can read it can put
this one file, for some minutes. The GET address is a secret by its length.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

import msgspec

from presence.address import Address

UPLOAD_PATH = "/upload"
MAX_NAME = 200
"Bytes of a file's name."
MAX_TYPE = 200
SLOWEST = 8192
"Bytes a second at which a file comes at least, beside its first minute."
ANY_TYPE = "application/octet-stream"
SHOWN = re.compile(
    r"image/(png|jpeg|gif|webp|avif|bmp)|audio/[\w.+-]+|video/[\w.+-]+|text/plain|application/ogg"
)
"Types a browser shows without running anything; all others it only saves. SVG runs scripts."
_TYPE = re.compile(r"[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}(; ?[\w-]+=[\w.-]+)*", re.ASCII)
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069/\\]")


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """What may be put into a slot."""

    id: str
    owner: str
    "See `owner_of`."
    name: str
    type: str
    "Empty: the client has not said."
    size: int
    until: int
    "Unix seconds."
    expires: int
    "When the file is deleted, Unix seconds; 0: never."


@dataclass(frozen=True, slots=True)
class Slot:
    put: str
    get: str


class Limits(Protocol):
    """What files may take; `xmpp.settings.UploadSettings` is one."""

    @property
    def max_size(self) -> int: ...
    @property
    def quota(self) -> int: ...
    @property
    def max_files(self) -> int: ...
    @property
    def days(self) -> float: ...
    @property
    def slot_lifetime(self) -> int: ...


class QuotaReached(Exception):
    """No room for this file. `retry`: Unix seconds when there may be; 0 when nobody knows."""

    def __init__(self, text: str, retry: float = 0) -> None:
        super().__init__(text)
        self.retry = retry


class Uploads(Protocol):
    """Where files are kept."""

    async def reserve(
        self, owner: Address, base: str, name: str, type: str, size: int, *, expires: float | None = None
    ) -> Slot:
        """Room for one file. `base`: the address of the upload service; `expires`: Unix seconds when the
        owner wants it gone. Raises `QuotaReached`, `OSError`."""


def owner_of(address: Address) -> str:
    """Under which name a person's files are counted."""
    return hashlib.sha256(str(address).encode()).hexdigest()[:32]


def fit_name(said: str) -> str:
    """A file's name as it may stand in an address and a header, its ending kept (§4)."""
    name = _UNFIT.sub("_", said).strip(". ")
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > 16:
        stem, dot, ending = name, "", ""
    room = MAX_NAME - len((dot + ending).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + ending or "file"


def fit_type(said: str) -> str:
    """A media type, or empty for what is none."""
    return said if len(said) <= MAX_TYPE and _TYPE.fullmatch(said) else ""


def patience_for(size: int) -> float:
    """Seconds that many bytes may take to come."""
    return 60 + size / SLOWEST


def same_type(one: str, other: str) -> bool:
    """Parameters left aside."""
    return one.partition(";")[0].strip().lower() == other.partition(";")[0].strip().lower()


def sign(ticket: Ticket, secret: bytes) -> str:
    data = msgspec.msgpack.encode(ticket)
    return _text(data + hmac.digest(secret, data, "sha256"))


def verify(text: str, secret: bytes) -> Ticket | None:
    """The ticket, if it is ours."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        given, signature = data[:-32], data[-32:]
        if not hmac.compare_digest(hmac.digest(secret, given, "sha256"), signature):
            return None
        return msgspec.msgpack.decode(given, type=Ticket)
    except ValueError:  # `msgspec.MsgspecError` is one
        return None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def address_of(ticket: Ticket, base: str) -> str:
    """Where the file is once it was put; `base` ends without a slash."""
    return f"{base}{UPLOAD_PATH}/{ticket.id}/{quote(ticket.name, safe='')}"


def slot(ticket: Ticket, base: str, secret: bytes) -> Slot:
    """§5."""
    get = address_of(ticket, base)
    return Slot(f"{get}?ticket={sign(ticket, secret)}", get)


def safety() -> dict[str, str]:
    """Headers that keep a file from acting as a page of ours (§10.1)."""
    return {
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Referrer-Policy": "no-referrer",
    }


def disposition(type_: str) -> str:
    """`inline` for what may be shown."""
    shown = SHOWN.fullmatch(type_.partition(";")[0].strip().lower())
    return "inline" if shown else "attachment"
