"""SASL mechanisms by the RFCs' own exchanges, and by attacks (RFC 4616, RFC 5802, RFC 7677)."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from presence.address import parse_address
from presence.errors import Unavailable
from presence.ports import Account
from tests.xmpp.echo import MemoryAccounts, scram_keys
from xmpp.sasl import (
    REGISTRY,
    Challenge,
    Mechanism,
    SaslContext,
    SaslFailure,
    Step,
    Success,
    decode,
    offer,
    unescape,
)

BINDING = hashlib.sha256(b"certificate").digest()
BOUND = {"tls-server-end-point": BINDING}


def context(
    accounts: MemoryAccounts, *, nonce: str = "NONCE", offered: tuple[str, ...] = ("SCRAM-SHA-1",)
) -> SaslContext:
    return SaslContext(
        accounts=accounts,
        domain="example.org",
        offered=frozenset(offered),
        channel_bindings=BOUND,
        fake_secret=b"server secret",
        fake_iterations=4096,
        nonce=lambda: nonce,
    )


def user_with(password: str, algorithm: str, salt: str) -> MemoryAccounts:
    accounts = MemoryAccounts()
    address = parse_address("user@example.org")
    keys = scram_keys(password, algorithm, base64.b64decode(salt))
    accounts.accounts[address] = Account(address=address, scram={algorithm: keys})
    return accounts


def mechanism(name: str, given: SaslContext) -> Mechanism:
    return REGISTRY[name].make(given)


async def failure(exchange: Mechanism, message: bytes) -> str:
    with pytest.raises(SaslFailure) as caught:
        await exchange.receive(message)
    return caught.value.condition


# --- the RFCs' examples ---------------------------------------------------------------------------


async def test_scram_sha_1_as_in_rfc_5802_section_5() -> None:
    accounts = user_with("pencil", "SHA-1", "QSXCR+Q6sek8bf92")
    exchange = mechanism("SCRAM-SHA-1", context(accounts, nonce="3rfcNHYJY1ZVvWVs7j"))
    assert await exchange.receive(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL") == Challenge(
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
    )
    assert await exchange.receive(
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    ) == Success(parse_address("user@example.org"), b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")


async def test_scram_sha_256_as_in_rfc_7677_section_3() -> None:
    accounts = user_with("pencil", "SHA-256", "W22ZaJ0SNY7soEsUEjb6gQ==")
    exchange = mechanism("SCRAM-SHA-256", context(accounts, nonce="%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"))
    assert await exchange.receive(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == Challenge(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    assert await exchange.receive(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    ) == Success(parse_address("user@example.org"), b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


async def test_plain_as_in_rfc_4616() -> None:
    accounts = MemoryAccounts(("tim@example.org", "tanstaaftanstaaf"))
    exchange = mechanism("PLAIN", context(accounts))
    assert await exchange.receive(b"\0tim\0tanstaaftanstaaf") == Success(parse_address("tim@example.org"))


async def test_scram_tells_what_was_offered_as_in_xep_0474_section_5_3() -> None:
    accounts = user_with("pencil", "SHA-1", "QSXCR+Q6sek8bf92")
    given = SaslContext(
        accounts=accounts,
        domain="example.org",
        offered=frozenset({"SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"}),
        channel_bindings={"tls-server-end-point": b"", "tls-exporter": b""},
        protects_offer=True,
        nonce=lambda: "",
    )
    step = await mechanism("SCRAM-SHA-1", given).receive(b"n,,n=user,r=12C4CD5C")
    assert isinstance(step, Challenge)
    assert step.data.endswith(b",i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08=")


# --- a client of our own, for everything else -----------------------------------------------------


def final(
    first_bare: str, challenge: bytes, password: str, *, header: bytes, algorithm: str = "SHA-1"
) -> bytes:
    """client-final-message (RFC 5802 §3)."""
    name = algorithm.replace("-", "").lower()
    fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
    salted = hashlib.pbkdf2_hmac(name, password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    client_key = hmac.digest(salted, b"Client Key", name)
    without_proof = f"c={base64.b64encode(header).decode()},r={fields['r']}"
    message = f"{first_bare},{challenge.decode()},{without_proof}".encode()
    signature = hmac.digest(hashlib.new(name, client_key).digest(), message, name)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()


async def log_in(
    name: str,
    *,
    flag: str = "n",
    password: str = "secret",
    bound: bytes = b"",
    user: str = "alice",
    authzid: str = "",
    offered: tuple[str, ...] = ("SCRAM-SHA-1",),
    accounts: MemoryAccounts | None = None,
) -> Step:
    algorithm = "SHA-256" if "256" in name else "SHA-1"
    known = accounts or MemoryAccounts(("alice@example.org", "secret"))
    exchange = mechanism(name, context(known, offered=offered))
    header, bare = f"{flag},{authzid},", f"n={user},r=abc"
    challenge = await exchange.receive((header + bare).encode())
    assert isinstance(challenge, Challenge)
    return await exchange.receive(
        final(bare, challenge.data, password, header=header.encode() + bound, algorithm=algorithm)
    )


async def refused(name: str, **how: object) -> str:
    with pytest.raises(SaslFailure) as caught:
        await log_in(name, **how)  # type: ignore[arg-type]
    return caught.value.condition


ALICE = parse_address("alice@example.org")


@pytest.mark.parametrize("name", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
async def test_scram_without_channel_binding(name: str) -> None:
    step = await log_in(name)
    assert isinstance(step, Success)
    assert step.address == ALICE


@pytest.mark.parametrize("name", ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
async def test_scram_with_channel_binding(name: str) -> None:
    step = await log_in(name, flag="p=tls-server-end-point", bound=BINDING, offered=(name,))
    assert isinstance(step, Success)


async def test_a_client_that_can_bind_but_saw_no_plus_is_let_in_when_none_was_offered() -> None:
    assert isinstance(await log_in("SCRAM-SHA-1", flag="y"), Success)


async def test_a_client_that_can_bind_and_saw_no_plus_although_it_was_offered_is_under_attack() -> None:
    offered = ("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS")
    assert await refused("SCRAM-SHA-1", flag="y", offered=offered) == "not-authorized"


@pytest.mark.parametrize(
    ("name", "flag", "bound", "condition"),
    [
        ("SCRAM-SHA-1-PLUS", "p=tls-server-end-point", b"another certificate", "not-authorized"),
        ("SCRAM-SHA-1-PLUS", "p=tls-server-end-point", b"", "not-authorized"),
        ("SCRAM-SHA-1-PLUS", "p=tls-exporter", BINDING, "not-authorized"),
        ("SCRAM-SHA-1-PLUS", "n", b"", "malformed-request"),
        ("SCRAM-SHA-1-PLUS", "y", b"", "malformed-request"),
        ("SCRAM-SHA-1", "p=tls-server-end-point", BINDING, "malformed-request"),
    ],
)
async def test_channel_binding_that_does_not_fit(name: str, flag: str, bound: bytes, condition: str) -> None:
    assert await refused(name, flag=flag, bound=bound, offered=(name,)) == condition


async def test_wrong_passwords_and_unknown_users_are_told_the_same() -> None:
    assert await refused("SCRAM-SHA-1", password="wrong") == "not-authorized"
    assert await refused("SCRAM-SHA-1", user="nobody") == "not-authorized"


async def test_an_unknown_users_salt_is_always_the_same_and_unlike_anothers() -> None:
    async def salt(user: str, accounts: MemoryAccounts) -> bytes:
        step = await mechanism("SCRAM-SHA-1", context(accounts)).receive(f"n,,n={user},r=a".encode())
        assert isinstance(step, Challenge)
        return step.data

    accounts = MemoryAccounts()
    assert await salt("nobody", accounts) == await salt("nobody", MemoryAccounts())
    assert await salt("nobody", accounts) == await salt("NOBODY", accounts)
    assert await salt("nobody", accounts) != await salt("noone", accounts)
    assert b",i=4096" in await salt("nobody", accounts)


async def test_an_account_without_scram_keys_looks_like_an_unknown_one() -> None:
    accounts = MemoryAccounts()
    accounts.put("alice@example.org", "secret", scram=False)
    assert await refused("SCRAM-SHA-1", accounts=accounts) == "not-authorized"


async def test_a_disabled_account_is_told_so_only_with_the_right_password() -> None:
    accounts = MemoryAccounts()
    accounts.put("alice@example.org", "secret", enabled=False)
    assert await refused("SCRAM-SHA-1", accounts=accounts) == "account-disabled"
    assert await refused("SCRAM-SHA-1", accounts=accounts, password="wrong") == "not-authorized"
    plain = mechanism("PLAIN", context(accounts))
    assert await failure(plain, b"\0alice\0secret") == "account-disabled"
    assert await failure(plain, b"\0alice\0wrong") == "not-authorized"


@pytest.mark.parametrize("user", ["alice", "ALICE", "alice@example.org", "Alice@Example.ORG"])
async def test_the_user_name_is_normalised(user: str) -> None:
    step = await log_in("SCRAM-SHA-256", user=user)
    assert step == Success(ALICE, step.data)
    plain = await mechanism("PLAIN", context(MemoryAccounts(("alice@example.org", "s")))).receive(
        f"\0{user}\0s".encode()
    )
    assert plain == Success(ALICE)


@pytest.mark.parametrize("user", ["alice@example.com", "a b", "@", "x" * 2000])
async def test_a_user_name_of_another_domain_or_none_at_all(user: str) -> None:
    accounts = MemoryAccounts(("alice@example.org", "s"))
    assert await failure(mechanism("PLAIN", context(accounts)), f"\0{user}\0s".encode()) == "not-authorized"


async def test_nobody_acts_for_another() -> None:
    assert isinstance(await log_in("SCRAM-SHA-1", authzid="a=alice@example.org"), Success)
    assert await refused("SCRAM-SHA-1", authzid="a=bob@example.org") == "invalid-authzid"
    accounts = MemoryAccounts(("alice@example.org", "s"))
    plain = mechanism("PLAIN", context(accounts))
    assert await plain.receive(b"alice@example.org\0alice\0s") == Success(ALICE)
    assert await failure(plain, b"bob@example.org\0alice\0s") == "invalid-authzid"
    assert await failure(plain, b"@@\0alice\0s") == "invalid-authzid"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,,",
        b"x,,n=alice,r=a",
        b"p=,,n=alice,r=a",
        b"n,alice,n=alice,r=a",
        b"n,,r=a,n=alice",
        b"n,,m=ext,n=alice,r=a",
        b"n,,n=,r=a",
        b"n,,n=alice,r=",
        b"n,,n=ali=ce,r=a",
        b"n,,n=alice,r=\xff",
        b"n,,n=alice,r=a\x00b",
    ],
)
async def test_a_first_scram_message_that_is_none(message: bytes) -> None:
    exchange = mechanism("SCRAM-SHA-1", context(MemoryAccounts()))
    assert await failure(exchange, message) == "malformed-request"


@pytest.mark.parametrize(
    ("message", "condition"),
    [
        (b"", "malformed-request"),
        (b"c=biws,r=aNONCE", "malformed-request"),
        (b"r=aNONCE,c=biws,p=AAAA", "malformed-request"),
        (b"c=biws,r=aNONCE,p=!", "malformed-request"),
        (b"c=biws,r=aNONCE,p=AAAA", "not-authorized"),
        (b"c=biws,r=aNONCE,p=", "not-authorized"),
        (b"c=eSws,r=aNONCE,p=AAAA", "not-authorized"),
        ("c=biws,r=aé,p=AAAA".encode(), "not-authorized"),
    ],
)
async def test_a_final_scram_message_that_is_none(message: bytes, condition: str) -> None:
    exchange = mechanism("SCRAM-SHA-1", context(MemoryAccounts(("alice@example.org", "s"))))
    await exchange.receive(b"n,,n=alice,r=a")
    assert await failure(exchange, message) == condition


async def test_a_proof_does_not_fit_a_second_exchange() -> None:
    accounts = MemoryAccounts(("alice@example.org", "secret"))
    first = mechanism("SCRAM-SHA-1", context(accounts, nonce="ONE"))
    challenge = await first.receive(b"n,,n=alice,r=a")
    assert isinstance(challenge, Challenge)
    proof = final("n=alice,r=a", challenge.data, "secret", header=b"n,,")
    second = mechanism("SCRAM-SHA-1", context(accounts, nonce="TWO"))
    await second.receive(b"n,,n=alice,r=a")
    assert await failure(second, proof) == "not-authorized"


@pytest.mark.parametrize("message", [b"", b"alice\0s", b"\0alice\0s\0", b"\0\0s", b"\0alice\0", b"\0\xff\0s"])
async def test_a_plain_message_that_is_none(message: bytes) -> None:
    assert await failure(mechanism("PLAIN", context(MemoryAccounts())), message) == "malformed-request"


@pytest.mark.parametrize("name", sorted(n for n in REGISTRY if not REGISTRY[n].server_first))
async def test_accounts_that_cannot_be_asked_are_no_refusal(name: str) -> None:
    accounts = MemoryAccounts()
    accounts.reachable = False
    flag = b"p=tls-server-end-point" if name.endswith("PLUS") else b"n"
    message = b"\0a\0b" if name == "PLAIN" else flag + b",,n=a,r=b"
    with pytest.raises(Unavailable):
        await mechanism(name, context(accounts)).receive(message)


def test_names_are_unescaped() -> None:
    assert unescape("a=2Cb=3Dc") == "a,b=c"
    assert unescape("=3D2C") == "=2C"
    for wrong in ("a=", "a=2c", "=41"):
        with pytest.raises(SaslFailure):
            unescape(wrong)


def test_data_on_the_wire() -> None:
    assert decode("") is None
    assert decode("=") == b""
    assert decode("AGE=") == b"\0a"
    for wrong, condition in (
        ("A", "incorrect-encoding"),
        ("AG E=", "incorrect-encoding"),
        ("é", "incorrect-encoding"),
    ):
        with pytest.raises(SaslFailure) as caught:
            decode(wrong)
        assert caught.value.condition == condition
    with pytest.raises(SaslFailure) as caught:
        decode("A" * 10_000)
    assert caught.value.condition == "malformed-request"


ALL = frozenset({"PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"})
WANTED = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256")


def test_mechanisms_are_offered_strongest_first() -> None:
    assert offer(proofs=ALL, wanted=WANTED, secure=True, bound=True) == [
        "SCRAM-SHA-256-PLUS",
        "SCRAM-SHA-1-PLUS",
        "SCRAM-SHA-256",
        "SCRAM-SHA-1",
        "PLAIN",
    ]
    assert offer(proofs=ALL, wanted=WANTED, secure=False, bound=False) == [
        "SCRAM-SHA-256",
        "SCRAM-SHA-1",
    ]
    assert offer(proofs=frozenset({"PLAIN"}), wanted=WANTED, secure=True, bound=True) == ["PLAIN"]
    assert offer(proofs=ALL, wanted=("SCRAM-SHA-1",), secure=True, bound=False) == ["SCRAM-SHA-1"]


async def test_an_account_without_keys_is_offered_what_it_can_use() -> None:
    accounts = MemoryAccounts()
    accounts.accounts[ALICE] = Account(address=ALICE, scram={"SHA-1": scram_keys("x", "SHA-1")})
    proofs = await accounts.offers(ALICE)
    assert offer(proofs=proofs, wanted=WANTED, secure=True, bound=False) == ["SCRAM-SHA-1", "PLAIN"]


@pytest.mark.parametrize("change", ["password", "deleted", "disabled"])
async def test_an_exchange_that_began_with_an_older_password_is_refused(change: str) -> None:
    accounts = MemoryAccounts(("alice@example.org", "secret"))
    exchange = mechanism("SCRAM-SHA-1", context(accounts))
    challenge = await exchange.receive(b"n,,n=alice,r=abc")
    assert isinstance(challenge, Challenge)
    if change == "deleted":
        await accounts.delete(ALICE)
    elif change == "disabled":
        await accounts.set_enabled(ALICE, False)
    else:
        await accounts.set_password(ALICE, "other")
    answer = final("n=alice,r=abc", challenge.data, "secret", header=b"n,,")
    with pytest.raises(SaslFailure) as caught:
        await exchange.receive(answer)
    assert caught.value.condition == ("account-disabled" if change == "disabled" else "not-authorized")
