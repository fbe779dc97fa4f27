"""What goes wrong on the SIP side, and what the peer must hear (RFC 3261 §21, RFC 7247 §7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.errors import Condition
from sip.reasons import reason_of

if TYPE_CHECKING:
    from sip.framer import Keepalive
    from sip.message import Request

Fields = tuple[tuple[str, str], ...]
"Header fields as (name, value) pairs."


class SipError(Exception):
    """Root of everything this package raises."""


class ProtocolError(SipError):
    """A request is refused with `status`; its handler raises, the caller turns it into a response."""

    def __init__(self, status: int, reason: str = "", headers: Fields = ()) -> None:
        self.status = status
        self.reason = reason or reason_of(status)
        self.headers = headers
        "Fields the answer carries beside those of RFC 3261 §8.2.6."
        super().__init__(f"{self.status} {self.reason}")


class BadHeader(ProtocolError):
    """A header field cannot be understood."""

    def __init__(self, name: str, detail: str = "malformed") -> None:
        super().__init__(400, f"{name}: {detail}")
        self.name = name


class BadUri(ProtocolError, ValueError):
    """Not a URI as RFC 3261 §19.1, RFC 3966, RFC 3859 or RFC 3860 want it."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, f"Malformed URI: {detail}")


class BadMessage(ProtocolError):
    """The bytes are no SIP message that can be processed.

    `request` holds what is needed for the answer; it is None when nobody could be answered (a response, an
    ACK, no Via), and the message must be dropped. Its URI and all headers but those an answer copies may be
    unusable; so may the Via, and then the answer goes to where the request came from.
    """

    def __init__(
        self, status: int, reason: str = "", headers: Fields = (), *, request: Request | None = None
    ) -> None:
        super().__init__(status, reason, headers)
        self.request = request


class FramingError(SipError):
    """A stream cannot be cut into messages any more; answer if `head` allows it, then close it."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.head: bytes = b""
        "Head of the message that went wrong, when it was whole; see `parser.parse_head`."
        self.complete: tuple[bytes | Keepalive, ...] = ()
        "What had been taken off the stream before."


class TooBusy(SipError):
    """A bounded table is full; try again later."""


# RFC 7247 §7.1, table 2: (towards a full JID, towards a bare one).
_TO_STATUS: dict[Condition, tuple[int, int]] = {
    Condition.BAD_REQUEST: (400, 400),
    Condition.CONFLICT: (400, 400),
    Condition.FORBIDDEN: (403, 603),
    # 301 would need the new address, which the domain does not have.
    Condition.GONE: (410, 410),
    Condition.INTERNAL: (500, 500),
    Condition.ITEM_NOT_FOUND: (404, 604),
    Condition.NOT_ACCEPTABLE: (406, 606),
    Condition.NOT_ALLOWED: (403, 403),
    Condition.NOT_AUTHORIZED: (401, 401),
    Condition.NOT_IMPLEMENTED: (405, 501),
    Condition.POLICY_VIOLATION: (403, 403),
    Condition.RECIPIENT_UNAVAILABLE: (480, 600),
    Condition.REDIRECT: (302, 302),
    Condition.REMOTE_NOT_FOUND: (404, 404),
    # The table's 408 is never sent for such a request (RFC 4320 §4.2); 504 means the same in table 3.
    Condition.REMOTE_TIMEOUT: (504, 504),
    Condition.RESOURCE_CONSTRAINT: (500, 500),
    Condition.SERVICE_UNAVAILABLE: (403, 403),
    Condition.UNEXPECTED_REQUEST: (491, 491),
}

# RFC 7247 §7.2, table 3.
_TO_CONDITION: dict[int, Condition] = {
    status: condition
    for condition, statuses in {
        Condition.REDIRECT: (300, 302, 305),
        Condition.GONE: (301, 410),
        Condition.NOT_ACCEPTABLE: (380, 406, 415, 416, 421, 482, 483, 488, 505, 606),
        Condition.BAD_REQUEST: (400, 402, 493),
        Condition.FORBIDDEN: (403,),
        Condition.ITEM_NOT_FOUND: (404, 481, 484, 485, 604),
        Condition.NOT_IMPLEMENTED: (405, 420, 439, 501),
        # The table's registration-required has no counterpart in the domain; both say "log in first".
        Condition.NOT_AUTHORIZED: (401, 407),
        Condition.REMOTE_TIMEOUT: (408, 504),
        Condition.POLICY_VIOLATION: (413, 414, 440, 489, 513),
        Condition.RESOURCE_CONSTRAINT: (423,),
        Condition.RECIPIENT_UNAVAILABLE: (430, 480, 486, 487, 600, 603),
        Condition.UNEXPECTED_REQUEST: (491,),
        Condition.INTERNAL: (500, 503),
        Condition.REMOTE_NOT_FOUND: (502,),
    }.items()
    for status in statuses
}

_CLASS_TO_CONDITION = {
    3: Condition.REDIRECT,
    4: Condition.BAD_REQUEST,
    5: Condition.INTERNAL,
    6: Condition.RECIPIENT_UNAVAILABLE,
}


def condition_to_status(condition: Condition, bare: bool) -> int:
    """The status a phone hears for a refusal of the domain (table 2).

    `bare`: the person as a whole refused, not one of their clients; another branch cannot help either.
    """
    full_status, bare_status = _TO_STATUS[condition]
    return bare_status if bare else full_status


def status_to_condition(status: int) -> Condition:
    """What a final, unsuccessful answer of a phone means to the domain (table 3)."""
    exact = _TO_CONDITION.get(status)
    if exact is not None:
        return exact
    return _CLASS_TO_CONDITION.get(status // 100, Condition.INTERNAL)
