from __future__ import annotations

from typing import Any

import pytest

from sip.bindings import (
    RESTARTED,
    Binding,
    Registered,
    contact_headers,
    decode_bindings,
    encode_bindings,
    flows_of,
    presence_of,
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
VIA = "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1"


def request(
    *contacts: str, expires: int | None = None, cseq: int = 1, call_id: str = "c1", **more: str
) -> Request:
    headers = [("Via", VIA), ("To", "<sip:bob@example.org>")]
    headers += [("Call-ID", call_id), ("CSeq", f"{cseq} REGISTER")]
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
    assert presence_of([binding]).tuples[0].priority == 64
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
    assert presence_of(again.put) == presence_of(first)


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


# --- several flows of one phone (RFC 5626) -------------------------------------------------------------


def flow_contact(reg_id: int | str, more: str = "", port: int = 5060) -> str:
    return f'<sip:bob@192.0.2.1:{port};transport=tcp;ob>;reg-id={reg_id};+sip.instance="<urn:uuid:1>"{more}'


OUTBOUND: dict[str, Any] = {"Supported": "path, outbound"}
OTHER_TCP = TCP._replace(port=40001, serial=8)


def two_flows() -> tuple[Binding, ...]:
    first = after((), request(flow_contact(1), **OUTBOUND), flow=TCP).bindings
    return after(first, request(flow_contact(2), cseq=2, **OUTBOUND), flow=OTHER_TCP, now=NOW + 1).bindings


def test_two_flows_are_two_bindings_of_one_phone() -> None:
    both = two_flows()
    assert [(b.id, b.reg_id, parse_flow(b.flow)) for b in both] == [
        (both[0].id, 1, TCP),
        (both[0].id, 2, OTHER_TCP),
    ]
    assert flows_of(reversed(both), both[0].id) == both
    assert presence_of(both) == presence_of(both[:1])


def test_outbound_is_confirmed_to_who_asked_for_it_with_an_instance_and_a_reg_id() -> None:
    assert after((), request(flow_contact(1), **OUTBOUND)).outbound
    assert not after((), request(flow_contact(1))).outbound
    without = "<sip:bob@192.0.2.1;ob>;reg-id=1"
    decided = after((), request(without, **OUTBOUND))
    assert (decided.outbound, decided.put[0].reg_id) == (False, 0)
    assert not after((), request(f'{PHONE};+sip.instance="<urn:uuid:1>"', **OUTBOUND)).outbound


@pytest.mark.parametrize("reg_id", ["0", "-1", "x", "1.5", "2147483648", "99999999999999"])
def test_a_reg_id_that_is_none_is_ignored(reg_id: str) -> None:
    assert after((), request(flow_contact(reg_id))).put[0].reg_id == 0


def test_a_flow_registered_again_replaces_itself_only() -> None:
    both = two_flows()
    again = after(both, request(flow_contact(1, port=7), cseq=3, **OUTBOUND), flow=TCP, now=NOW + 9)
    assert {b.reg_id: b.refreshed for b in again.bindings} == {1: NOW + 9, 2: NOW + 1}
    assert again.dropped == ()
    gone = after(both, request(flow_contact(2, ";expires=0"), cseq=4, **OUTBOUND), flow=OTHER_TCP)
    assert [b.reg_id for b in gone.bindings] == [1]
    assert [b.reg_id for b in gone.dropped] == [2]


def test_a_phone_that_comes_without_a_reg_id_has_no_other_flows_any_more() -> None:
    plain = '<sip:bob@192.0.2.1>;+sip.instance="<urn:uuid:1>"'
    decided = after(two_flows(), request(plain, cseq=9))
    assert [b.reg_id for b in decided.bindings] == [0]
    assert {b.reg_id for b in decided.dropped} == {1, 2}


def test_two_phones_with_the_same_address_behind_their_nats_are_two() -> None:
    other = flow_contact(1).replace("uuid:1", "uuid:2")
    first = after((), request(flow_contact(1), **OUTBOUND), flow=TCP).bindings
    assert len(after(first, request(other, call_id="c2", **OUTBOUND), flow=OTHER_TCP).bindings) == 2


def test_one_flow_too_many_takes_the_place_of_the_phones_oldest_and_phones_are_counted_as_one() -> None:
    known: tuple[Binding, ...] = after((), request(PHONE)).bindings
    for reg_id in range(1, 6):
        asked = request(flow_contact(reg_id), cseq=reg_id, **OUTBOUND)
        known = after(known, asked, flow=TCP._replace(serial=reg_id), now=NOW + reg_id).bindings
    assert sorted(b.reg_id for b in known) == [0, 2, 3, 4, 5]


def test_only_one_flow_is_registered_at_a_time() -> None:
    with pytest.raises(ProtocolError) as refused:
        after((), request(flow_contact(1), "<sip:bob@192.0.2.9>", **OUTBOUND))
    assert refused.value.status == 400
    assert after(two_flows(), request(flow_contact(3), flow_contact(1, ";expires=0"), cseq=5, **OUTBOUND)).put


@pytest.mark.parametrize(
    ("path", "supported", "status"),
    [
        ("", "outbound", 439),
        ("<sip:edge.example.org;lr>", "outbound", 439),
        ("<sip:edge.example.org;lr;ob>", "outbound", 0),
        ("", "path", 0),
    ],
)
def test_a_first_hop_that_keeps_no_flows_is_439(path: str, supported: str, status: int) -> None:
    asked = request(flow_contact(1), Supported=supported)
    asked.headers.add("Via", "SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK2")
    if path:
        asked.headers.add("Path", path)
    if status:
        with pytest.raises(ProtocolError) as refused:
            after((), asked)
        assert (refused.value.status, refused.value.reason) == (439, "First Hop Lacks Outbound Support")
    else:
        decided = after((), asked)
        assert (decided.outbound, decided.put[0].reg_id) == (bool(path), 1 if path else 0)


def test_a_contact_that_is_the_address_itself_is_403() -> None:
    for uri in ("sip:bob@example.org", "sip:bob@example.org;gr=urn:uuid:1"):
        with pytest.raises(ProtocolError) as refused:
            after((), request(f'<{uri}>;+sip.instance="<urn:uuid:1>"'))
        assert refused.value.status == 403


def test_what_is_kept_of_a_registration_is_bounded() -> None:
    long = "c" * 5000
    (binding,) = after((), request(PHONE, call_id=long, cseq=2)).put
    assert len(binding.call_id) == 32
    with pytest.raises(ProtocolError, match="CSeq"):
        after((binding,), request(PHONE, call_id=long, cseq=1))
    after((binding,), request(PHONE, call_id=long + "d", cseq=1))
    with pytest.raises(ProtocolError, match="too long"):
        after((), request(f'{PHONE};+sip.instance="<urn:x:{"i" * 600}>"'))
