"""HTTP to push services: what phones name leads to none of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from presence.guarding import Exempt
from sip.edge.push import PushClient, checked, is_public, read_vapid_key
from sip.push import Bell
from sip.settings import PushSettings
from sip.waking import Rung
from tests.sip.house import certify
from tests.support.names import serve_names
from tests.support.pushservice import PRIVATE, PushService, push_service

BODY = b'{"prid":"abc"}'


@asynccontextmanager
async def client(
    push: PushService | None = None, nameservers: tuple[str, ...] = (), **settings: Any
) -> AsyncIterator[PushClient]:
    given = {} if push is None else push.settings()
    opened = PushClient(PushSettings(**{**given, **settings}), nameservers)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def push(tmp_path: Path) -> AsyncIterator[PushService]:
    async with push_service(tmp_path) as opened:
        yield opened


async def test_a_push_service_is_asked(push: PushService) -> None:
    push.headers = {"Retry-After": "7"}
    async with client(push) as ring:
        assert await ring(Bell(push.uri("a"), (("TTL", "60"),))) == Rung(201, 7.0)
    pushed = await push.asked("a")
    assert (pushed.headers["ttl"], pushed.headers["host"]) == ("60", f"localhost:{push.port}")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "fec0::1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "2002:7f00:1::1",
        "2002:a00:1::",
        "2001:0:808:808::f5ff:fffe",
        "2001:db8::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(ValueError, match="public"):
        checked(["9.9.9.9", address], Exempt(()))


@pytest.mark.parametrize("address", ["9.9.9.9", "2620:fe::fe", "64:ff9b::909:909", "::ffff:9.9.9.9"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)
    assert checked([address], Exempt(())) == [address]


def test_a_name_without_an_address_is_nobodys() -> None:
    with pytest.raises(ValueError, match="public"):
        checked([], Exempt(PRIVATE))


async def test_what_a_phone_names_may_not_be_here(push: PushService) -> None:
    async with client(push, private_networks=()) as ring:
        answer = await ring(Bell(push.uri("a")))
    assert (answer.status, answer.error) == (0, "not at a public address")
    assert push.pushed.history == []


@pytest.mark.parametrize(
    "url",
    ["http://localhost:{port}/a", "https://[::1", "https://no-such-name.invalid/a", "https://localhost:1/a"],
)
async def test_what_cannot_be_asked_is_an_answer_too(push: PushService, url: str) -> None:
    async with client(push) as ring:
        answer = await ring(Bell(url.replace("{port}", str(push.port))))
    assert (answer.status, bool(answer.error)) == (0, True)
    assert push.pushed.history == []


async def test_a_name_that_leads_here_too_is_asked_for_once_and_leads_nowhere(push: PushService) -> None:
    zone = {"push.example.net. A": ("9.9.9.9", "127.0.0.1")}
    async with serve_names(zone) as names, client(push, (names.address,), private_networks=()) as ring:
        answer = await ring(Bell(f"https://push.example.net:{push.port}/push/a"))
        assert answer.error == "not at a public address"
        assert sorted(names.asked) == ["push.example.net. A", "push.example.net. AAAA"]
    assert push.pushed.history == []


async def test_a_redirect_leads_nowhere(push: PushService) -> None:
    push.status = 307
    push.headers = {"Location": push.uri("b")}
    async with client(push) as ring:
        assert (await ring(Bell(push.uri("a")))).status == 307
    assert [p.path for p in push.pushed.history] == ["/push/a"]


async def test_the_certificate_has_to_be_of_the_name_in_the_uri(tmp_path: Path) -> None:
    async with push_service(tmp_path, "elsewhere.test") as push, client(push) as ring:
        answer = await ring(Bell(push.uri("a")))
    assert answer.status == 0
    assert "certificate" in answer.error.lower()
    assert push.pushed.history == []


async def test_who_does_not_answer_is_not_waited_for() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with client(timeout=0.2) as ring:
        url = f"http://127.0.0.1:{port}/ring"
        answer = await ring(Bell(url, body=BODY, named_by_phone=False))
    assert (answer.status, bool(answer.error)) == (0, True)
    server.close()


async def test_a_gateway_of_the_operators_may_be_here(push: PushService) -> None:
    async with client(push, private_networks=()) as ring:
        url = f"https://localhost:{push.port}/ring"
        bell = Bell(url, (("Content-Type", "application/json"),), BODY, named_by_phone=False)
        assert (await ring(bell)).status == 201
    assert (await push.asked("ring")).body == BODY


def test_the_key_is_read(tmp_path: Path) -> None:
    certify(tmp_path)
    assert read_vapid_key(tmp_path / "key.pem").curve.name == "secp256r1"
    with pytest.raises(ValueError, match=r"."):
        read_vapid_key(tmp_path / "cert.pem")
