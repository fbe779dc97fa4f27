"""gateway/web.py: what a door's routes are served with, over real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
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
from gateway.config import Role, Settings
from gateway.web import MAX_HEAD, Parting, WebServer
from gateway.wiring import web
from sip.settings import SipSettings
from tests.support.waiting import until
from xmpp.settings import WebSettings, XmppSettings


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


async def test_trailers_behind_a_body_are_not_collected_for_ever() -> None:
    async with serving(plain=["127.0.0.1:0"]) as server:
        ((_, host, port),) = server.listening
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
        async with asyncio.timeout(20):  # it would be kept open for longer
            with suppress(ConnectionError):
                for _ in range(2 * MAX_HEAD // 1000):
                    writer.write(b"X-More: " + b"x" * 990 + b"\r\n")
                    await writer.drain()
                while await reader.read(65_536):
                    pass
        writer.close()


async def test_a_body_larger_than_a_head_and_its_trailers_are_taken() -> None:
    async def count(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    server = WebServer([Route("/count", count, methods=["POST"])], plain=["127.0.0.1:0"])
    await server.start()
    ((_, host, port),) = server.listening
    reader, writer = await asyncio.open_connection(host, port)
    chunk = b"%x\r\n%s\r\n" % (MAX_HEAD, b"x" * MAX_HEAD)
    head = b"POST /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head + 8 * chunk + b"0\r\nDigest: 1\r\n\r\n")
    said = await reader.read()
    writer.close()
    await server.stop()
    assert said.startswith(b"HTTP/1.1 200")
    assert said.endswith(b"%d" % (8 * MAX_HEAD))


async def test_who_does_not_read_is_not_answered_every_ping_of_a_websocket() -> None:
    heard = asyncio.Event()

    async def listen(socket: WebSocket) -> None:
        await socket.accept(subprotocol="echo")
        await socket.receive_text()
        heard.set()
        await socket.send_text("heard")
        await socket.receive_text()

    server = WebServer([WebSocketRoute("/", listen)], plain=["127.0.0.1:0"])
    await server.start()
    ((_, host, port),) = server.listening
    async with connect(f"ws://{host}:{port}/", subprotocols=[Subprotocol("echo")], proxy=None) as socket:
        ((uvicorn, _),) = server._servers
        (protocol,) = uvicorn.server_state.connections
        assert isinstance(protocol, Parting)
        protocol.pause_writing()  # as the transport says when the peer does not read
        unanswered = await socket.ping()
        await socket.send("x")
        await heard.wait()
        protocol.resume_writing()
        assert await socket.recv() == "heard"
        assert isinstance(unanswered, asyncio.Future)
        assert not unanswered.done()
        await (await socket.ping())
        await socket.send("bye")
    await server.stop()


async def websocket(server: WebServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """After its handshake."""
    ((_, host, port),) = server.listening
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Protocol: echo\r\n\r\n"
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def frame(opcode: int, data: bytes = b"", *, last: bool = True) -> bytes:
    """As a client masks it (RFC 6455 §5.2), with zeros."""
    return bytes([opcode | (0x80 if last else 0), 0x80 | len(data)]) + bytes(4) + data


CONT, TEXT, PING, PONG = 0, 1, 9, 10


@pytest.mark.parametrize(
    "frames",
    [
        frame(TEXT, b"a", last=False) + 3000 * frame(CONT, last=False),
        3000 * frame(PING),
        3000 * frame(PONG, b"x"),
    ],
)
async def test_frames_that_are_no_message_end_a_websocket(frames: bytes) -> None:
    """Empty ones weigh nothing, and each costs."""
    async with serving(plain=["127.0.0.1:0"]) as server:
        reader, writer = await websocket(server)
        writer.write(frames)
        async with asyncio.timeout(20):
            said = await reader.read()
        assert (1008).to_bytes(2) in said
        writer.close()


async def test_a_message_may_come_in_many_frames_with_pings_between() -> None:
    async with serving(plain=["127.0.0.1:0"]) as server:
        reader, writer = await websocket(server)
        writer.write(frame(TEXT, b"a", last=False))
        for _ in range(90):
            writer.write(frame(CONT, b"b", last=False) + frame(PING))
        writer.write(frame(CONT, b"c"))
        said = await reader.readuntil(b"a" + 90 * b"b" + b"c")
        assert said.count(b"\x8a\x00") == 90
        writer.close()


async def test_a_websocket_whose_peer_takes_nothing_is_not_kept_when_it_is_over() -> None:
    async def talk(socket: WebSocket) -> None:
        await socket.accept(subprotocol="echo")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    await socket.send_text("x" * 60_000)

    server = WebServer([WebSocketRoute("/echo", talk)], plain=["127.0.0.1:0"], parting=0.1)
    await server.start()
    _, writer = await websocket(server)
    assert isinstance(writer.transport, asyncio.Transport)
    writer.transport.pause_reading()
    ((uvicorn, _),) = server._servers
    await until("it is dropped", lambda: not uvicorn.server_state.connections, 30)
    writer.transport.abort()
    await server.stop()


async def test_one_network_does_not_take_all_connections() -> None:
    async with serving(plain=["127.0.0.1:0"], proxies=(), per_network=2) as server:
        ((_, host, port),) = server.listening
        first, second = await websocket(server), await asyncio.open_connection(host, port)
        reader, writer = await asyncio.open_connection(host, port)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        for _, each in (first, second):
            each.transport.abort()
        ((uvicorn, _),) = server._servers
        await until("they are gone", lambda: not uvicorn.server_state.connections, 30)
        again = [await websocket(server), await websocket(server)]
        for _, each in again:
            each.close()


async def test_what_is_no_http_is_answered_400_and_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(plain=["127.0.0.1:0"]) as server:
        ((_, host, port),) = server.listening
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"OPTIONS sip:localhost SIP/2.0\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()
    assert [record.getMessage() for record in caplog.records] == []


async def test_a_taken_port_is_named() -> None:
    async with serving(plain=["127.0.0.1:0"]) as server:
        ((_, host, port),) = server.listening
        with pytest.raises(OSError, match=f"{host}:{port}"):
            await WebServer([], plain=[f"{host}:{port}"]).start()


class Routes:
    """Implements `presence.ports.Web`."""

    max_message = 1000

    def routes(self) -> list[Route]:
        return []


async def test_each_door_believes_its_own_proxies() -> None:
    chosen = Settings(
        sip=SipSettings(web_trusted_proxies=("192.0.2.1",)),
        xmpp=XmppSettings(web=WebSettings(trusted_proxies=("192.0.2.2",))),
    )
    for role, believed in ((Role.SIP, "192.0.2.1"), (Role.XMPP, "192.0.2.2")):
        server = web(chosen, role, Routes())  # type: ignore[arg-type]
        assert server is not None
        assert server._proxies == [believed]
