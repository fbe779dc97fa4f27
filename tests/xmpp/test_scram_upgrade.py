"""XEP-0480: an old account gets the keys of a newer mechanism from its own client."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import delete

from presence.edge.accounts.proofs import matches
from presence.edge.accounts.sql import SqlAccounts
from presence.edge.tables import credentials
from tests.xmpp.rawclient import LOGIN, RawClient
from tests.xmpp.sasl2 import FAILURE, SUCCESS, opened, scram
from tests.xmpp.scene import address
from tests.xmpp.server import Server, running

UPGRADE = b"<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade>"
CONTINUE = b"</continue>"
NEXT = b"<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-512'/>"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """One where alice's keys are older than SCRAM-SHA-512."""
    async with running(tmp_path) as made:
        accounts = made.door.router.accounts
        assert isinstance(accounts, SqlAccounts)
        async with accounts._database.writing() as connection:
            newer = credentials.c.kind == "scram:SHA-512"
            await connection.execute(delete(credentials).where(newer))
        accounts.forget(address("alice"))
        yield made


def hashed(salted: bytes) -> bytes:
    inner = b"<hash xmlns='urn:xmpp:scram-upgrade:0'>%s</hash>" % base64.b64encode(salted)
    return b"<task-data xmlns='urn:xmpp:sasl:2'>%s</task-data>" % inner


async def begun(client: RawClient) -> tuple[bytes, int]:
    """Logged in as far as the task; salt and iterations."""
    features = await opened(client)
    assert UPGRADE in features
    assert b"<mechanism>SCRAM-SHA-512</mechanism>" not in features
    got = await scram(client, UPGRADE, end=CONTINUE)
    assert b"<additional-data>" in got
    assert b"<tasks><task>UPGR-SCRAM-SHA-512</task></tasks>" in got
    got = await client.ask(NEXT, b"</task-data>")
    ((iterations, salt),) = re.findall(rb"iterations='(\d+)'>([^<]+)<", got)
    return base64.b64decode(salt), int(iterations)


async def test_the_keys_are_made_and_right(server: Server) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        salt, iterations = await begun(client)
        salted = hashlib.pbkdf2_hmac("sha512", b"secret", salt, iterations)
        got = await client.ask(hashed(salted), SUCCESS)
        assert b"<authorization-identifier>alice@example.org<" in got
        assert b"additional-data" not in got
    account = await server.door.router.accounts.find(address("alice"))
    assert account is not None
    assert matches("secret", account.scram["SHA-512"], "SHA-512")
    async with RawClient(server.where(direct=True), direct=True) as client:
        assert b"<mechanism>SCRAM-SHA-512</mechanism>" in await opened(client)
        assert b"<continue" not in await scram(client, UPGRADE)


@pytest.mark.parametrize("answer", [hashed(b"short"), b"<task-data xmlns='urn:xmpp:sasl:2'/>"])
async def test_what_is_no_salted_password_ends_the_attempt(server: Server, answer: bytes) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await begun(client)
        assert b"<malformed-request" in await client.ask(answer, FAILURE)
        assert b"<success" in await scram(client)
    account = await server.door.router.accounts.find(address("alice"))
    assert account is not None
    assert "SHA-512" not in account.scram


async def test_who_does_not_ask_is_not_bothered(server: Server) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await opened(client)
        assert b"<continue" not in await scram(client)


async def test_who_has_shown_an_old_password_and_is_not_done_yet_is_shown_out(server: Server) -> None:
    async with (
        RawClient(server.where(direct=True), direct=True) as one,
        RawClient(server.where(direct=True), direct=True) as other,
    ):
        await begun(one)
        await other.features()
        await other.ask(LOGIN, b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        await other.features()
        await server.door.router.service.change_password(address("alice"), "other")
        for client in (one, other):
            assert b"<reset xmlns=" in await client.rest()
