from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip import grammar
from sip.errors import BadUri
from sip.grammar import Malformed
from sip.headers import (
    Challenge,
    Credentials,
    CSeq,
    Event,
    MediaType,
    NameAddr,
    SubscriptionState,
    Via,
)
from sip.uri import parse_uri


@pytest.mark.parametrize(
    "text",
    [
        "SIP/2.0/UDP 127.0.0.1:45049;rport;branch=z9hG4bKPjT7M2O1q",
        "SIP  / 2.0  / TCP     spindle.example.com   ;  branch  =   z9hG4bK9ikj8",
        "SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111",
        "SIP/2.0/TCP 192.0.2.2:5060;branch=x;alias",
        "SIP/2.0/WSS xyz.invalid;keep;branch=z9hG4bK1",
    ],
)
def test_a_via_is_written_as_it_was_read(text: str) -> None:
    assert str(Via.parse(text)) == text


def test_the_parts_of_a_via() -> None:
    via = Via.parse("SIP / 2.0 / tls [2001:DB8::1]:5061 ;branch=z9hG4bK1;rport=77;received=[::1];Foo")
    assert (via.transport, via.host, via.port, via.hostport) == (
        "TLS",
        "2001:db8::1",
        5061,
        "[2001:db8::1]:5061",
    )
    assert (via.branch, via.rport, via.received, via.parameter("foo")) == ("z9hG4bK1", 77, "::1", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/",
        "SIP / 2.0 / ",
        "SIP/1.0/UDP host",
        "SIP/2.0/UDP host;;branch=x",
        "HTTP/2.0/UDP host",
        "SIP/2.0/U DP/host",
        "SIP/2.0/UDP host:99999",
    ],
)
def test_what_is_no_via_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        Via.parse(text)


def test_a_via_is_stamped_with_the_source_of_its_request() -> None:
    def stamp(text: str) -> str:
        return str(Via.parse(text).stamped("192.0.2.9", 4711))

    assert stamp("SIP/2.0/UDP h;branch=1;rport") == "SIP/2.0/UDP h;branch=1;rport=4711;received=192.0.2.9"
    assert stamp("SIP/2.0/UDP h;branch=1") == "SIP/2.0/UDP h;branch=1;received=192.0.2.9"
    assert stamp("SIP/2.0/UDP 192.0.2.9;branch=1") == "SIP/2.0/UDP 192.0.2.9;branch=1"
    # What the peer claims about itself is overwritten.
    assert stamp("SIP/2.0/UDP 192.0.2.9;received=10.0.0.1") == "SIP/2.0/UDP 192.0.2.9;received=192.0.2.9"


def test_which_branch_is_the_first_one_is_seen_in_any_spelling() -> None:
    for text in ("SIP/2.0/UDP h; branch=z;branch=q", "SIP/2.0/UDP h;Branch=z;branch=q"):
        assert Via.parse(text).branch == "z"
        assert str(Via.parse(text).stamped("192.0.2.1", 5)) == (
            "SIP/2.0/UDP h;" + text.partition(";")[2].strip() + ";received=192.0.2.1"
        )
    assert Via.parse("SIP/2.0/UDP h;branch=z;branch=q").branch == "z"


def test_vias_that_differ_in_their_branch_only_differ_in_nothing_else() -> None:
    one, other = (Via.parse(f"SIP/2.0/TCP h:1;rport;branch=z9hG4bK{n};ttl=1") for n in "12")
    stamped = [via.stamped("192.0.2.9", 4711) for via in (one, other)]
    assert (one.branch, other.branch) == ("z9hG4bK1", "z9hG4bK2")
    assert one.parameters[0::2] == other.parameters[0::2] == (("rport", None), ("ttl", "1"))
    assert [via.branch for via in stamped] == ["z9hG4bK1", "z9hG4bK2"]
    assert [(via.rport, via.received) for via in stamped] == [(4711, "192.0.2.9")] * 2
    assert str(stamped[1]) == "SIP/2.0/TCP h:1;rport=4711;branch=z9hG4bK2;ttl=1;received=192.0.2.9"
    assert Via.parse(str(stamped[1])) == stamped[1]


@pytest.mark.parametrize(
    ("text", "display", "uri", "tag"),
    [
        ("<sip:a@b>;tag=1", "", "sip:a@b", "1"),
        ("sip:a@b;tag=1", "", "sip:a@b", "1"),
        ("sip:a@b", "", "sip:a@b", ""),
        ("caller<sip:caller@example.com>;tag=323", "caller", "sip:caller@example.com", "323"),
        (
            '"Bob \\"the\\" \\\\ <builder>, Ltd" <sip:b@c;x=1>;tag=2',
            'Bob "the" \\ <builder>, Ltd',
            "sip:b@c;x=1",
            "2",
        ),
        ("J. Rosenberg <sip:j@d> ;   tag    = 98asjd8", "J. Rosenberg", "sip:j@d", "98asjd8"),
        ("Jürgen Groß <sip:j@d>", "Jürgen Groß", "sip:j@d", ""),
        ('"" <sip:j@d>;tag=x', "", "sip:j@d", "x"),
        ("<tel:+49123>", "", "tel:+49123", ""),
        ("<sip:a@b;lr>;TAG=Q", "", "sip:a@b;lr", "Q"),
    ],
)
def test_an_address_with_a_name(text: str, display: str, uri: str, tag: str) -> None:
    address = NameAddr.parse(text)
    assert (address.display, str(address.uri), address.tag, str(address)) == (display, uri, tag, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"Mr. User <sip:a@b>',
        '"Mr. User" sip:a@b',
        "<sip:a@b",
        "<sip:a@b> tag=1",
        "<sip:a@b>;;tag=1",
        "sip:a@b?Route=%3Csip:c%3E",
        'Mr "X <sip:a@b>',
        "Bob",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises((Malformed, BadUri)):
        NameAddr.parse(text)


def test_values_are_equal_by_what_they_say_or_not_equal() -> None:
    for parse, one, same, other in (
        (NameAddr.parse, "<sip:a@b>;tag=x", "<sip:a@b> ;tag=x", "<sip:a@b>;tag=y"),
        (Via.parse, "SIP/2.0/UDP a;branch=x", "SIP/2.0/udp  A;branch=x", "SIP/2.0/UDP a;branch=y"),
    ):
        value = parse(one)
        assert (value == parse(same), value != parse(same)) == (True, False)
        assert (value == parse(other), value != parse(other)) == (False, True)


def test_a_bracket_that_was_never_opened_is_part_of_a_parameter() -> None:
    assert NameAddr.parse("sip:a@b;tag=x>").tag == "x>"


def test_unknown_contact_parameters_survive_a_change() -> None:
    text = (
        '"x" <sip:u@h:5;transport=tcp>;+sip.instance="<urn:uuid:1>";methods="INVITE, MESSAGE";'
        'received="sip:127.0.0.1:45468;transport=tcp";expires=300'
    )
    contact = NameAddr.parse(text)
    assert contact.parameter("+sip.instance") == "<urn:uuid:1>"
    assert contact.parameter("received") == "sip:127.0.0.1:45468;transport=tcp"
    assert str(contact.with_parameter("expires", "60")) == text.replace("=300", "=60").replace('"x"', "x")
    assert str(contact.without_parameter("Methods")) == text.replace(
        'methods="INVITE, MESSAGE";', ""
    ).replace('"x"', "x")


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        ("", None),
        (";expires=60", 60),
        (';expires="0"', 0),
        (";expires=x", 3600),
        (";expires=99999999999", 2**32 - 1),
    ],
)
def test_contact_expiry(text: str, expires: int | None) -> None:
    assert NameAddr.parse("<sip:a@b>" + text).expires == expires


@given(st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=40))
def test_any_display_name_survives_writing_and_reading(display: str) -> None:
    address = NameAddr(parse_uri("sip:a@b"), display.strip(), (("tag", "x"),))
    assert NameAddr.parse(str(address)) == address


def test_cseq() -> None:
    assert CSeq.parse("0009 INVITE") == CSeq(9, "INVITE")
    assert CSeq.parse("1\t  MESSAGE") == CSeq(1, "MESSAGE")
    assert str(CSeq(1, "MESSAGE")) == "1 MESSAGE"
    assert CSeq.parse("2147483647 X") == CSeq(2**31 - 1, "X")
    for text in ("2147483648 X", "-1 X", "X", "1", "1 2 3", "", "36893488147419103232 REGISTER", "٣ X"):
        with pytest.raises(Malformed):
            CSeq.parse(text)


def test_event_subscription_state_and_media_types() -> None:
    event = Event.parse("Presence.winfo ;id=7")
    assert (event.package, event.id) == ("presence.winfo", "7")
    state = SubscriptionState.parse("terminated;reason=Rejected;retry-after=5;expires=x")
    assert (state.value, state.reason, state.retry_after, state.expires) == (
        "terminated",
        "rejected",
        5,
        None,
    )
    media = MediaType.parse('text / Plain;charset="ISO-8859-1"')
    assert (media.value, media.charset) == ("text/plain", "iso-8859-1")
    assert MediaType.parse("text/*;q=0.5").includes("text/plain")
    assert not MediaType.parse("text/plain;q=0.0").includes("text/plain")
    assert MediaType.parse("*/*").includes("application/pidf+xml")


def test_lists_are_split_outside_quotes_and_brackets_only() -> None:
    text = '"a,b" <sip:c,d@e>;x="1,2" , <sip:f@g>,sip:h@i'
    assert grammar.split_list(text) == ['"a,b" <sip:c,d@e>;x="1,2"', "<sip:f@g>", "sip:h@i"]


@pytest.mark.parametrize(
    "text",
    [
        'Digest username="a", realm="r", nonce="n", uri="sip:x", response="1", qop=auth, nc=1, cnonce="c"',
        'Digest username="a",realm="r",nonce="n",uri="sip:x",response="1",qop="auth",nc="1",cnonce="c"',
        'digest  Username="a" , REALM="r", nonce=n, uri="sip:x", response=1, qop=auth, nc=1, cnonce=c',
    ],
)
def test_credentials_in_every_spelling(text: str) -> None:
    credentials = Credentials.parse(text)
    assert credentials.scheme == "digest"
    assert dict(credentials.fields) == {
        "username": "a",
        "realm": "r",
        "nonce": "n",
        "uri": "sip:x",
        "response": "1",
        "qop": "auth",
        "nc": "1",
        "cnonce": "c",
    }


def test_a_field_that_stands_twice_makes_credentials_malformed() -> None:
    for text in ('Digest realm="a", Realm="b"', 'Digest realm="a', "Digest realm", "", ", x=1"):
        with pytest.raises(Malformed):
            Challenge.parse(text)


def test_scanning_is_linear_in_hostile_text() -> None:
    # Each would take minutes with backtracking.
    size = 60_000
    for text in (
        " " * size,
        '"' * size,
        "<" * size,
        ";" * size,
        "\\" * size,
        '"' + '\\"' * size,
        ", " * size,
    ):
        for parse in (NameAddr.parse, Via.parse, Event.parse, Credentials.parse, CSeq.parse):
            for hostile in (text, f'<sip:a@b>;x={text}"', f"Digest x={text}", f"SIP/2.0/UDP a;x={text}"):
                with suppress(Malformed, BadUri):
                    assert parse(hostile)


@pytest.mark.parametrize(
    "text",
    [
        'realm="r", qop=auth, nonce=""',
        'realm="a, b", qop=auth',
        'realm="r", realm="s"',
        'realm="r", REALM="s"',
        'realm="r" qop=auth',
        'realm="r",qop=auth',
        'realm="',
        'realm="r, qop=auth',
        "realm=, qop=auth",
        "realm, qop=auth",
        'qop=au"th"',
        "qop=a b",
        'realm="r\\"", qop=auth',
        'x-realm="r"',
    ],
)
def test_credentials_in_the_usual_spelling_say_what_they_would_in_any(text: str) -> None:
    def read(text: str) -> object:
        try:
            return Credentials.parse(f"Digest {text}")
        except Malformed:
            return None

    assert read(text) == read(f"{text} ,")  # by which it is no more the usual one


@pytest.mark.parametrize("piece", [" ", "\t", "a", "0-", "a=", 'a="', "a b", ',a="b"', '\\"'])
def test_credentials_are_read_in_one_go_whatever_they_say(piece: str) -> None:
    begun = time.process_time()
    for end in ("", "!", '"', "="):
        with suppress(Malformed):
            Credentials.parse("Digest " + piece * (60_000 // len(piece)) + end)
    assert time.process_time() - begun < 1
