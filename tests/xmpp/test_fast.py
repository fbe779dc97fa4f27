"""XEP-0484: tokens instead of passwords, byte by byte."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.xmpp.rawclient import RawClient
from tests.xmpp.sasl2 import AGENT, FAILURE, SUCCESS, authenticate, data, opened, scram
from tests.xmpp.scene import address
from tests.xmpp.server import Server, running
from xmpp.extensions.xep_0484_fast import answered, shown

FAST = b"<fast xmlns='urn:xmpp:fast:0'/>"
OTHER = "d4565fa7-4d72-4749-b3d3-740edbf87771"
NONE, ENDP = "HT-SHA-256-NONE", "HT-SHA-256-ENDP"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running(tmp_path) as made:
        yield made


def wish(mechanism: str = NONE) -> bytes:
    return b"<request-token xmlns='urn:xmpp:fast:0' mechanism='%s'/>" % mechanism.encode()


def given(success: bytes) -> bytes:
    """The token it has; empty without."""
    found = re.findall(rb"<token xmlns='urn:xmpp:fast:0' token='([^']+)' expiry='[^']+Z'/>", success)
    return found[0] if found else b""


async def get_token(server: Server, mechanism: str = NONE, password: str = "secret") -> bytes:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await opened(client)
        return given(await scram(client, wish(mechanism), agent=AGENT, password=password))


async def show(
    server: Server,
    token: bytes,
    *,
    mechanism: str = NONE,
    user: bytes = b"alice",
    wishes: bytes = FAST,
    agent: str = AGENT,
    binding: bytes = b"",
) -> bytes:
    """Try to log in with a token; the answer."""
    async with RawClient(server.where(direct=True), direct=True) as client:
        await opened(client)
        client.send(authenticate(user + b"\0" + shown(token, binding), wishes, mechanism, agent))
        got = await client.until(b">")
        return got + await client.until(FAILURE if b"<failure" in got else SUCCESS)


def refused(answer: bytes) -> str:
    """The condition; empty for success."""
    found = re.findall(rb"<failure xmlns='urn:xmpp:sasl:2'><([a-z-]+)", answer)
    return found[0].decode() if found else ""


def certificate(server: Server) -> bytes:
    """What binds to the server's end point."""
    listener = server.door._listener
    assert listener is not None
    return listener.identity.bindings["tls-server-end-point"]


async def test_it_is_offered_inline(server: Server) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        assert (
            b"<fast xmlns='urn:xmpp:fast:0'><mechanism>HT-SHA-256-ENDP</mechanism>"
            b"<mechanism>HT-SHA-256-NONE</mechanism></fast>"
        ) in await opened(client)


async def test_a_token_logs_in_again_and_again_with_the_server_proving_itself(server: Server) -> None:
    token = await get_token(server)
    assert len(token) >= 32
    for _ in range(3):
        got = await show(server, token)
        assert data(got.partition(b"</additional-data>")[0] + b"</") == answered(token, b"")
        assert given(got) == b""


async def test_a_token_may_be_bound_to_the_certificate(server: Server) -> None:
    token = await get_token(server, ENDP)
    assert refused(await show(server, token, mechanism=ENDP)) == "not-authorized"
    assert not refused(await show(server, token, mechanism=ENDP, binding=certificate(server)))


@pytest.mark.parametrize(
    ("how", "condition"),
    [
        ({"mechanism": ENDP}, "not-authorized"),
        ({"agent": OTHER}, "not-authorized"),
        ({"user": b"bob"}, "not-authorized"),
        ({"user": b"nobody"}, "not-authorized"),
        ({"agent": ""}, "malformed-request"),
        ({"wishes": b""}, "malformed-request"),
        ({"mechanism": "HT-SHA-256-EXPR"}, "invalid-mechanism"),
    ],
)
async def test_a_token_is_good_for_one_mechanism_one_client_one_account(
    server: Server, how: dict[str, str], condition: str
) -> None:
    token = await get_token(server)
    assert refused(await show(server, token, **how)) == condition  # type: ignore[arg-type]
    assert not refused(await show(server, token))


async def test_nobody_without_an_identifier_gets_one(server: Server) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await opened(client)
        assert given(await scram(client, wish())) == b""


async def test_a_new_password_ends_all_tokens(server: Server) -> None:
    token = await get_token(server)
    router = server.door.router
    await router.service.change_password(address("alice"), "another")
    assert refused(await show(server, token)) == "not-authorized"
    assert await get_token(server, password="another") != token


async def test_who_is_disabled_cannot_come_in_and_not_with_the_token_later(server: Server) -> None:
    token = await get_token(server)
    accounts = server.door.router.accounts
    await accounts.set_enabled(address("alice"), False)
    assert refused(await show(server, token))
    await accounts.set_enabled(address("alice"), True)
    assert refused(await show(server, token)) == "not-authorized"


async def test_a_client_may_have_its_token_forgotten(server: Server) -> None:
    token = await get_token(server)
    invalid = FAST.replace(b"/>", b" invalidate='true'/>")
    assert not refused(await show(server, token, wishes=invalid))
    assert refused(await show(server, token)) == "not-authorized"


async def test_the_old_token_is_good_until_the_new_one_is_used(server: Server) -> None:
    old = await get_token(server)
    new = given(await show(server, old, wishes=FAST + wish()))
    assert new
    assert not refused(await show(server, old))
    assert not refused(await show(server, new))
    assert refused(await show(server, old)) == "not-authorized"


async def test_none_are_given_where_the_settings_say_so(tmp_path: Path) -> None:
    async with running(tmp_path, token_days="0") as server:
        async with RawClient(server.where(direct=True), direct=True) as client:
            assert b"urn:xmpp:fast:0" not in await opened(client)
        assert await get_token(server) == b""


async def test_what_is_stored_lets_nobody_in(server: Server, tmp_path: Path) -> None:
    token = await get_token(server)
    stored = (tmp_path / "tandem.db").read_bytes() + (tmp_path / "tandem.db-wal").read_bytes()
    assert token not in stored
    assert shown(token, b"") not in stored
