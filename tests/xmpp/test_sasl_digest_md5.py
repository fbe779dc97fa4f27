"""SASL DIGEST-MD5 by the RFC's own example, by both encodings, and by attacks (RFC 2831)."""

from __future__ import annotations

import hashlib

import pytest

from presence.address import Address, parse_address
from presence.ports import Account
from tests.xmpp.echo import MemoryAccounts
from xmpp.sasl import REGISTRY, Challenge, Mechanism, SaslContext, SaslFailure, Success, offer, register
from xmpp.sasl_digest_md5 import REGISTRATION

register(REGISTRATION)
ADDRESS = parse_address("chris@elwood.innosoft.com")


def exchange(account: Account, nonce: str = "OA6MG9tEQGm2hh") -> Mechanism:
    accounts = MemoryAccounts()
    accounts.accounts[account.address] = account
    given = SaslContext(accounts=accounts, domain=account.address.domain, nonce=lambda: nonce)
    return REGISTRY["DIGEST-MD5"].make(given)


def ha1(address: Address, password: str, encoding: str = "utf-8") -> str:
    return hashlib.md5(f"{address.local}:{address.domain}:{password}".encode(encoding)).hexdigest()


def answer(secret: bytes, host: str = "elwood.innosoft.com", **changed: str) -> bytes:
    """A client's response computed from H(user:realm:password)."""
    fields = {
        "username": "chris",
        "realm": host,
        "nonce": "OA6MG9tEQGm2hh",
        "cnonce": "OA6MHXh6VqTrRk",
        "nc": "00000001",
        "qop": "auth",
        "digest-uri": f"xmpp/{host}",
        "charset": "utf-8",
        **changed,
    }
    a1 = hashlib.md5(secret + f":{fields['nonce']}:{fields['cnonce']}".encode()).hexdigest()
    a2 = hashlib.md5(f"AUTHENTICATE:{fields['digest-uri']}".encode()).hexdigest()
    middle = f"{fields['nonce']}:{fields['nc']}:{fields['cnonce']}:auth"
    fields.setdefault("response", hashlib.md5(f"{a1}:{middle}:{a2}".encode()).hexdigest())
    bare = ("nc", "qop", "charset", "response")
    return ",".join(f"{k}={v}" if k in bare else f'{k}="{v}"' for k, v in fields.items()).encode()


def known(password: str = "secret", **fields: object) -> Account:
    return Account(address=ADDRESS, ha1={"MD5": ha1(ADDRESS, password)}, **fields)  # type: ignore[arg-type]


async def refusal(mechanism: Mechanism, response: bytes) -> str:
    await mechanism.receive(b"")
    with pytest.raises(SaslFailure) as caught:
        await mechanism.receive(response)
    return caught.value.condition


async def test_the_exchange_of_section_4_for_xmpp() -> None:
    mechanism = exchange(known())
    first = await mechanism.receive(b"")
    assert first == Challenge(
        b'realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",charset=utf-8,algorithm=md5-sess'
    )
    second = await mechanism.receive(answer(bytes.fromhex(ha1(ADDRESS, "secret"))))
    assert isinstance(second, Challenge)
    assert second.data.startswith(b"rspauth=")
    assert await mechanism.receive(b"") == Success(ADDRESS)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
async def test_a_password_beyond_ascii_is_proven_in_either_encoding(encoding: str) -> None:
    account = Account(address=ADDRESS, ha1={"MD5": "x"}, password="Grüße", spelling="chris:elwood")
    mechanism = exchange(account)
    await mechanism.receive(b"")
    secret = bytes.fromhex(ha1(ADDRESS, "Grüße", encoding))
    assert isinstance(await mechanism.receive(answer(secret)), Challenge)


async def test_a_user_name_beyond_ascii_without_charset_is_latin_1() -> None:
    address = parse_address("jürgen@elwood.innosoft.com")
    account = Account(address=address, ha1={"MD5": ha1(address, "secret", "latin-1")})
    mechanism = exchange(account)
    await mechanism.receive(b"")
    response = answer(bytes.fromhex(account.ha1["MD5"]), username="jürgen", charset="")
    response = response.replace(b",charset=", b"").decode().encode("latin-1")
    assert isinstance(await mechanism.receive(response), Challenge)


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "another"},
        {"nc": "00000002"},
        {"digest-uri": "imap/elwood.innosoft.com"},
        {"digest-uri": "xmpp/elsewhere.example"},
        {"realm": "elsewhere.example"},
        {"username": "nobody"},
        {"response": "0" * 32},
    ],
)
async def test_what_does_not_fit_the_challenge_is_refused(changed: dict[str, str]) -> None:
    response = answer(bytes.fromhex(ha1(ADDRESS, "secret")), **changed)
    assert await refusal(exchange(known()), response) == "not-authorized"


@pytest.mark.parametrize("response", [b"", b"username", b'username="chris', b"a=b,a=c", b"username=chris"])
async def test_what_is_no_digest_response_is_malformed(response: bytes) -> None:
    assert await refusal(exchange(known()), response) in ("malformed-request", "not-authorized")


async def test_a_disabled_account_is_told_so_only_with_the_right_password() -> None:
    right = answer(bytes.fromhex(ha1(ADDRESS, "secret")))
    assert await refusal(exchange(known(enabled=False)), right) == "account-disabled"
    wrong = answer(bytes.fromhex(ha1(ADDRESS, "other")))
    assert await refusal(exchange(known(enabled=False)), wrong) == "not-authorized"


async def test_an_account_without_an_ha1_cannot_be_entered() -> None:
    nobody = answer(bytes(16))
    assert await refusal(exchange(Account(address=ADDRESS)), nobody) == "not-authorized"


async def test_acting_for_somebody_else_is_refused() -> None:
    secret = bytes.fromhex(ha1(ADDRESS, "secret"))
    mechanism = exchange(known())
    await mechanism.receive(b"")
    forged = answer(secret, authzid="eve@elwood.innosoft.com")
    with pytest.raises(SaslFailure):
        await mechanism.receive(forged)


def test_it_is_offered_only_where_the_settings_name_it() -> None:
    from xmpp.settings import XmppSettings

    proofs = frozenset({"PLAIN", "DIGEST-MD5"})
    default = XmppSettings().mechanisms
    assert offer(proofs=proofs, wanted=default, secure=True, bound=False) == ["PLAIN"]
    assert "DIGEST-MD5" in offer(proofs=proofs, wanted=(*default, "DIGEST-MD5"), secure=True, bound=False)
