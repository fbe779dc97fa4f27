from __future__ import annotations

import pytest

from sip.dialog import Dialog, from_bytes, to_bytes
from sip.errors import BadHeader, ProtocolError
from sip.message import Request, Response, respond
from sip.uri import parse_uri


def subscribe(*extra: tuple[str, str], uri: str = "sip:alice@example.org", cseq: int = 314159) -> Request:
    headers = [
        ("Via", "SIP/2.0/TCP phone;branch=z9hG4bK1"),
        ("From", '"Bob" <sip:bob@example.org>;tag=theirs'),
        ("To", "<sip:alice@example.org>"),
        ("Call-ID", "c"),
        ("CSeq", f"{cseq} SUBSCRIBE"),
        *extra,
    ]
    return Request("SUBSCRIBE", parse_uri(uri), headers)


CONTACT = ("Contact", '"Bob" <sip:bob@192.0.2.1:5060;transport=tcp;ob>;+sip.instance="<urn:uuid:1>"')
UAS = Dialog(
    call_id="c",
    local_tag="ours",
    remote_tag="theirs",
    local_uri="sip:alice@example.org",
    remote_uri="sip:bob@example.org",
    remote_target="sip:bob@192.0.2.1:5060;transport=tcp;ob",
    route_set=("<sip:p1;lr>", "<sip:p2;lr>"),
    remote_cseq=314159,
)


def test_the_one_who_answers_keeps_the_record_route_in_order() -> None:
    request = subscribe(CONTACT, ("Record-Route", "<sip:p1;lr>, <sip:p2;lr>"))
    assert Dialog.from_request_uas(request, "ours") == UAS


def test_the_one_who_asked_reverses_the_record_route() -> None:
    request = subscribe()
    response = respond(request, 200, to_tag="theirs2", headers=[("Contact", "<sip:ps.example.org>")])
    response.headers.add("Record-Route", "<sip:p1;lr>")
    response.headers.add("Record-Route", "<sip:p2;lr>")
    assert Dialog.from_response_uac(request, response) == Dialog(
        call_id="c",
        local_tag="theirs",
        remote_tag="theirs2",
        local_uri="sip:bob@example.org",
        remote_uri="sip:alice@example.org",
        remote_target="sip:ps.example.org",
        route_set=("<sip:p2;lr>", "<sip:p1;lr>"),
        local_cseq=314159,
    )


@pytest.mark.parametrize("contacts", [(), (("Contact", "*"),), (CONTACT, CONTACT)])
def test_a_dialog_needs_exactly_one_contact(contacts: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(BadHeader):
        Dialog.from_request_uas(subscribe(*contacts), "ours")


def test_a_dialog_is_secure_only_if_scheme_and_transport_are() -> None:
    secure = subscribe(CONTACT, uri="sips:alice@example.org")
    assert Dialog.from_request_uas(secure, "ours", secure_transport=True).secure
    assert not Dialog.from_request_uas(secure, "ours").secure
    assert not Dialog.from_request_uas(subscribe(CONTACT), "ours", secure_transport=True).secure


def test_a_request_inside_the_dialog() -> None:
    after, request = UAS.request("NOTIFY", [("Event", "presence")], b"x")
    assert (request.method, str(request.uri), request.body) == ("NOTIFY", UAS.remote_target, b"x")
    assert list(request.headers.items()) == [
        ("Route", "<sip:p1;lr>"),
        ("Route", "<sip:p2;lr>"),
        ("Max-Forwards", "70"),
        ("From", "<sip:alice@example.org>;tag=ours"),
        ("To", "<sip:bob@example.org>;tag=theirs"),
        ("Call-ID", "c"),
        ("CSeq", "1 NOTIFY"),
        ("Event", "presence"),
    ]
    assert after.local_cseq == 1
    assert after.request("NOTIFY")[1].cseq.number == 2


def test_a_strict_router_finds_itself_in_the_request_uri() -> None:
    # RFC 3261 §16.12.1.2 shows the transformation.
    dialog = from_bytes(to_bytes(UAS))
    strict = Dialog(
        call_id="c",
        local_tag="ours",
        remote_tag="",
        local_uri=dialog.local_uri,
        remote_uri=dialog.remote_uri,
        remote_target="sip:callee@u2.domain.com",
        route_set=("<sip:p3.middle.com;method=INVITE;x=1?h=v>", "<sip:p2;lr>"),
    )
    _, request = strict.request("NOTIFY")
    assert str(request.uri) == "sip:p3.middle.com;x=1"
    assert request.headers.fields("Route") == ["<sip:p2;lr>", "<sip:callee@u2.domain.com>"]
    assert request.headers.get("To") == "<sip:bob@example.org>"


def test_without_a_route_set_there_is_no_route() -> None:
    dialog = Dialog.from_request_uas(subscribe(CONTACT), "ours")
    assert "Route" not in dialog.request("NOTIFY")[1].headers


def test_requests_must_come_in_order() -> None:
    later = subscribe(cseq=314160)
    assert UAS.accepts(later)
    for number in (314158, 314159):
        assert not UAS.accepts(subscribe(cseq=number))
        with pytest.raises(ProtocolError) as caught:
            UAS.received(subscribe(cseq=number))
        assert caught.value.status == 500
    assert UAS.received(later).remote_cseq == 314160


def test_a_refresh_moves_the_target_and_nothing_else() -> None:
    later = subscribe(("Contact", "<sip:bob@192.0.2.7>"), ("Record-Route", "<sip:evil;lr>"), cseq=314160)
    moved = UAS.received(later)
    assert (moved.remote_target, moved.route_set) == ("sip:bob@192.0.2.7", UAS.route_set)
    assert UAS.received(later, refresh=False).remote_target == UAS.remote_target
    answer = Response(200, headers=[("Contact", "<sip:bob@192.0.2.8>")])
    assert UAS.answered(answer).remote_target == "sip:bob@192.0.2.8"
    assert UAS.answered(Response(200)) == UAS


def test_a_request_is_matched_by_call_id_and_both_tags() -> None:
    request = subscribe()
    assert not UAS.matches(request)
    request.headers.set("To", "<sip:alice@example.org>;tag=ours")
    assert UAS.matches(request)


def test_a_dialog_survives_the_bus() -> None:
    assert from_bytes(to_bytes(UAS)) == UAS
