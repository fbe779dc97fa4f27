"""What a SUBSCRIBE asks for, and whether it can be served at all (RFC 6665 §4.2.1.1, RFC 4662 §4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from presence.address import Address
from sip import eventlist
from sip.addressing import to_address
from sip.errors import ProtocolError
from sip.message import Request
from sip.packages import Package, allow_events, packages
from sip.settings import SipSettings


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


def package_of(request: Request) -> Package:
    """Raises `ProtocolError` 489."""
    event = request.event
    package = packages().get(event.package) if event is not None else None
    if package is None:
        raise ProtocolError(489, headers=(("Allow-Events", allow_events()),))
    return package


def wanted(request: Request, settings: SipSettings) -> Wanted:
    """A SUBSCRIBE outside of dialogs. Raises `ProtocolError` 406, 421, 423, 489."""
    package = package_of(request)
    presentity = to_address(request.uri)
    listed = bool(settings.buddy_list) and presentity.local == settings.buddy_list
    _inspect(request, package, listed)
    return Wanted(
        presentity=presentity,
        package=package,
        event=str(request.event),
        expires=expires_of(request, settings),
        listed=listed,
    )


def _inspect(request: Request, package: Package, listed: bool) -> None:
    """What is needed to understand the notifications."""
    notified = package.notified
    if listed:
        if not package.lists:
            raise ProtocolError(489, headers=(("Allow-Events", allow_events()),))
        offered = {tag.lower() for name in ("Supported", "Require") for tag in request.headers.all(name)}
        if eventlist.OPTION not in offered:
            # RFC 4662 §4.2: the list's state cannot be said in another way.
            raise ProtocolError(421, headers=(("Require", eventlist.OPTION),))
        notified = eventlist.MULTIPART
    accept = request.accept
    if accept is not None and not any(kind.includes(notified) for kind in accept):
        raise ProtocolError(406, headers=(("Accept", notified),))


def expires_of(request: Request, settings: SipSettings) -> int:
    """Seconds granted. Raises `ProtocolError` 423."""
    expires = request.expires
    if expires is None:
        expires = settings.subscribe_expires
    if 0 < expires < settings.min_expires:
        raise ProtocolError(423, headers=(("Min-Expires", str(settings.min_expires)),))
    return min(expires, settings.max_expires)
