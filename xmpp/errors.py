"""What an XMPP peer hears when something is refused: stream errors (RFC 6120 §4.9), stanza errors (§8.3).

The domain's `Condition`s map to stanza errors here and back; `sip/errors.py` does its own half (RFC 7247 §7).
"""

from __future__ import annotations

from presence.errors import Condition, PresenceError, Refused, Unavailable
from xmpp.element import STANZAS_NS, E, Element

STREAMS_NS = "urn:ietf:params:xml:ns:xmpp-streams"

DEFAULT_TYPES = {
    "bad-request": "modify",
    "conflict": "cancel",
    "feature-not-implemented": "cancel",
    "forbidden": "auth",
    "gone": "cancel",
    "internal-server-error": "cancel",
    "item-not-found": "cancel",
    "jid-malformed": "modify",
    "not-acceptable": "modify",
    "not-allowed": "cancel",
    "not-authorized": "auth",
    "policy-violation": "modify",
    "recipient-unavailable": "wait",
    "redirect": "modify",
    "registration-required": "auth",
    "remote-server-not-found": "cancel",
    "remote-server-timeout": "wait",
    "resource-constraint": "wait",
    "service-unavailable": "cancel",
    "subscription-required": "auth",
    "undefined-condition": "cancel",
    "unexpected-request": "wait",
}
"Every stanza error condition with its usual type (RFC 6120 §8.3.3)."

STREAM_CONDITIONS = frozenset(
    {
        "bad-format",
        "bad-namespace-prefix",
        "conflict",
        "connection-timeout",
        "host-gone",
        "host-unknown",
        "improper-addressing",
        "internal-server-error",
        "invalid-from",
        "invalid-namespace",
        "invalid-xml",
        "not-authorized",
        "not-well-formed",
        "policy-violation",
        "remote-connection-failed",
        "reset",
        "resource-constraint",
        "restricted-xml",
        "see-other-host",
        "system-shutdown",
        "undefined-condition",
        "unsupported-encoding",
        "unsupported-feature",
        "unsupported-stanza-type",
        "unsupported-version",
    }
)
"RFC 6120 §4.9.3."


class XmppError(Exception):
    """Root of what this package raises for a peer to hear."""


class StreamError(XmppError):
    """Ends the stream (RFC 6120 §4.9)."""

    def __init__(self, condition: str, text: str = "", extra: Element | None = None) -> None:
        super().__init__(f"{condition}: {text}" if text else condition)
        self.condition = condition
        self.text = text
        self.extra = extra
        "Application-specific condition (RFC 6120 §4.9.4)."

    def element(self) -> Element:
        """`<stream:error/>`; the stream writes it with its own prefix."""
        error = E("error", "http://etherx.jabber.org/streams", {}, E(self.condition, STREAMS_NS))
        if self.text:
            error.append(E("text", STREAMS_NS, {}, self.text))
        if self.extra is not None:
            error.append(self.extra)
        return error


class StanzaError(XmppError):
    """Answers one stanza with an error (RFC 6120 §8.3); the stream goes on."""

    def __init__(
        self,
        condition: str,
        type: str = "",
        text: str = "",
        by: str = "",
        extra: Element | None = None,
        uri: str = "",
    ) -> None:
        super().__init__(f"{condition}: {text}" if text else condition)
        self.condition = condition
        self.type = type or DEFAULT_TYPES[condition]
        self.text = text
        self.by = by
        "JID of the entity that found the error, where it is not the addressee."
        self.extra = extra
        "Application-specific condition (RFC 6120 §8.3.4)."
        self.uri = uri
        "New address, for `gone` and `redirect` (RFC 6120 §8.3.3.5, §8.3.3.14)."

    def element(self, ns: str) -> Element:
        """`<error/>` for a stanza of content namespace `ns`."""
        condition = E(self.condition, STANZAS_NS)
        if self.uri and self.condition in ("gone", "redirect"):
            condition.append(self.uri)
        error = E("error", ns, {"type": self.type}, condition)
        if self.by:
            error.attrs["by"] = self.by
        if self.text:
            error.append(E("text", STANZAS_NS, {}, self.text))
        if self.extra is not None:
            error.append(self.extra)
        return error


def error_stanza(original: Element, error: StanzaError) -> Element:
    """The error answer to a stanza: addresses swapped, same id, the payload repeated (RFC 6120 §8.3.1).

    The caller makes sure that `original` is not itself an error (§8.3.1 rule 4): see `deserves_error`.
    """
    attrs = {"type": "error"}
    for mine, theirs in (("id", "id"), ("to", "from"), ("from", "to")):
        if theirs in original.attrs:
            attrs[mine] = original.attrs[theirs]
    return Element(original.name, original.ns, attrs, [*original.children, error.element(original.ns)])


def deserves_error(stanza: Element) -> bool:
    """False for what is never answered with an error: errors and IQ results (RFC 6120 §8.3.1, §8.2.3)."""
    return stanza.get("type") not in ("error", "result")


def read_error(stanza: Element) -> StanzaError:
    """The error inside a stanza of type `error`; `undefined-condition` when it names none we know."""
    error = stanza.find("error")
    if error is None:
        return StanzaError("undefined-condition")
    text = error.find("text", STANZAS_NS)
    for child in error.elements:
        if child.ns == STANZAS_NS and child.name in DEFAULT_TYPES:
            uri = child.text if child.name in ("gone", "redirect") else ""
            said = text.text if text is not None else ""
            return StanzaError(child.name, error.get("type"), said, error.get("by"), uri=uri)
    return StanzaError("undefined-condition", error.get("type"))


# --- the domain's conditions ----------------------------------------------------------------------

_BACK = {
    "jid-malformed": Condition.BAD_REQUEST,
    "registration-required": Condition.NOT_AUTHORIZED,
    "subscription-required": Condition.NOT_AUTHORIZED,
    "undefined-condition": Condition.INTERNAL,
}


def to_stanza_error(refusal: PresenceError) -> StanzaError:
    """What the sender of a stanza hears when the domain refuses or cannot."""
    if isinstance(refusal, Refused):
        return StanzaError(refusal.condition.value, text=refusal.text)
    if isinstance(refusal, Unavailable):
        return StanzaError("resource-constraint", "wait", "the service cannot take this now; try again later")
    if isinstance(refusal, ValueError):
        return StanzaError("jid-malformed", text=str(refusal))
    return StanzaError("internal-server-error")


def from_condition(condition: Condition, text: str = "") -> StanzaError:
    """A domain condition as a stanza error; their names are the same (RFC 6120 §8.3.3)."""
    return StanzaError(condition.value, text=text)


def to_condition(error: StanzaError) -> Condition:
    """A stanza error as a domain condition."""
    known = _BACK.get(error.condition)
    return known if known is not None else Condition(error.condition)
