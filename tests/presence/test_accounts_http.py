"""Accounts behind a web service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from presence.edge.accounts import AccountSettings
from presence.edge.accounts.http import BACKEND, Hook
from presence.edge.accounts.settings import HttpSettings
from presence.errors import Unavailable
from tests.support.buses import ALICE


class Service:
    """Answers every request with one status, and keeps them."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.headers: list[str] = []
        self.bodies: list[dict[str, str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.headers.append(head.lower())
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        self.bodies.append(json.loads(await reader.readexactly(length)))
        if self.status:
            writer.write(
                f"HTTP/1.1 {self.status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
            )
        writer.close()


@asynccontextmanager
async def asked(status: int, token: Path | None = None) -> AsyncIterator[tuple[Hook, Service]]:
    service = Service(status)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hook = Hook(HttpSettings(url=f"http://127.0.0.1:{port}/check", token_file=token, timeout=2))
    try:
        yield hook, service
    finally:
        await hook.close()
        server.close()
        await server.wait_closed()


async def test_it_is_told_who_and_what_and_nothing_else() -> None:
    async with asked(204) as (hook, service):
        assert await hook.check_password(ALICE, "wonderland")
    assert service.bodies == [{"address": "alice@example.org", "password": "wonderland"}]
    assert "wonderland" not in service.headers[0]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_is_a_wrong_password(status: int) -> None:
    async with asked(status) as (hook, _):
        assert not await hook.check_password(ALICE, "wrong")


@pytest.mark.parametrize("status", [302, 429, 500, 503, 0])
async def test_anything_else_says_nothing_about_the_password(status: int) -> None:
    async with asked(status) as (hook, _):
        with pytest.raises(Unavailable) as caught:
            await hook.check_password(ALICE, "wonderland")
    assert "wonderland" not in str(caught.value)


async def test_without_a_server_nobody_can_say() -> None:
    async with asked(200) as (hook, _):
        pass
    with pytest.raises(Unavailable):
        await hook.check_password(ALICE, "wonderland")
    await hook.close()


async def test_a_token_is_sent_along(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("opensesame\n")
    async with asked(200, tmp_path / "token") as (hook, service):
        await hook.check_password(ALICE, "wonderland")
    assert "authorization: bearer opensesame" in service.headers[0]


def test_passwords_do_not_cross_a_network_in_the_clear() -> None:
    for url, fine in (
        ("https://a.example/x", True),
        ("http://a.example/x", False),
        ("http://[::1]:8/x", True),
    ):
        settings = AccountSettings(http=HttpSettings(url=url))
        assert (BACKEND.problems(settings) == []) is fine
