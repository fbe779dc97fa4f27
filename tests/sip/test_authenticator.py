"""What proves who sent a request, and what does not (RFC 7616, RFC 3261 §22), by phones over real sockets."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.sip.house import ALICE, BOB, PASSWORD, House, open_house
from tests.support.inbox import PATIENCE
from tests.support.sipclient import Phone
from tests.support.sipwire import SipMessage, credentials, parameter
from tests.support.waiting import until


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


def proof(challenges: list[str], method: str, uri: str) -> str:
    return credentials(challenges, method=method, uri=uri, user="bob", password=PASSWORD)


async def asked(phone: Phone, method: str, uri: str) -> list[str]:
    """The challenges to a request without credentials."""
    response = await phone.request(method, uri, authenticate=False)
    assert response.status == 401
    return response.all("WWW-Authenticate")


def message(phone: Phone, uri: str, authorization: str) -> SipMessage:
    host, port = phone.local
    return SipMessage(
        f"MESSAGE {uri} SIP/2.0",
        [("Via", f"SIP/2.0/{phone.transport.upper()} {host}:{port};branch=z9hG4bK{secrets.token_hex(8)}"),
         ("From", f"<sip:{BOB}>;tag=1"), ("To", f"<{uri}>"), ("Call-ID", secrets.token_hex(8)),
         ("CSeq", "2 MESSAGE"), ("Content-Type", "text/plain"), ("Authorization", authorization)],
        b"hi",
    )  # fmt: skip


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_captured_credentials_are_worth_nothing_after_a_restart(house: House, transport: str) -> None:
    uri = f"sip:{ALICE}"
    async with house.phone(BOB, transport) as phone:
        captured = proof(await asked(phone, "MESSAGE", uri), "MESSAGE", uri)
        assert (await phone.send(message(phone, uri, captured))).status == 202
    await house.stop()
    await house.start()
    async with house.phone(BOB, transport) as thief:
        refused = await thief.send(message(thief, uri, captured))
        assert refused.status == 401
        assert all("stale=true" in value for value in refused.all("WWW-Authenticate"))
        # Who knows the password goes on without being asked for it.
        again = proof(refused.all("WWW-Authenticate"), "MESSAGE", uri)
        assert (await thief.send(message(thief, uri, again))).status == 202
    assert len(await house.waiting(ALICE)) == 2


async def test_nobody_logs_in_as_the_server_itself(house: House) -> None:
    house.accounts.reserved = frozenset({"bob"})
    async with house.phone(BOB) as phone:
        assert (await phone.register()).status == 401
        assert (await phone.message(str(ALICE), "hi")).status == 401


@pytest.mark.parametrize(
    ("signed", "status"),
    [
        (f"sip:{ALICE}", 202),
        (f"sip:{ALICE};transport=tcp", 202),
        # A proxy wrote the host it sends to into the Request-URI, or ours instead of its own.
        ("sip:alice@192.0.2.7:5070", 202),
        ("sip:192.0.2.7:5070", 202),
        ("sip:carol@example.org", 400),
        ("sip:example.org", 400),
        ("nonsense", 400),
    ],
)
async def test_the_digest_uri_names_whom_the_request_goes_to(house: House, signed: str, status: int) -> None:
    async with house.phone(BOB) as phone:
        given = proof(await asked(phone, "MESSAGE", f"sip:{ALICE}"), "MESSAGE", signed)
        assert (await phone.send(message(phone, f"sip:{ALICE}", given))).status == status


async def test_old_phones_can_be_spared_what_they_do_not_know(tmp_path: Path) -> None:
    for chosen, offered in (
        ((), ["SHA-256", "MD5"]),
        (("MD5",), ["MD5"]),
        (("MD5", "SHA-256"), ["MD5", "SHA-256"]),
    ):
        folder = tmp_path / ("-".join(chosen) or "all")
        folder.mkdir()
        async with open_house(folder, digest_algorithms=chosen) as house, house.phone(BOB) as phone:
            challenges = await asked(phone, "REGISTER", "sip:example.org")
            assert [parameter(value.replace(", ", ";"), "algorithm") for value in challenges] == offered
            assert (await phone.register()).status == 200


async def test_a_message_that_never_ends_ends_even_a_registered_phones_connection(house: House) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await phone.register()
        assert house.door is not None
        listener = house.door._listener
        assert listener is not None
        ((_, connection),) = listener.connections()
        phone.send_bytes(b"OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/TCP a;bra")
        await until("a message has begun", lambda: connection.begun > 0, PATIENCE)
        began, heard = connection.begun, connection.heard
        phone.send_bytes(b"nch=z9hG4bK1\r\n")
        await until("it goes on", lambda: connection.heard > heard, PATIENCE)
        assert connection.begun == began
        connection.begun -= 33.0
        listener.close_idle(lambda _: True)
        await house.until_seen(BOB, online=False)
