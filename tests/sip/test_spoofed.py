"""A datagram's sender may be forged: what that must not bring about."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from presence.guarding import Unguarded
from sip.digest import NonceKeeper, answer
from sip.headers import Challenge, Credentials
from tests.sip.house import BOB, open_house


class Counting(Unguarded):
    """A guard that counts."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()

    async def failed(self, peer: str, account: str) -> None:
        self.failures[account] += 1


def proof(nonce: str) -> str:
    return (
        f'Digest username="bob", realm="example.org", nonce="{nonce}", uri="sip:example.org", response="00",'
        ' qop=auth, nc=00000001, cnonce="c", algorithm=MD5'
    )


@pytest.mark.parametrize(("transport", "failures"), [("udp", 0), ("tcp", 1)])
async def test_over_udp_nobody_fails_who_was_not_challenged_there(
    tmp_path: Path, transport: str, failures: int
) -> None:
    guard = Counting()
    async with open_house(tmp_path, guard=guard) as house, house.phone(BOB, transport=transport) as phone:
        blind = await phone.request(
            "REGISTER", "sip:example.org", [("Authorization", proof("garbage"))], authenticate=False
        )
        assert blind.status == 401
        assert guard.failures[str(BOB)] == failures
        assert (await phone.register()).status == 200


def test_a_nonce_bears_the_mark_of_the_host_it_was_sent_to() -> None:
    nonces = NonceKeeper(b"0123456789abcdef")
    (value,) = nonces.challenges(["MD5"], "example.org", 1_800_000_000.0, place="192.0.2.1")
    given = Credentials.parse(
        answer(Challenge.parse(value), "bob", "REGISTER", "sip:example.org", password="x")
    )
    assert nonces.issued_to(given, "192.0.2.1")
    assert not nonces.issued_to(given, "192.0.2.2")
    assert not NonceKeeper(b"fedcba9876543210").issued_to(given, "192.0.2.1")


@pytest.mark.parametrize("nonce", ["", "garbage", "A" * 32, "ÄÖÜ", "=" * 32])
def test_no_nonce_of_ours_bears_no_mark(nonce: str) -> None:
    nonces = NonceKeeper(b"0123456789abcdef")
    assert not nonces.issued_to(Credentials.parse(proof(nonce)), "192.0.2.1")
