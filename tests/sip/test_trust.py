"""What a trusted proxy may say, and nobody else; loops; sips."""

from __future__ import annotations

import secrets
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from presence.guarding import Unguarded
from tests.sip.house import ALICE, BOB, CAROL, House, open_house
from tests.support.authority import Authority
from tests.support.sipclient import Phone
from tests.support.sipwire import SipMessage

BOB_ASSERTED: dict[str, Any] = {"P-Asserted-Identity": '"Bob" <sip:bob@example.org>'}


@pytest.fixture
async def behind(tmp_path: Path) -> AsyncIterator[House]:
    """A house that trusts a proxy on this machine."""
    async with open_house(tmp_path, trusted_peers=("127.0.0.1",)) as house:
        yield house


# --- P-Asserted-Identity --------------------------------------------------------------------------


async def test_a_trusted_proxys_word_is_taken_without_a_password(behind: House) -> None:
    await behind.befriend(ALICE, BOB)
    await behind.desk(ALICE)
    async with behind.phone(BOB, password="wrong") as proxy:
        assert (await proxy.register(**BOB_ASSERTED)).status == 200
        assert (await proxy.message("alice@example.org", "hello", **BOB_ASSERTED)).status == 200
        (message,) = await behind.heard()
        assert message.sender == BOB


async def test_the_asserted_identity_counts_and_not_from(behind: House) -> None:
    await behind.befriend(ALICE, BOB)
    await behind.desk(ALICE)
    async with behind.phone(CAROL, password="wrong") as proxy:
        assert (await proxy.message("alice@example.org", "hello", **BOB_ASSERTED)).status == 200
        (message,) = await behind.heard()
        assert message.sender == BOB


async def test_without_it_the_user_proves_it_here(behind: House) -> None:
    async with behind.phone(BOB) as proxy, behind.phone(BOB, password="wrong") as liar:
        assert (await proxy.register()).status == 200
        assert (await liar.register()).status == 401


@pytest.mark.parametrize("trusted", [(), ("192.0.2.0/24",), ("proxy.example.net",)])
async def test_from_anybody_else_it_means_nothing(tmp_path: Path, trusted: tuple[str, ...]) -> None:
    async with open_house(tmp_path, trusted_peers=trusted) as house:
        await house.befriend(ALICE, CAROL)
        await house.desk(ALICE)
        async with house.phone(CAROL, password="wrong") as liar, house.phone(CAROL) as phone:
            assert (await liar.register(**BOB_ASSERTED)).status == 401
            assert (await liar.message("alice@example.org", "hello", **BOB_ASSERTED)).status == 401
            assert (await phone.message("alice@example.org", "hello", **BOB_ASSERTED)).status == 200
            (message,) = await house.heard()
            assert message.sender == CAROL


@pytest.mark.parametrize(
    ("asserted", "status"),
    [
        ("<sip:bob@example.org>, <tel:+431234>", 200),
        ("<tel:+431234>, <sip:bob@example.org>", 200),
        ("sip:bob@example.org", 200),
        ("<sips:bob@example.org>", 200),
        ("<tel:+431234>", 403),
        ("<sip:nobody@example.org>", 403),
        ("<sip:bob@elsewhere.example>", 403),
        ("<sip:bob@", 400),
    ],
)
async def test_whom_it_may_name(behind: House, asserted: str, status: int) -> None:
    named: dict[str, Any] = {"P-Asserted-Identity": asserted}
    async with behind.phone(BOB, password="wrong") as proxy:
        response = await proxy.message("alice@example.org", "hi", **named)
        assert response.status in ({200, 202} if status == 200 else {status})


async def test_one_registers_for_oneself_only(behind: House) -> None:
    async with behind.phone(CAROL) as proxy:
        assert (await proxy.register(**BOB_ASSERTED)).status == 403


async def test_who_wants_to_be_anonymous_hears_that_it_cannot_be(behind: House) -> None:
    async with behind.phone(BOB) as proxy:
        response = await proxy.message("alice@example.org", "hi", Privacy="critical; id", **BOB_ASSERTED)
        assert response.status == 433


async def test_a_certificate_proves_a_peer_on_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    settings: dict[str, Any] = {
        "trusted_peers": ("proxy.example.net",),
        "peer_authorities": str(authority.file),
    }
    async with open_house(tmp_path, **settings) as house:
        good, other = authority.issue("proxy.example.net"), authority.issue("phone.example.net")
        heard = []
        for credentials in (good, other, None):
            async with Certified(house, credentials) as proxy:
                heard.append((await proxy.register(**BOB_ASSERTED)).status)
        assert heard == [200, 401, 401]


class Certified(Phone):
    """A phone that shows a certificate, and has no password."""

    def __init__(self, house: House, credentials: Path | None) -> None:
        super().__init__(str(BOB), "wrong", ("127.0.0.1", house.ports["tls"]), "tls")
        self.credentials = credentials

    def tls(self) -> ssl.SSLContext:
        context = super().tls()
        if self.credentials is not None:
            context.load_cert_chain(self.credentials)
        return context


# --- whose failures they are ----------------------------------------------------------------------


class Counting(Unguarded):
    """A guard that counts failures by where they come from, and keeps out who has two."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()

    async def wait(self, peer: str, account: str) -> float:
        return 30.0 if self.failures[peer] >= 2 else 0.0

    async def failed(self, peer: str, account: str) -> None:
        self.failures[peer] += 1


async def test_failures_behind_a_proxy_are_those_of_the_phone(tmp_path: Path) -> None:
    guard = Counting()
    async with (
        open_house(tmp_path, guard=guard, trusted_peers=("127.0.0.1",)) as house,
        house.phone(BOB, password="wrong") as guesser,
        house.phone(BOB) as phone,
    ):
        bad: dict[str, Any] = {"Via": behind_proxy("203.0.113.7")}
        good: dict[str, Any] = {"Via": behind_proxy("203.0.113.8")}
        heard = [(await guesser.register(**bad)).status for _ in range(3)]
        assert heard == [401, 401, 403]
        assert guard.failures == {"203.0.113.7": 2}
        assert (await phone.register(**good)).status == 200


def behind_proxy(host: str) -> str:
    return f"SIP/2.0/UDP 192.168.1.2:5060;received={host};branch=z9hG4bK{secrets.token_hex(8)}"


async def test_a_phone_behind_a_proxy_that_is_too_fast_is_slowed_and_the_proxy_is_not(
    tmp_path: Path,
) -> None:
    settings: dict[str, Any] = {
        "trusted_peers": ("127.0.0.1",), "requests_per_address": 0.3, "unlimited": (),
    }  # fmt: skip
    async with open_house(tmp_path, **settings) as house, house.phone(BOB) as proxy:

        async def ask(host: str) -> SipMessage:
            return await proxy.request(
                "OPTIONS", "sip:example.org", [("Via", behind_proxy(host))], authenticate=False
            )

        heard = [await ask("203.0.113.7") for _ in range(5)]
        # 480: after a 503 the proxy would send nobody's requests.
        assert [each.status for each in heard] == [200] * 4 + [480]
        assert heard[-1]["Retry-After"]
        assert (await ask("203.0.113.8")).status == 200


# --- loops ----------------------------------------------------------------------------------------


async def test_our_own_request_that_comes_back_is_482(behind: House) -> None:
    async with behind.phone(BOB) as phone:
        await phone.register()
        await behind.say(ALICE, BOB, "round and round")
        ours = await phone.hears("round and round")
        returned: dict[str, Any] = {"Via": ours["Via"], **BOB_ASSERTED}
        again = await phone.message("alice@example.org", "round and round", **returned)
        assert again.status == 482


async def test_hops_are_counted_from_one_side_of_the_bridge_to_the_other(behind: House) -> None:
    async with behind.phone(CAROL) as carols, behind.phone(BOB) as bobs:
        await bobs.register()
        assert (await with_hops(carols, "3")).status == 200
        last = await bobs.hears("hops 3")
        assert last["Max-Forwards"] == "2"
        assert (await with_hops(carols, "0")).status == 483


async def with_hops(phone: Phone, hops: str) -> SipMessage:
    host, port = phone.local
    return await phone.send(
        SipMessage(
            "MESSAGE sip:bob@example.org SIP/2.0",
            [
                ("Via", f"SIP/2.0/UDP {host}:{port};branch=z9hG4bK{secrets.token_hex(8)}"),
                ("Max-Forwards", hops),
                ("From", "<sip:carol@example.org>;tag=1"),
                ("To", "<sip:bob@example.org>"),
                ("Call-ID", secrets.token_hex(8)),
                ("CSeq", "1 MESSAGE"),
                ("Content-Type", "text/plain"),
                ("P-Asserted-Identity", "<sip:carol@example.org>"),
            ],
            f"hops {hops}".encode(),
        )
    )


# --- sips (RFC 7247 §8) ---------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE", "PUBLISH"])
async def test_a_sips_uri_is_never_translated(behind: House, transport: str, method: str) -> None:
    async with behind.phone(BOB, transport) as phone:
        headers = [("Event", "presence"), ("Contact", phone.contact), ("Content-Type", "text/plain")]
        for uri, to in (
            ("sips:alice@example.org", "<sips:alice@example.org>"),
            ("sip:alice@example.org", "<sips:alice@example.org>"),
        ):
            response = await phone.request(method, uri, headers, b"hi", to=to)
            assert response.status == 416


@pytest.mark.parametrize(("transport", "status"), [("udp", 416), ("tcp", 416), ("tls", 200)])
async def test_a_phone_registers_with_sips_over_tls_only(behind: House, transport: str, status: int) -> None:
    async with behind.phone(BOB, transport) as phone:
        host, port = phone.local
        contact = ("Contact", f"<sips:bob@{host}:{port}>")
        response = await phone.request(
            "REGISTER",
            "sips:example.org",
            [contact],
            from_="<sips:bob@example.org>;tag=1",
            to="<sips:bob@example.org>",
        )
        assert response.status == status
        if status == 200:
            await behind.say(ALICE, BOB, "under TLS")
            assert (await phone.hears("under TLS")).uri == f"sips:bob@{host}:{port}"


async def test_a_sips_contact_needs_tls(behind: House) -> None:
    async with behind.phone(BOB, "tcp") as phone:
        assert (await phone.register(contact="<sips:bob@192.0.2.1>")).status == 400
