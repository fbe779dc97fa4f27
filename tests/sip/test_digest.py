from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip import digest
from sip.digest import NonceKeeper, Verdict, answer, compute, find_credentials, make_ha1, select
from sip.headers import Challenge
from sip.message import Request
from sip.uri import parse_uri

REALM, URI, NOW = "example.org", "sip:example.org", 1_795_000_000.0
HA1 = {name: make_ha1(name, "alice", REALM, "secret") for name in ("MD5", "SHA-256")}


# --- vectors of the RFCs -----------------------------------------------------------------------------


def test_rfc_2617_section_3_5() -> None:
    fields = {
        "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093",
        "uri": "/dir/index.html",
        "qop": "auth",
        "nc": "00000001",
        "cnonce": "0a4f113b",
    }
    ha1 = make_ha1("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life")
    assert ha1 == "939e7578ed9e3c518a452acee763bce9"
    assert compute(fields, "MD5", ha1, "GET") == "6629fae49393a05397450978507c4ef1"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc_7616_section_3_9_1(algorithm: str, response: str) -> None:
    fields = {
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "uri": "/dir/index.html",
        "qop": "auth",
        "nc": "00000001",
        "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    }
    ha1 = make_ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life")
    assert compute(fields, algorithm, ha1, "GET") == response


@pytest.mark.skipif(not digest.supported("SHA-512-256"), reason="this OpenSSL has no SHA-512/256")
def test_rfc_7616_section_3_9_2_with_the_response_of_erratum_4897() -> None:
    fields = {
        "nonce": "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
        "uri": "/doe.json",
        "qop": "auth",
        "nc": "00000001",
        "cnonce": "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
    }
    ha1 = make_ha1("SHA-512-256", "Jäsøn Doe", "api@example.org", "Secret, or not?")
    expected = "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
    assert compute(fields, "SHA-512-256", ha1, "GET") == expected


def test_a_nonce_of_another_process_is_stale_with_the_right_answer_and_nothing_with_a_wrong_one() -> None:
    for password, verdict in (("secret", Verdict.STALE), ("wrong", Verdict.BAD)):
        asked = challenge(NonceKeeper(b"another process's"))
        value = answer(asked, "alice", "REGISTER", URI, password=password)
        assert judge(keeper(), register(value)) is verdict


def test_rfc_8760_an_empty_body_hashes_as_the_empty_string() -> None:
    assert (
        digest.hexdigest("SHA-256", b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


# --- challenge, answer, verdict ------------------------------------------------------------------------


def keeper(**options: float) -> NonceKeeper:
    return NonceKeeper(b"0123456789abcdef", lifetime=options.get("lifetime", 300.0))


def challenge(nonces: NonceKeeper, algorithm: str = "MD5", now: float = NOW) -> Challenge:
    return Challenge.parse(nonces.challenges([algorithm], REALM, now)[0])


def register(credentials: str = "", name: str = "Authorization", body: bytes = b"") -> Request:
    headers = [(name, credentials)] if credentials else []
    return Request("REGISTER", parse_uri(URI), headers, body)


def judge(nonces: NonceKeeper, request: Request, now: float = NOW, ha1: dict[str, str] = HA1) -> Verdict:
    return nonces.verify(find_credentials(request, REALM), request, ha1, now)


def test_challenges_come_best_first_with_one_nonce() -> None:
    values = keeper().challenges(["SHA-256", "MD5"], REALM, NOW, stale=True)
    parsed = [dict(Challenge.parse(value).fields) for value in values]
    assert [(fields["algorithm"], fields["qop"], fields["stale"]) for fields in parsed] == [
        ("SHA-256", "auth", "true"),
        ("MD5", "auth", "true"),
    ]
    assert parsed[0]["nonce"] == parsed[1]["nonce"]
    assert values[1].startswith('Digest realm="example.org", nonce="')


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "MD5-sess", "SHA-256-sess"])
@pytest.mark.parametrize("name", ["Authorization", "Proxy-Authorization"])
def test_the_right_answer_is_accepted(algorithm: str, name: str) -> None:
    nonces = keeper()
    value = answer(challenge(nonces, algorithm), "alice", "REGISTER", URI, password="secret")
    assert judge(nonces, register(value, name)) is Verdict.OK


def test_ha1_is_as_good_as_the_password() -> None:
    nonces = keeper()
    value = answer(challenge(nonces, "SHA-256"), "alice", "REGISTER", URI, ha1=HA1["SHA-256"])
    assert judge(nonces, register(value)) is Verdict.OK


def test_auth_int_covers_the_body() -> None:
    nonces = keeper()
    offer = Challenge.parse(nonces.challenges(["MD5"], REALM, NOW)[0].replace("auth", "auth-int"))
    value = answer(offer, "alice", "REGISTER", URI, password="secret", body=b"one")
    assert "qop=auth-int" in value
    assert judge(nonces, register(value, body=b"two")) is Verdict.BAD
    assert judge(nonces, register(value, body=b"one")) is Verdict.OK


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.replace('response="', 'response="0'),
        lambda value: value.replace('uri="sip:example.org"', 'uri="sip:example.com"'),
        lambda value: value.replace("nc=00000001", "nc=00000002"),
        lambda value: value.replace("algorithm=MD5", "algorithm=SHA-256"),
        lambda value: value.replace("algorithm=MD5", "algorithm=SHA-1"),
        lambda value: value.replace("qop=auth", "qop=other"),
        lambda value: value.replace('response="', 'response="ü'),
        lambda value: value.replace(", qop=auth", ""),
    ],
)
def test_a_changed_answer_is_bad(change: object) -> None:
    nonces = keeper()
    value = answer(challenge(nonces), "alice", "REGISTER", URI, password="secret")
    assert callable(change)
    assert change(value) != value
    assert judge(nonces, register(change(value))) is Verdict.BAD


def test_a_wrong_password_an_unknown_user_and_an_algorithm_without_proof_are_bad() -> None:
    nonces = keeper()
    wrong = answer(challenge(nonces), "alice", "REGISTER", URI, password="other")
    right = answer(challenge(nonces), "alice", "REGISTER", URI, password="secret")
    assert judge(nonces, register(wrong)) is Verdict.BAD
    assert judge(nonces, register(right), ha1={}) is Verdict.BAD
    assert judge(nonces, register(right), ha1={"SHA-256": HA1["SHA-256"]}) is Verdict.BAD


def test_nobody_gets_in_with_the_hash_that_stands_for_no_hash() -> None:
    nonces = keeper()
    value = answer(challenge(nonces), "nobody", "REGISTER", URI, ha1="0" * 32)
    assert judge(nonces, register(value), ha1={}) is Verdict.BAD


@pytest.mark.parametrize(
    "value",
    ["", "Basic YTpi", 'Digest realm="other"', "Digest", 'Digest realm="example.org', "NoOneKnows x=y"],
)
def test_what_is_not_for_this_realm_is_missing(value: str) -> None:
    assert judge(keeper(), register(value)) is Verdict.MISSING


def test_credentials_for_several_realms_stand_side_by_side() -> None:
    nonces = keeper()
    request = register('Digest realm="other", nonce="x"')
    request.headers.add(
        "Authorization", answer(challenge(nonces), "alice", "REGISTER", URI, password="secret")
    )
    assert judge(nonces, request) is Verdict.OK


def test_without_qop_as_rfc_2069_had_it() -> None:
    nonces = keeper()
    nonce = challenge(nonces).get("nonce") or ""
    fields = {"nonce": nonce, "uri": URI}
    response = compute(fields, "MD5", HA1["MD5"], "REGISTER")
    value = (
        f'Digest username="alice", realm="{REALM}", nonce="{nonce}", uri="{URI}", nc="00000002", '
        f'response="{response}"'
    )
    assert judge(nonces, register(value)) is Verdict.OK
    # The nonce is used again, with the same nc, for other requests.
    assert judge(nonces, register(value)) is Verdict.OK
    elsewhere = register(value)
    elsewhere.uri = parse_uri("sip:other.example.org")
    assert judge(nonces, elsewhere) is Verdict.BAD


def test_quotes_and_case_do_not_matter() -> None:
    nonces = keeper()
    value = answer(challenge(nonces), "alice", "REGISTER", URI, password="secret")
    loose = value.replace("qop=auth", 'QOP="auth"').replace("nc=00000001", 'nc="00000001"')
    loose = loose.replace("algorithm=MD5", 'algorithm="md5"').replace(", ", ",").replace("Digest", "DIGEST ")
    assert judge(nonces, register(loose)) is Verdict.OK


# --- nonces ----------------------------------------------------------------------------------------------


def test_an_old_nonce_is_stale_and_a_wrong_password_with_it_is_bad() -> None:
    nonces = keeper()
    offer = challenge(nonces)
    right = answer(offer, "alice", "REGISTER", URI, password="secret")
    wrong = answer(offer, "alice", "REGISTER", URI, password="other")
    assert judge(nonces, register(right), NOW + 299) is Verdict.OK
    assert judge(nonces, register(right), NOW + 301) is Verdict.STALE
    assert judge(nonces, register(wrong), NOW + 301) is Verdict.BAD


@pytest.mark.parametrize("nonce", ["", "x", "A" * 32, "é" * 32, "awPwGmsD7u4OhM1v51CxLlvl1Rg8Q79q"])
def test_a_nonce_of_others_is_stale(nonce: str) -> None:
    offer = Challenge.parse(f'Digest realm="{REALM}", nonce="{nonce}", qop="auth"')
    value = answer(offer, "alice", "REGISTER", URI, password="secret")
    assert judge(keeper(), register(value)) is Verdict.STALE


def test_a_nonce_is_good_at_every_server_that_shares_the_secret_and_for_its_realm_only() -> None:
    first, second = keeper(), keeper()
    value = answer(challenge(first), "alice", "REGISTER", URI, password="secret")
    assert judge(second, register(value)) is Verdict.OK
    other = Challenge.parse(
        first.challenges(["MD5"], "other.example", NOW)[0].replace("other.example", REALM)
    )
    value = answer(other, "alice", "REGISTER", URI, password="secret")
    assert judge(first, register(value)) is Verdict.STALE


def test_credentials_cannot_be_used_twice() -> None:
    nonces = keeper()
    offer = challenge(nonces)

    def use(nc: int) -> Verdict:
        return judge(nonces, register(answer(offer, "alice", "REGISTER", URI, password="secret", nc=nc)))

    assert [use(nc) for nc in (1, 1, 2, 5, 3, 3, 4, 100, 36, 37, 37, 101)] == [
        Verdict.OK,
        Verdict.STALE,
        Verdict.OK,
        Verdict.OK,
        Verdict.OK,
        Verdict.STALE,
        Verdict.OK,
        Verdict.OK,
        Verdict.STALE,
        Verdict.OK,
        Verdict.STALE,
        Verdict.OK,
    ]


@given(st.lists(st.integers(0, 200), max_size=40))
def test_no_counter_is_ever_accepted_twice(numbers: list[int]) -> None:
    counters = digest._Counters(NOW)
    accepted = [number for number in numbers if counters.note(number)]
    assert len(accepted) == len(set(accepted))


@pytest.mark.parametrize("nc", ["", "x", "-1", "123456789"])
def test_a_counter_that_is_none_is_not_accepted(nc: str) -> None:
    nonces = keeper()
    fields = {
        "nonce": challenge(nonces).get("nonce") or "",
        "uri": URI,
        "qop": "auth",
        "nc": nc,
        "cnonce": "c",
    }
    response = compute(fields, "MD5", HA1["MD5"], "REGISTER")
    text = ", ".join(f'{name}="{value}"' for name, value in fields.items())
    value = f'Digest username="alice", realm="{REALM}", response="{response}", {text}'
    assert judge(nonces, register(value)) is Verdict.STALE


def test_forgotten_counters_make_their_nonces_stale() -> None:
    nonces = NonceKeeper(b"0123456789abcdef", capacity=2)
    offers = [challenge(nonces, now=NOW + index) for index in range(4)]

    def use(index: int, nc: int) -> Verdict:
        value = answer(offers[index], "alice", "REGISTER", URI, password="secret", nc=nc)
        return judge(nonces, register(value), NOW + 4)

    assert [use(index, 1) for index in range(4)] == [Verdict.OK] * 4
    assert use(0, 1) is use(0, 2) is use(1, 1) is Verdict.STALE
    assert use(3, 1) is Verdict.STALE
    assert use(3, 2) is Verdict.OK


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        NonceKeeper(b"short")


def test_the_topmost_challenge_we_can_answer_is_taken() -> None:
    values = [
        'Digest realm="a", nonce="1", algorithm=SHA-3',
        "broken",
        'Basic realm="a"',
        'Digest realm="a", nonce="2", algorithm=SHA-256',
        'Digest realm="a", nonce="3"',
    ]
    chosen = select(values)
    assert chosen is not None
    assert chosen.get("nonce") == "2"
    assert select(values[:3]) is None


def test_an_opaque_is_returned_and_a_challenge_without_qop_answered_without() -> None:
    value = answer(
        Challenge.parse('Digest realm="a", nonce="1", opaque="o"'), "alice", "REGISTER", URI, password="x"
    )
    assert 'opaque="o"' in value
    assert "qop" not in value
    assert "cnonce" not in value
