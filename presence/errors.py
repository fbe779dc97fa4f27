"""Refusals of the domain. `sip/errors.py` makes a status of a condition, `xmpp/errors.py` a stanza error."""

from __future__ import annotations

from enum import StrEnum


class Condition(StrEnum):
    """Why the domain refuses. Names follow RFC 6120 §8.3.3 where one fits; both doors map all of them."""

    BAD_REQUEST = "bad-request"
    CONFLICT = "conflict"
    FORBIDDEN = "forbidden"
    GONE = "gone"
    INTERNAL = "internal-server-error"
    ITEM_NOT_FOUND = "item-not-found"
    NOT_ACCEPTABLE = "not-acceptable"
    NOT_ALLOWED = "not-allowed"
    NOT_AUTHORIZED = "not-authorized"
    NOT_IMPLEMENTED = "feature-not-implemented"
    POLICY_VIOLATION = "policy-violation"
    RECIPIENT_UNAVAILABLE = "recipient-unavailable"
    REDIRECT = "redirect"
    REMOTE_NOT_FOUND = "remote-server-not-found"
    REMOTE_TIMEOUT = "remote-server-timeout"
    RESOURCE_CONSTRAINT = "resource-constraint"
    SERVICE_UNAVAILABLE = "service-unavailable"
    UNEXPECTED_REQUEST = "unexpected-request"


class PresenceError(Exception):
    """Root of everything this package raises."""


class InvalidAddress(PresenceError, ValueError):
    """Not an address RFC 7622 and RFC 5890 allow."""


class Refused(PresenceError):
    """The domain says no, and the peer must hear `condition`."""

    def __init__(self, condition: Condition, text: str = "", retry_after: int | None = None) -> None:
        super().__init__(f"{condition}: {text}" if text else str(condition))
        self.condition = condition
        self.text = text
        self.retry_after = retry_after
        "Seconds, where trying again later may help."


class StaleTag(PresenceError):
    """The entity-tag is unknown or expired (RFC 3903 §6); nothing was changed."""


class Conflict(PresenceError):
    """Another process changed the cell in between; read again and retry. Nothing was changed."""


class Unavailable(PresenceError):
    """The bus or the store cannot be reached; nothing can be promised now. Peers hear 'try again later'."""
