"""Logins as the guard sees them, and the mechanisms that begin with the server, over real sockets."""

from __future__ import annotations

import base64
import dataclasses
import re
from pathlib import Path

import pytest

from presence.ports import Ban
from tests.xmpp.echo import EchoServer, MemoryAccounts
from tests.xmpp.rawclient import HEADER, LOGIN, RawClient, auth
from xmpp.settings import XmppSettings

WRONG = auth(b"\0alice\0wrong")


class Watchman:
    """Implements `presence.ports.Guard`: writes everything down, and makes wait as told."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.heard: list[tuple[str, str, str]] = []

    async def wait(self, peer: str, account: str) -> float:
        self.heard.append(("wait", peer, account))
        return self.seconds

    async def failed(self, peer: str, account: str) -> None:
        self.heard.append(("failed", peer, account))

    async def succeeded(self, peer: str, account: str) -> None:
        self.heard.append(("succeeded", peer, account))

    async def admits(self, what: str, peer: str, most: int, seconds: int) -> float:
        self.heard.append((what, peer, ""))
        return self.seconds

    async def bans(self) -> list[Ban]:
        return []

    async def lift(self, name: str) -> int:
        return 0


def guarded(folder: Path, guard: Watchman, **settings: object) -> EchoServer:
    server = EchoServer(folder, settings=XmppSettings(**settings))  # type: ignore[arg-type]
    server.realm = dataclasses.replace(server.realm, guard=guard)
    return server


async def test_the_guard_hears_of_every_outcome(tmp_path: Path) -> None:
    guard = Watchman()
    server = guarded(tmp_path, guard)
    async with server, RawClient(server.where(direct=True), direct=True) as client:
        await client.features()
        await client.ask(WRONG, b"</failure>")
        await client.ask(auth(b"nonsense"), b"</failure>")
        await client.ask(LOGIN, b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
    alice = ("127.0.0.1", "alice@example.org")
    assert guard.heard == [(what, *alice) for what in ("wait", "failed", "wait", "succeeded")]


@pytest.mark.parametrize("message", [LOGIN, auth(b"n,,n=alice,r=x", "SCRAM-SHA-256")])
async def test_who_is_banned_is_told_when_to_come_back_and_nothing_else(
    tmp_path: Path, message: bytes
) -> None:
    server = guarded(tmp_path, Watchman(12.3))
    async with server, RawClient(server.where(direct=True), direct=True) as client:
        await client.features()
        got = await client.ask(message, b"</failure>")
    assert b"<temporary-auth-failure/>" in got
    assert b"try again in 13 seconds" in got


async def test_digest_md5_begins_with_the_server(tmp_path: Path) -> None:
    accounts = MemoryAccounts(("alice@example.org", "secret"))
    accounts.mechanisms |= {"DIGEST-MD5"}
    chosen = XmppSettings(mechanisms=("PLAIN", "DIGEST-MD5"))
    server = EchoServer(tmp_path, accounts=accounts, settings=chosen)
    async with server, RawClient(server.where(direct=True), direct=True) as client:
        assert b"<mechanism>DIGEST-MD5</mechanism>" in await client.ask(HEADER, b"</stream:features>")
        begin = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='DIGEST-MD5'/>"
        got = await client.ask(begin, b"</challenge>")
        (data,) = re.findall(rb">([A-Za-z0-9+/=]+)</challenge>", got)
        assert base64.b64decode(data).startswith(b'realm="example.org",nonce="')


async def test_digest_md5_is_too_weak_unless_the_settings_name_it(tmp_path: Path) -> None:
    accounts = MemoryAccounts(("alice@example.org", "secret"))
    accounts.mechanisms |= {"DIGEST-MD5"}
    server = EchoServer(tmp_path, accounts=accounts)
    async with server, RawClient(server.where(direct=True), direct=True) as client:
        assert b"DIGEST-MD5" not in await client.features()
        begin = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='DIGEST-MD5'/>"
        assert b"<mechanism-too-weak/>" in await client.ask(begin, b"</failure>")
