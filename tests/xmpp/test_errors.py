"""Stream and stanza errors, and the domain's conditions in XMPP's words (RFC 6120 §4.9, §8.3)."""

from __future__ import annotations

import pytest

from presence.errors import Condition, Conflict, InvalidAddress, PresenceError, Refused, Unavailable
from xmpp.element import CLIENT_NS, E
from xmpp.errors import (
    DEFAULT_TYPES,
    STREAM_CONDITIONS,
    StanzaError,
    StreamError,
    deserves_error,
    error_stanza,
    from_condition,
    read_error,
    to_condition,
    to_stanza_error,
)
from xmpp.serialiser import serialise


@pytest.mark.parametrize("condition", list(Condition))
def test_every_domain_condition_is_a_stanza_error_and_back(condition: Condition) -> None:
    error = from_condition(condition, "why")
    assert error.type == DEFAULT_TYPES[condition.value]
    assert to_condition(error) is condition


@pytest.mark.parametrize("condition", sorted(DEFAULT_TYPES))
def test_every_stanza_error_has_a_domain_condition_and_is_read_back(condition: str) -> None:
    error = StanzaError(condition, text="why", by="example.org")
    stanza = E("message", CLIENT_NS, {"type": "error"}, error.element(CLIENT_NS))
    read = read_error(stanza)
    assert (read.condition, read.type, read.text, read.by) == (condition, error.type, "why", "example.org")
    assert to_condition(read) in Condition


@pytest.mark.parametrize(
    ("refusal", "condition", "type"),
    [
        (Refused(Condition.FORBIDDEN, "no"), "forbidden", "auth"),
        (Refused(Condition.RESOURCE_CONSTRAINT, retry_after=5), "resource-constraint", "wait"),
        (Unavailable("redis"), "resource-constraint", "wait"),
        (InvalidAddress("x"), "jid-malformed", "modify"),
        (Conflict("x"), "internal-server-error", "cancel"),
    ],
)
def test_what_the_domain_raises(refusal: PresenceError, condition: str, type: str) -> None:
    error = to_stanza_error(refusal)
    assert (error.condition, error.type) == (condition, type)


def test_an_error_goes_back_with_id_and_payload() -> None:
    message = E(
        "message", CLIENT_NS, {"from": "a@x/1", "to": "b@x", "id": "7"}, E("body", CLIENT_NS, {}, "hi")
    )
    assert serialise(error_stanza(message, StanzaError("gone", uri="xmpp:c@x")), CLIENT_NS) == (
        "<message type='error' id='7' to='a@x/1' from='b@x'><body>hi</body><error type='cancel'>"
        "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:c@x</gone></error></message>"
    )
    assert message.get("type") == ""


def test_a_stanza_without_addresses_gets_an_error_without_them() -> None:
    error = error_stanza(E("iq", CLIENT_NS), StanzaError("bad-request", extra=E("too-many", "urn:x")))
    assert error.attrs == {"type": "error"}
    assert error.elements[0].elements[-1] == E("too-many", "urn:x")


@pytest.mark.parametrize(
    ("type", "deserves"), [("", True), ("get", True), ("error", False), ("result", False)]
)
def test_errors_and_results_are_never_answered_with_errors(type: str, deserves: bool) -> None:
    assert deserves_error(E("iq", CLIENT_NS, {"type": type})) is deserves


def test_an_error_nobody_defined_is_undefined() -> None:
    assert read_error(E("message", CLIENT_NS)).condition == "undefined-condition"
    unknown = E("error", CLIENT_NS, {"type": "wait"}, E("oops", "urn:ietf:params:xml:ns:xmpp-stanzas"))
    read = read_error(E("message", CLIENT_NS, {}, unknown))
    assert (read.condition, read.type) == ("undefined-condition", "wait")


@pytest.mark.parametrize("condition", sorted(STREAM_CONDITIONS))
def test_stream_errors(condition: str) -> None:
    element = StreamError(condition, "why", E("detail", "urn:x")).element()
    names = [(child.name, child.ns) for child in element.elements]
    streams = "urn:ietf:params:xml:ns:xmpp-streams"
    assert names == [(condition, streams), ("text", streams), ("detail", "urn:x")]
