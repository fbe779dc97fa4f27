"""gateway/web.py: what a door's routes are served with, over real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError
from websockets.typing import Subprotocol

from gateway import certs
from gateway.web import MAX_HEAD, WebServer


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"hello over {request.url.scheme}")


async def echo(socket: WebSocket) -> None:
    await socket.accept(subprotocol="echo")
    async for text in socket.iter_text():
        await socket.send_text(text)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[WebServer]:
    server = WebServer([Route("/hello", hello), WebSocketRoute("/echo", echo)], **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    made = tmp_path / "cert.pem", tmp_path / "key.pem"
    certs.ensure_self_signed(*made, ["tandem.test"])
    return made


async def test_a_route_is_served_in_the_clear_and_with_tls(certificate: tuple[Path, Path]) -> None:
    file, key = certificate
    trust = ssl.create_default_context(cafile=str(file))
    async with (
        serving(plain=["127.0.0.1:0"], tls=["127.0.0.1:0"], certificate=file, key=key) as server,
        httpx.AsyncClient(verify=trust, trust_env=False) as client,
    ):
        said = {
            scheme: (await client.get(f"{scheme}://localhost:{port}/hello")).text
            for scheme, _, port in server.listening
        }
    assert said == {"http": "hello over http", "https": "hello over https"}


async def test_a_renewed_certificate_is_shown_after_a_reload(certificate: tuple[Path, Path]) -> None:
    file, key = certificate
    async with serving(tls=["127.0.0.1:0"], certificate=file, key=key) as server:
        ((_, host, port),) = server.listening
        before = await asyncio.to_thread(ssl.get_server_certificate, (host, port))
        file.unlink()
        certs.ensure_self_signed(file, key, ["tandem.test"])
        await server.reload()
        after = await asyncio.to_thread(ssl.get_server_certificate, (host, port))
    assert before != after
    assert after.split() == file.read_text().split()


async def test_a_websocket_message_over_the_limit_ends_the_connection() -> None:
    async with serving(plain=["127.0.0.1:0"], max_message=100) as server:
        ((_, host, port),) = server.listening
        url = f"ws://{host}:{port}/echo"
        async with connect(url, subprotocols=[Subprotocol("echo")], proxy=None) as socket:
            await socket.send("x" * 100)
            assert await socket.recv() == "x" * 100
            await socket.send("x" * 101)
            with pytest.raises(ConnectionClosedError) as closed:
                await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_a_head_without_end_is_not_collected_for_ever() -> None:
    async with serving(plain=["127.0.0.1:0"]) as server:
        ((_, host, port),) = server.listening
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /hello HTTP/1.1\r\n")
        line = b"X-More: " + b"x" * 1000 + b"\r\n"
        writer.write(line * (MAX_HEAD // len(line) + 50))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_a_head_that_does_not_come_in_time_ends_the_connection() -> None:
    async with serving(plain=["127.0.0.1:0"], head_timeout=0.2) as server:
        ((_, host, port),) = server.listening
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /hello HTTP/1.1\r\nHost: a\r\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_what_is_no_http_is_answered_400() -> None:
    async with serving(plain=["127.0.0.1:0"]) as server:
        ((_, host, port),) = server.listening
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"OPTIONS sip:localhost SIP/2.0\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_a_taken_port_is_named() -> None:
    async with serving(plain=["127.0.0.1:0"]) as server:
        ((_, host, port),) = server.listening
        with pytest.raises(OSError, match=f"{host}:{port}"):
            await WebServer([], plain=[f"{host}:{port}"]).start()
