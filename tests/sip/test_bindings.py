from __future__ import annotations

import pytest

from sip.bindings import (
    RESTARTED,
    Binding,
    Registered,
    contact_headers,
    decode_bindings,
    encode_bindings,
    register,
)
from sip.errors import ProtocolError
from sip.flow import Flow, parse_flow
from sip.message import Request
from sip.settings import SipSettings
from sip.uri import parse_uri

NOW = 1_800_000_000.0
FLOW = Flow("udp", "[::]:5060", "192.0.2.1", 5060)
TCP = Flow("tcp", "192.0.2.9:5060", "192.0.2.1", 40000, 7)
SETTINGS = SipSettings(max_contacts=3)


def request(
    *contacts: str, expires: int | None = None, cseq: int = 1, call_id: str = "c1", **more: str
) -> Request:
    headers = [("Call-ID", call_id), ("CSeq", f"{cseq} REGISTER")]
    headers += [("Contact", contact) for contact in contacts]
    if expires is not None:
        headers.append(("Expires", str(expires)))
    headers += [(name.replace("_", "-"), value) for name, value in more.items()]
    return Request("REGISTER", parse_uri("sip:example.org"), headers)


def after(
    known: tuple[Binding, ...],
    asked: Request,
    *,
    flow: Flow = FLOW,
    now: float = NOW,
    settings: SipSettings = SETTINGS,
) -> Registered:
    return register(known, asked, flow=flow, owner="sip-1/a", now=now, settings=settings)


PHONE = "<sip:bob@192.0.2.1:5060>"


def test_a_first_registration() -> None:
    (binding,) = after((), request(f'{PHONE};q=0.5;+sip.instance="<urn:uuid:1>"', expires=300)).put
    assert binding.id.startswith("phone-")
    assert binding.contact == "sip:bob@192.0.2.1:5060"
    assert (binding.registered, binding.refreshed, binding.expires) == (NOW, NOW, NOW + 300)
    assert binding.instance == "urn:uuid:1"
    assert binding.owner == ""
    assert parse_flow(binding.flow) == FLOW
    assert binding.presence().tuples[0].priority == 64
    assert contact_headers([binding], NOW + 10) == [
        ("Contact", '<sip:bob@192.0.2.1:5060>;q=0.5;expires=290;+sip.instance="<urn:uuid:1>"')
    ]


def test_a_connection_belongs_to_its_process() -> None:
    assert after((), request(PHONE), flow=TCP).put[0].owner == "sip-1/a"


@pytest.mark.parametrize(
    ("contact", "header", "granted"),
    [
        (PHONE, None, 3600),
        (PHONE, 120, 120),
        (f"{PHONE};expires=90", 120, 90),
        (f"{PHONE};expires=soon", None, 3600),
        (PHONE, 999_999, 7200),
        (PHONE, 60, 60),
    ],
)
def test_how_long_it_lasts(contact: str, header: int | None, granted: int) -> None:
    assert after((), request(contact, expires=header)).put[0].expires == NOW + granted


def test_too_short_is_423_with_the_shortest() -> None:
    with pytest.raises(ProtocolError) as refused:
        after((), request(PHONE, expires=59))
    assert (refused.value.status, refused.value.headers) == (423, (("Min-Expires", "60"),))


def test_a_refresh_keeps_when_it_began() -> None:
    first = after((), request(PHONE)).bindings
    again = after(first, request(PHONE, cseq=2), now=NOW + 100)
    assert again.put[0].registered == NOW
    assert again.put[0].refreshed == NOW + 100
    assert again.dropped == ()
    assert again.put[0].presence() == first[0].presence()


def test_expires_0_removes_one_and_the_star_removes_all() -> None:
    both = after((), request(PHONE, "<sip:bob@192.0.2.2>")).bindings
    assert len(both) == 2
    one = after(both, request(f"{PHONE};expires=0", cseq=2))
    assert [b.contact for b in one.bindings] == ["sip:bob@192.0.2.2"]
    assert [b.contact for b in one.dropped] == ["sip:bob@192.0.2.1:5060"]
    none = after(both, request("*", expires=0, cseq=2))
    assert none.bindings == ()
    assert len(none.dropped) == 2


@pytest.mark.parametrize("expires", [None, 60])
def test_the_star_with_time_left_is_400(expires: int | None) -> None:
    with pytest.raises(ProtocolError) as refused:
        after((), request("*", expires=expires))
    assert refused.value.status == 400


def test_without_a_contact_nothing_changes() -> None:
    known = after((), request(PHONE)).bindings
    assert after(known, request(cseq=2)) == Registered(known)


def test_the_same_instance_on_a_new_flow_replaces_the_old() -> None:
    contact = '<sip:bob@192.0.2.1:{};transport=tcp>;reg-id=1;+sip.instance="<urn:uuid:1>"'
    first = after((), request(contact.format(1111)), flow=TCP).bindings
    moved = after(first, request(contact.format(2222), cseq=2), flow=TCP._replace(port=40001, serial=8))
    assert [b.id for b in moved.bindings] == [first[0].id]
    assert moved.bindings[0].contact == "sip:bob@192.0.2.1:2222;transport=tcp"
    assert moved.dropped == ()


def test_a_contact_that_gains_an_instance_replaces_itself() -> None:
    first = after((), request(PHONE)).bindings
    second = after(first, request(f'{PHONE};+sip.instance="<urn:uuid:1>"', cseq=2))
    assert len(second.bindings) == 1
    assert [b.id for b in second.dropped] == [first[0].id]


def test_an_overtaken_request_is_refused_and_a_restarted_phone_is_not() -> None:
    known = after((), request(PHONE, cseq=7)).bindings
    with pytest.raises(ProtocolError) as refused:
        after(known, request(PHONE, cseq=6), now=NOW + 1)
    assert refused.value.status == 500
    assert after(known, request(PHONE, cseq=1), now=NOW + RESTARTED).put
    assert after(known, request(PHONE, cseq=1), flow=TCP, now=NOW + 1).put
    assert after(known, request(PHONE, cseq=1, call_id="c2"), now=NOW + 1).put


def test_one_phone_too_many_takes_the_place_of_the_one_refreshed_longest_ago() -> None:
    known: tuple[Binding, ...] = ()
    for number in range(4):
        known = after(known, request(f"<sip:bob@192.0.2.{number}>"), now=NOW + number).bindings
    assert [b.contact for b in known] == [f"sip:bob@192.0.2.{n}" for n in (1, 2, 3)]


def test_many_contacts_at_once_and_foreign_schemes_are_refused() -> None:
    for contacts, status in (([f"<sip:bob@192.0.2.{n}>" for n in range(4)], 403), (["<tel:+49>"], 400)):
        with pytest.raises(ProtocolError) as refused:
            after((), request(*contacts))
        assert refused.value.status == status


def test_what_has_expired_is_not_listed() -> None:
    known = after((), request(PHONE, expires=60)).bindings
    assert after(known, request(cseq=2), now=NOW + 60).bindings == ()


def test_parameters_are_given_back_but_not_what_a_registrar_added() -> None:
    contact = f'{PHONE};expires=300;received="sip:127.0.0.1:1";methods="A, B"'
    (binding,) = after((), request(contact)).put
    assert binding.parameters == ';methods="A, B"'


def test_the_path_is_kept() -> None:
    (binding,) = after((), request(PHONE, Path="<sip:p1;lr>, <sip:p2;lr>")).put
    assert binding.path == ("<sip:p1;lr>", "<sip:p2;lr>")


def test_bindings_survive_the_bus() -> None:
    known = after((), request(PHONE, "<sip:bob@[2001:db8::1]>")).bindings
    assert decode_bindings(encode_bindings(known)) == known
    assert encode_bindings(()) == b""
    assert decode_bindings(b"") == ()
