"""What a SUBSCRIBE asks for, and whether it can be served at all (RFC 6665 §4.2.1.1, RFC 4662 §4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from presence.address import Address
from sip import eventlist
from sip.addressing import to_address
from sip.documents import choose, media_of
from sip.errors import ProtocolError
from sip.lists import Names, given
from sip.message import Request
from sip.packages import Package, allow_events, packages
from sip.profiles import profile_of
from sip.settings import SipSettings

_MAX_TAG = 64
_MAX_CONTENT = 16_384
"Bytes of what a SUBSCRIBE brings."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A SUBSCRIBE that makes sense."""

    presentity: Address
    package: Package
    event: str
    "Package and parameters, as the watcher wrote them."
    expires: int
    "Seconds granted; 0: just the state, once."
    listed: bool
    "It is about a list."
    names: Names | None
    "Who is in the list, where it came along."
    media: str
    "Media type of what it is notified of; with a list, of each resource's state."
    content: bytes
    "What it brought to say what it is about, where its package reads that."
    condition: str
    "Entity-tag the watcher has, or `*`; empty: none (RFC 5839 §5.2)."


def package_of(request: Request) -> Package:
    """Raises `ProtocolError` 489."""
    event = request.event
    package = packages().get(event.package) if event is not None else None
    if package is None:
        raise ProtocolError(489, headers=(("Allow-Events", allow_events()),))
    return package


def wanted(request: Request, settings: SipSettings, *, named: bool = False) -> Wanted:
    """A SUBSCRIBE outside of dialogs. `named`: its address is known to be a list's. Raises `ProtocolError`
    400, 406, 413, 415, 421, 423, 489."""
    package = package_of(request)
    presentity = to_address(request.uri)
    names = given(request)
    buddies = bool(settings.buddy_list) and presentity.local == settings.buddy_list
    listed = names is not None or buddies or named
    return Wanted(
        presentity=presentity,
        package=package,
        event=str(request.event),
        expires=expires_of(request, settings),
        listed=listed,
        names=names,
        media=_media(request, package, listed, settings),
        content=content_of(request, package),
        condition=condition_of(request),
    )


def _media(request: Request, package: Package, listed: bool, settings: SipSettings) -> str:
    """What the notifications are written in."""
    others = media_of(package.name)
    accept = request.accept
    preferred = profile_of(request.headers.get("User-Agent") or "", settings.profiles).bodies
    media = choose(accept, package.notified, others, preferred)
    if listed:
        _check_list(request, package)
        return media or package.notified
    if media is None:
        taken = dict.fromkeys((package.notified, *others))
        raise ProtocolError(406, headers=(("Accept", ", ".join(taken)),))
    return media


def _check_list(request: Request, package: Package) -> None:
    """A list's state can be said in one way only (RFC 4662 §4.2)."""
    if not package.lists:
        raise ProtocolError(489, headers=(("Allow-Events", allow_events()),))
    offered = {tag.lower() for name in ("Supported", "Require") for tag in request.headers.all(name)}
    if eventlist.OPTION not in offered:
        raise ProtocolError(421, headers=(("Require", eventlist.OPTION),))
    accept = request.accept
    if accept is not None and not any(kind.includes(eventlist.MULTIPART) for kind in accept):
        raise ProtocolError(406, headers=(("Accept", eventlist.MULTIPART),))


def content_of(request: Request, package: Package) -> bytes:
    """The body, of a package that reads one (RFC 6665 §4.1.2.1). Raises `ProtocolError` 413, 415."""
    if not package.reads or not request.body:
        return b""
    kind = request.content_type
    if kind is None or kind.value != package.reads:
        raise ProtocolError(415, headers=(("Accept", package.reads),))
    if len(request.body) > _MAX_CONTENT:
        raise ProtocolError(413)
    return request.body


def condition_of(request: Request) -> str:
    """The Suppress-If-Match (RFC 5839 §7.2)."""
    return (request.headers.get("Suppress-If-Match") or "").strip()[:_MAX_TAG]


def expires_of(request: Request, settings: SipSettings) -> int:
    """Seconds granted. Raises `ProtocolError` 423."""
    expires = request.expires
    if expires is None:
        expires = settings.subscribe_expires
    if 0 < expires < settings.min_expires:
        raise ProtocolError(423, headers=(("Min-Expires", str(settings.min_expires)),))
    return min(expires, settings.max_expires)
