"""Other servers' event state as sources of people here (RFC 3680 §5.2, RFC 4235 §4.3)."""

from __future__ import annotations

import pytest

from presence.model import Person
from sip.errors import ProtocolError
from sip.views import views
from tests.sip.house import BOB

ON_THE_PHONE = Person(activities=("on-the-phone",))


def reginfo(version: int, state: str, *contacts: str, aor: str = str(BOB)) -> bytes:
    return (
        f'<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="{version}" state="{state}">'
        f'<registration aor="sip:{aor}" id="a" state="active">{"".join(contacts)}</registration></reginfo>'
    ).encode()


def contact(name: str, state: str = "active", event: str = "registered", more: str = "") -> str:
    return f'<contact id="{name}" state="{state}" event="{event}"{more}><uri>sip:bob@{name}</uri></contact>'


def dialogs(version: int, state: str, **calls: str) -> bytes:
    inner = "".join(f'<dialog id="{n}"><state>{s}</state></dialog>' for n, s in calls.items())
    return (
        f'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{version}" state="{state}"'
        f' entity="sip:{BOB}">{inner}</dialog-info>'
    ).encode()


def test_each_contact_is_a_phone_with_its_priority_and_its_time() -> None:
    view = views()["reg"].make(BOB)
    assert view.take(reginfo(0, "full", contact("one", more=' q="0.5" duration-registered="60"')), 1000.0)
    (source,) = view.sources(1000.0)
    (shown,) = source.tuples
    assert (shown.open, shown.priority, shown.since) == (True, 64, 940.0)
    assert shown.id.startswith("phone-")


def test_partial_documents_add_and_take_away_and_full_ones_begin_anew() -> None:
    view = views()["reg"].make(BOB)
    view.take(reginfo(0, "full", contact("one")), 0.0)
    one = view.sources(0.0)
    assert view.take(reginfo(1, "partial", contact("two")), 1.0)
    assert len(view.sources(1.0)) == 2
    gone = contact("two", "terminated", "expired")
    assert view.take(reginfo(2, "partial", gone), 2.0)
    assert view.take(reginfo(3, "partial", contact("one", event="refreshed")), 3.0)
    assert view.sources(3.0) == one
    assert view.take(reginfo(4, "full"), 4.0)
    assert view.sources(4.0) == ()


def test_a_gap_is_taken_and_told_and_what_is_old_is_not_taken() -> None:
    view = views()["reg"].make(BOB)
    view.take(reginfo(3, "full"), 0.0)
    assert not view.take(reginfo(5, "partial", contact("one")), 0.0)
    assert len(view.sources(0.0)) == 1
    assert view.take(reginfo(4, "partial", contact("one", "terminated", "expired")), 0.0)
    assert len(view.sources(0.0)) == 1


def test_somebody_elses_registrations_are_not_his() -> None:
    view = views()["reg"].make(BOB)
    view.take(reginfo(0, "full", contact("one"), aor="alice@example.org"), 0.0)
    assert view.sources(0.0) == ()


def test_calls_put_him_on_the_phone_until_the_last_is_over() -> None:
    view = views()["dialog"].make(BOB)
    assert view.take(dialogs(0, "full", a="early"), 0.0)
    assert [s.person for s in view.sources(0.0)] == [Person(ringing=True)]
    assert view.take(dialogs(1, "partial", a="confirmed"), 5.0)
    assert [(s.person, s.since) for s in view.sources(5.0)] == [(ON_THE_PHONE, 5.0)]
    view.take(dialogs(2, "partial", b="confirmed"), 6.0)
    view.take(dialogs(3, "partial", a="terminated"), 7.0)
    assert [(s.person, s.since) for s in view.sources(7.0)] == [(ON_THE_PHONE, 5.0)]
    view.take(dialogs(4, "partial", b="terminated"), 8.0)
    assert view.sources(8.0) == ()


def test_what_overtakes_the_end_of_a_call_lights_no_lamp() -> None:
    view = views()["dialog"].make(BOB)
    view.take(dialogs(5, "full", a="terminated"), 0.0)
    view.take(dialogs(4, "partial", a="confirmed"), 0.0)
    view.take(dialogs(6, "partial", a="confirmed"), 0.0)
    assert view.sources(0.0) == ()


def test_a_document_without_dialogs_is_all_there_is() -> None:
    view = views()["dialog"].make(BOB)
    view.take(dialogs(0, "full", a="confirmed"), 0.0)
    assert view.take(dialogs(7, "partial"), 1.0)
    assert view.sources(1.0) == ()


@pytest.mark.parametrize("event", ["reg", "dialog"])
def test_broken_documents_are_refused(event: str) -> None:
    with pytest.raises(ProtocolError):
        views()[event].make(BOB).take(b"<x/>", 0.0)
