"""What a phone says of its push service, and what it hears (RFC 8599)."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pydantic import ValidationError

from presence.model import Show
from sip.bindings import Registered, presence_of, register
from sip.errors import ProtocolError
from sip.flow import Flow
from sip.message import Request
from sip.push import (
    EARLY,
    LEAST,
    PushContact,
    Secrets,
    Verdict,
    feature_caps,
    for_others,
    push_contact,
    queried,
    services,
    verdict,
)
from sip.settings import PushSettings, SipSettings
from sip.uri import parse_uri

NOW = 1_800_000_000.0
FLOW = Flow("tcp", "192.0.2.9:5060", "192.0.2.1", 40000, 7)
KEY = ec.derive_private_key(12345, ec.SECP256R1())
ALL = services(
    PushSettings(
        webpush=True,
        contact="mailto:admin@example.org",
        gateways={"acme": "https://push.example.org/ring", "apns": "http://127.0.0.1:8080/"},
    ),
    Secrets(KEY, "letmein"),
)
PRID = "https://push.example.net/wpush/v2/abc?x=1"
ACME = "pn-provider=acme;pn-param=acme-param;pn-prid=ZTY4ZDJlMzODE1NmUgKi0K"
"RFC 8599, figure 2."
WEB = f"pn-provider=webpush;pn-prid={quote(PRID, safe='')}"


def request(*parameters: str, expires: int = 7200, tag: str = "", caps: str = "") -> Request:
    headers = [("Via", "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1"), ("To", "<sip:alice@example.com>")]
    headers += [("Call-ID", "c1"), ("CSeq", "1826 REGISTER"), ("Expires", str(expires))]
    headers += [("Contact", f"<sip:alice@alicemobile.example.com;{each}>{tag}") for each in parameters]
    headers += [("Feature-Caps", caps)] if caps else []
    return Request("REGISTER", parse_uri("sip:example.com"), headers)


def after(asked: Request, **settings: Any) -> Registered:
    return register(
        (), asked, flow=FLOW, owner="sip-1/a", now=NOW, settings=SipSettings(**settings), services=ALL
    )


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("transport=tcp", None),
        ("pn-provider", PushContact("")),
        ("pn-provider=ACME", PushContact("acme")),
        (ACME, PushContact("acme", "ZTY4ZDJlMzODE1NmUgKi0K", "acme-param")),
        (WEB, PushContact("webpush", PRID)),
    ],
)
def test_what_a_contact_says_of_push(parameters: str, expected: PushContact | None) -> None:
    assert push_contact(parse_uri(f"sip:alice@phone.example.com;{parameters}")) == expected


@pytest.mark.parametrize(
    ("parameters", "caps", "woken"),
    [
        ("transport=tcp", "", False),
        (ACME, "", True),
        (ACME.replace("acme;", "Acme;", 1), "", True),
        ("pn-provider=acme", "", False),  # a query, §5.6.1.2
        (ACME, '*;+sip.pns="acme"', False),  # a proxy nearer to the phone does it, §5.6.1.1
        (ACME, '*;+sip.pns="fcm"', True),
        ("pn-provider=fcm;pn-prid=abc;pn-param=p", "", False),
        ("pn-provider=apns;pn-prid=00fc13adff78512", "", False),  # §10: pn-param is required
        ("pn-provider=apns;pn-prid=00fc13adff78512;pn-param=DEF123GHIJ.com.example.app.voip", "", True),
        (WEB, "", True),
        ("pn-provider=webpush;pn-prid=http%3A%2F%2Fpush.example.net%2Fa", "", False),
        ("pn-provider=webpush;pn-prid=https%3A%2F%2Fme%40push.example.net%2Fa", "", False),
        ("pn-provider=webpush;pn-prid=https%3A%2F%2F%2Fa", "", False),
        ("pn-provider=webpush;pn-prid=https%3A%2F%2Fpush.example.net%3A99999%2Fa", "", False),
        ("pn-provider=webpush;pn-prid=https%3A%2F%2Fpush.example.net%2Fa%0D%0AX%3A1", "", False),
        (
            "pn-provider=webpush;pn-prid=" + quote("https://push.example.net/" + "a" * 1500, safe=""),
            "",
            False,
        ),
    ],
)
def test_who_is_woken(parameters: str, caps: str, woken: bool) -> None:
    (binding,) = after(request(parameters, caps=caps)).put
    assert binding.wakes is woken


def test_a_registration_too_short_to_wake_anybody_is_423() -> None:
    with pytest.raises(ProtocolError) as refused:
        after(request(ACME, expires=LEAST - 1))
    assert refused.value.status == 423
    assert refused.value.headers == (("Min-Expires", str(LEAST)),)
    assert after(request("pn-provider=fcm;pn-prid=a;pn-param=b", expires=LEAST - 1)).put
    assert after(request(ACME, expires=0)).put == ()
    (short,) = after(request(ACME), max_expires=LEAST - 1).put
    assert not short.wakes


@pytest.mark.parametrize(
    ("parameters", "expires", "caps", "told"),
    [
        ("transport=tcp", 60, "", ()),
        ("pn-provider", 60, "", ("acme", "apns", "webpush")),
        ("pn-provider=acme", 60, "", ("acme",)),
        ("pn-provider=fcm", 60, "", 555),
        ("pn-provider=fcm", 60, '*;+sip.pns="fcm"', ()),
        ("pn-provider=fcm", 0, "", ()),  # it leaves, §4.1.2
        ("pn-provider=fcm;pn-prid=abc;pn-param=p", 60, "", ()),
    ],
)
def test_a_query_hears_what_there_is(
    parameters: str, expires: int, caps: str, told: tuple[str, ...] | int
) -> None:
    asked = request(parameters, expires=expires, caps=caps)
    if isinstance(told, int):
        with pytest.raises(ProtocolError) as refused:
            queried(asked, ALL)
        assert (refused.value.status, refused.value.reason) == (
            555,
            "Push Notification Service Not Supported",
        )
    else:
        assert tuple(sorted(queried(asked, ALL))) == told


def test_a_query_where_there_is_no_push_at_all_is_555() -> None:
    with pytest.raises(ProtocolError, match="555"):
        queried(request("pn-provider"), {})


def test_each_service_has_a_feature_caps_of_its_own() -> None:
    public = ALL["webpush"].features[0][1]
    assert feature_caps(("acme", "webpush"), request(ACME), ALL) == [
        ("Feature-Caps", '*;+sip.pns="acme"'),
        ("Feature-Caps", f'*;+sip.pns="webpush";+sip.vapid="{public}"'),
    ]
    # RFC 8599, figure 3: a value beyond 120 for a phone that wakes by itself.
    told = feature_caps(("acme",), request(ACME, tag=";+sip.pnsreg"), ALL)
    assert told == [("Feature-Caps", f'*;+sip.pns="acme";+sip.pnsreg="{EARLY}"')]
    assert EARLY > 120


def test_others_are_not_shown_what_would_wake_the_phone() -> None:
    seen = for_others(parse_uri(f"sip:alice@phone.example.com;ob;{ACME}"))
    assert str(seen) == "sip:alice@phone.example.com;ob"


def test_a_phone_that_sleeps_is_away() -> None:
    (binding,) = after(request(ACME)).put
    (awake,) = presence_of([binding]).tuples
    (asleep,) = presence_of([type(binding)(**{**_fields(binding), "asleep": NOW + 9})]).tuples
    assert (awake.open, awake.show) == (True, None)
    assert (asleep.open, asleep.show, asleep.since) == (True, Show.AWAY, NOW + 9)


def _fields(binding: Any) -> dict[str, Any]:
    return {name: getattr(binding, name) for name in binding.__struct_fields__}


def _decoded(part: str) -> Any:
    return json.loads(_bytes(part))


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_web_push_is_empty_urgent_and_signed_for_that_service_alone() -> None:
    bell = ALL["webpush"].bell(PushContact("webpush", PRID), NOW, 3600)
    headers = dict(bell.headers)
    assert (bell.url, bell.body, bell.named_by_phone) == (PRID, b"", True)
    assert (headers["TTL"], headers["Urgency"]) == ("3600", "high")
    assert len(headers["Topic"]) <= 32
    scheme, t, k = headers["Authorization"].split(" ")
    assert scheme == "vapid"
    token, key = t.removeprefix("t=").rstrip(","), _bytes(k.removeprefix("k="))
    head, claims, signature = token.split(".")
    assert _decoded(head) == {"typ": "JWT", "alg": "ES256"}
    assert _decoded(claims) == {
        "aud": "https://push.example.net",
        "exp": int(NOW) + 12 * 3600,
        "sub": "mailto:admin@example.org",
    }
    raw = _bytes(signature)
    assert len(raw) == 64
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
    assert public.public_numbers() == KEY.public_key().public_numbers()
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    public.verify(encode_dss_signature(r, s), f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Push.example.net:443/x", "https://push.example.net"),
        ("https://push.example.net:8443/x", "https://push.example.net:8443"),
        ("https://[2001:4860::1]/x", "https://[2001:4860::1]"),
    ],
)
def test_web_push_is_signed_for_the_origin_of_the_service(url: str, origin: str) -> None:
    """RFC 8292 §2, RFC 6454 §6.1: a port that goes without saying is not said."""
    authorization = dict(ALL["webpush"].bell(PushContact("webpush", url), NOW, 60).headers)["Authorization"]
    assert _decoded(authorization.split(".")[1])["aud"] == origin


def test_a_gateway_is_told_all_the_phone_said_and_proves_nothing_itself() -> None:
    bell = ALL["acme"].bell(PushContact("acme", "abc", "acme-param"), NOW, 60)
    assert bell.url == "https://push.example.org/ring"
    assert not bell.named_by_phone
    assert dict(bell.headers) == {"Content-Type": "application/json", "Authorization": "Bearer letmein"}
    told = {"provider": "acme", "prid": "abc", "param": "acme-param", "ttl": 60}
    assert json.loads(bell.body) == told


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Verdict.TAKEN),
        (201, Verdict.TAKEN),
        (202, Verdict.TAKEN),
        (301, Verdict.LATER),
        (401, Verdict.LATER),
        (404, Verdict.GONE),
        (410, Verdict.GONE),
        (429, Verdict.LATER),
        (503, Verdict.LATER),
        (0, Verdict.LATER),
    ],
)
def test_what_an_answer_means(status: int, expected: Verdict) -> None:
    assert verdict(status) is expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"gateways": {"fcm": "http://push.example.org/"}},
        {"gateways": {"fcm": "ftp://push.example.org/"}},
        {"gateways": {"webpush": "https://push.example.org/"}},
        {"gateways": {"f;cm": "https://push.example.org/"}},
        {"contact": "admin@example.org"},
        {"private_networks": ["here"]},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PushSettings(**wrong)


def test_nothing_secret_is_in_a_repr() -> None:
    bell = ALL["acme"].bell(PushContact("acme", "abcdef", "p"), NOW, 60)
    assert "letmein" not in repr(bell)
    assert "abcdef" not in repr(PushContact("acme", "abcdef", "p"))
