"""The test phone's own reading and writing, held against the RFCs' examples."""

from __future__ import annotations

import pytest

from tests.support.sipwire import Framer, challenge, credentials, parse

RFC_7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_credentials_are_those_of_rfc_7616(algorithm: str, response: str) -> None:
    proof = credentials(
        [RFC_7616.format(algorithm="MD5"), RFC_7616.format(algorithm="SHA-256")],
        method="GET",
        uri="/dir/index.html",
        user="Mufasa",
        password="Circle of Life",
        algorithms=(algorithm,),
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert challenge(proof)["response"] == response


def test_a_quoted_parameter_may_hold_commas() -> None:
    assert challenge('Digest realm="a, b", qop="auth,auth-int", nonce="n"') == {
        "realm": "a, b",
        "qop": "auth,auth-int",
        "nonce": "n",
    }


def test_a_stream_is_cut_by_content_length_wherever_it_is_split() -> None:
    wire = b"\r\n\r\nMESSAGE a SIP/2.0\r\nl: 2\r\n\r\nhiSIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"
    for at in range(len(wire)):
        framer = Framer()
        found = framer.feed(wire[:at]) + framer.feed(wire[at:])
        assert [(m.start, m.body) for m in found] == [("MESSAGE a SIP/2.0", b"hi"), ("SIP/2.0 200 OK", b"")]


def test_compact_and_folded_headers_are_read() -> None:
    message = parse(b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP h;branch=z9hG4bKa\r\nSubject: one\r\n two\r\n\r\n")
    assert message.branch == "z9hG4bKa"
    assert message["Subject"] == "one two"
