"""XMPP over HTTP, over real sockets: who may connect, and streams over WebSocket (RFC 7395)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.trust import trusting
from tests.support.waiting import until
from tests.xmpp.webhouse import BIND, CLOSE, OPEN, PLAIN, WebHouse, log_in, said, webhouse
from xmpp.web import Origins

PATIENCE = 30.0
STREAMS = "http://etherx.jabber.org/streams"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[WebHouse]:
    async with webhouse(tmp_path) as made:
        yield made


def error(condition: str) -> str:
    return (
        f"<stream:error xmlns:stream='{STREAMS}'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
    )


# --- the way in ---------------------------------------------------------------------------------------


async def test_each_element_is_a_document_of_its_own(house: WebHouse) -> None:
    async with house.websocket() as client:
        assert client.subprotocol == "xmpp"
        header, features = await said(client, OPEN, answers=2)
        opened = ElementTree.fromstring(header)
        assert opened.tag == "{urn:ietf:params:xml:ns:xmpp-framing}open"
        assert opened.attrib.keys() == {
            "id", "from", "version", "{http://www.w3.org/XML/1998/namespace}lang"
        }  # fmt: skip
        offered = ElementTree.fromstring(features)
        assert offered.tag == f"{{{STREAMS}}}features"
        assert "tls" not in features  # §3.9
        assert await said(client, PLAIN) == ["<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"]
        _, later = await said(client, OPEN, answers=2)
        assert "urn:ietf:params:xml:ns:xmpp-bind" in later
        (bound,) = await said(client, BIND)
        assert "<jid>alice@example.org/r0</jid>" in bound
        (back,) = await said(client, "<message xmlns='jabber:client' to='b@c'><body>é</body></message>")
        assert back == "<message xmlns='jabber:client' to='alice@example.org/r0'><body>é</body></message>"
        assert house.server.host.sessions[0].outbound.info()["tls"] == "HTTPS"


async def test_no_channel_binding_is_offered_where_a_proxy_may_end_tls(house: WebHouse) -> None:
    async with house.websocket() as client:
        _, features = await said(client, OPEN, answers=2)
    assert "PLUS" not in features
    assert "SCRAM-SHA-256" in features


async def test_in_the_clear_nobody_logs_in(house: WebHouse) -> None:
    async with house.websocket("ws") as client:
        header, refusal, end = await said(client, OPEN, answers=3)
    assert header.startswith("<open ")
    assert refusal.startswith(error("policy-violation"))
    assert end == CLOSE


async def test_a_trusted_proxy_says_that_the_client_came_over_https_and_from_where(house: WebHouse) -> None:
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "2001:db8::7"}
    async with house.websocket("ws", headers=told) as client:
        await log_in(client)
        assert house.server.host.sessions[0].outbound.info()["peer"] == "2001:db8::7"


async def test_what_others_say_about_where_they_come_from_is_not_believed(tmp_path: Path) -> None:
    async with (
        webhouse(tmp_path, web={"trusted_proxies": ("192.0.2.1",)}) as house,
        house.websocket("ws", headers={"X-Forwarded-Proto": "https"}) as client,
    ):
        answers = await said(client, OPEN, answers=3)
    assert answers[1].startswith(error("policy-violation"))


async def test_allow_plaintext_lets_this_machine_in_without_tls(tmp_path: Path) -> None:
    async with webhouse(tmp_path, allow_plaintext=True) as house, house.websocket("ws") as client:
        assert "<jid>" in await log_in(client)


@pytest.mark.parametrize("header", ["X-Forwarded-Proto", "X-Forwarded-For", "Via"])
async def test_who_comes_through_a_proxy_is_not_this_machine(tmp_path: Path, header: str) -> None:
    said_by_it = {"X-Forwarded-Proto": "http", "X-Forwarded-For": "127.0.0.1", "Via": "1.1 proxy"}
    async with (
        webhouse(tmp_path, allow_plaintext=True) as house,
        house.websocket("ws", headers={header: said_by_it[header]}) as client,
    ):
        answers = await said(client, OPEN, answers=3)
    assert answers[1].startswith(error("policy-violation"))


async def test_the_subprotocol_must_be_xmpp(house: WebHouse) -> None:
    """§3.1."""
    async with httpx.AsyncClient(verify=False, trust_env=False) as client:
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        answer = await client.get(house.url("http", "/xmpp-websocket"), headers=upgrade)
    assert (answer.status_code, answer.text) == (400, "the WebSocket subprotocol xmpp is wanted\n")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://example.org.evil.example"])
async def test_a_page_from_elsewhere_may_not_connect(house: WebHouse, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with house.websocket(origin=origin):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("origin", ["https://example.org", "https://chat.example.com"])
async def test_pages_of_the_domain_and_those_listed_may(tmp_path: Path, origin: str) -> None:
    async with (
        webhouse(tmp_path, web={"origins": ("https://Chat.example.com",)}) as house,
        house.websocket(origin=origin) as client,
    ):
        await log_in(client)


def test_once_there_is_a_public_url_the_requests_host_is_not_asked() -> None:
    public = Origins((), (), "https://chat.example.org")
    assert not public.allow("http://a.example", "a.example", secure=False)
    assert public.allow("https://chat.example.org", "a.example", secure=True)
    assert Origins(("*",), (), "").allow("null", "a.example", secure=False)


@pytest.mark.parametrize(
    ("host", "secure", "allowed"),
    [
        ("a.example:5281", True, True),
        ("a.example:5280", False, False),
        ("example.org", False, True),
        ("localhost:5280", False, True),
        ("192.0.2.1:5280", False, True),
        ("[2001:db8::1]:5280", False, True),
        ("[", False, False),
        ("", False, False),
    ],
)
def test_a_name_that_anybody_points_here_is_none_of_ours(host: str, secure: bool, allowed: bool) -> None:
    """DNS rebinding: the page's own name leads here, as the request's host says. A certificate has no such
    name."""
    origin = f"{'https' if secure else 'http'}://{host}"
    assert Origins((), ("example.org",), "").allow(origin, host, secure=secure) is allowed


async def test_too_many_connections_are_told_to_come_later(tmp_path: Path) -> None:
    async with webhouse(tmp_path, max_connections_per_address=1) as house, house.websocket() as first:
        await log_in(first)
        async with house.websocket() as second:
            with pytest.raises(ConnectionClosed) as closed:
                await second.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013


# --- the way out --------------------------------------------------------------------------------------


async def test_close_is_answered_and_the_connection_ends(house: WebHouse) -> None:
    """§3.6."""
    async with house.websocket() as client:
        await log_in(client)
        assert await said(client, CLOSE) == [CLOSE]
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000
    assert await house.server.host.sessions[0].over == "closed"


async def test_an_error_is_told_and_the_clients_close_awaited(house: WebHouse) -> None:
    """§3.5."""
    async with house.websocket() as client:
        await log_in(client)
        got = await said(client, "<message xmlns='jabber:client'><body>conflict</body></message>", answers=2)
        assert got[0].startswith(error("conflict"))
        assert got[1] == CLOSE
        await client.send(CLOSE)
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert await house.server.host.sessions[0].over == "conflict"


async def test_who_does_not_answer_an_error_is_left(tmp_path: Path) -> None:
    async with webhouse(tmp_path, close_timeout=0.2) as house, house.websocket() as client:
        await said(client, OPEN, answers=2)
        got = await said(client, "<message xmlns='jabber:client'/>", answers=2)
        assert got[0].startswith(error("not-authorized"))
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), PATIENCE)


async def test_without_open_there_is_a_header_before_the_error(house: WebHouse) -> None:
    async with house.websocket() as client:
        header, refusal, end = await said(client, PLAIN, answers=3)
    assert header.startswith("<open ")
    assert refusal.startswith(error("bad-format"))
    assert end == CLOSE


async def test_binary_messages_are_refused(house: WebHouse) -> None:
    """§3.2."""
    async with house.websocket() as client:
        await said(client, OPEN, answers=2)
        await client.send(OPEN.encode())
        assert str(await client.recv()).startswith(error("bad-format"))


async def test_a_lost_connection_is_a_lost_stream(house: WebHouse) -> None:
    async with house.websocket() as client:
        await log_in(client)
        client.transport.abort()
        assert await house.server.host.sessions[0].over == "lost"
    await until("nothing is left", lambda: not house.server.listener.connections, PATIENCE)


async def test_who_does_not_log_in_is_shown_out(tmp_path: Path) -> None:
    async with webhouse(tmp_path, login_timeout=0.2) as house, house.websocket() as client:
        await said(client, OPEN, answers=2)
        assert str(await client.recv()).startswith(error("connection-timeout"))


async def test_when_the_server_stops_the_client_hears_why(house: WebHouse) -> None:
    async with house.websocket() as client:
        await log_in(client)
        stopping = asyncio.ensure_future(house.server.listener.stop())
        assert str(await client.recv()).startswith(error("system-shutdown"))
        assert await client.recv() == CLOSE
        await client.send(CLOSE)
        await stopping
    assert await house.server.host.sessions[0].over == "system-shutdown"


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    async with webhouse(tmp_path, max_outbound=65_536) as house, house.websocket() as client:
        await log_in(client)
        session = house.server.host.sessions[0]
        client.transport.pause_reading()
        for _ in range(4000):
            session.outbound.send(b"<message><body>" + b"x" * 60_000 + b"</body></message>")
            await asyncio.sleep(0)
            if session.over.done():
                break
        assert await asyncio.wait_for(session.over, PATIENCE) == "resource-constraint"
        client.transport.abort()


async def test_messages_are_settled_when_the_socket_took_them(house: WebHouse) -> None:
    async with house.websocket() as client:
        await log_in(client)
        session = house.server.host.sessions[0]
        before = session.flushes
        await said(client, "<message xmlns='jabber:client'/>")
        await until("it was told", lambda: session.flushes > before, PATIENCE)


async def test_a_session_goes_on_over_a_websocket(house: WebHouse) -> None:
    """What was missed comes behind the answer (XEP-0198 §5)."""
    async with house.websocket() as client:
        await log_in(client)
    async with house.websocket() as client:
        await said(client, OPEN, answers=2)
        await said(client, PLAIN)
        await said(client, OPEN, answers=2)
        assert await said(client, "<resume xmlns='urn:example:resume'/>", answers=2) == [
            "<resumed xmlns='urn:example:resume'/>",
            "<message xmlns='jabber:client' id='missed'/>",
        ]


async def test_another_place_may_be_named(tmp_path: Path) -> None:
    """§3.6.1."""
    async with (
        webhouse(tmp_path, web={"see_other_uri": "wss://new.example.org/ws"}) as house,
        house.websocket() as client,
    ):
        assert str(await client.recv()).startswith("<open ")
        framing = "urn:ietf:params:xml:ns:xmpp-framing"
        moved = f"<close xmlns='{framing}' see-other-uri='wss://new.example.org/ws'/>"
        assert await client.recv() == moved


# --- where to find it (XEP-0156) ------------------------------------------------------------------------


async def ask(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(verify=trusting(), trust_env=False) as client:
        return await client.get(url, headers=headers)


async def test_host_meta_names_the_addresses_of_the_public_url(tmp_path: Path) -> None:
    async with webhouse(tmp_path, web={"public_url": "https://chat.example.org/im/"}) as house:
        xrd = await ask(house.url("http", "/.well-known/host-meta"))
        jrd = await ask(house.url("https", "/.well-known/host-meta.json"))
    wanted = {
        "urn:xmpp:alt-connections:websocket": "wss://chat.example.org/im/xmpp-websocket",
        "urn:xmpp:alt-connections:xbosh": "https://chat.example.org/im/http-bind",
    }
    links = ElementTree.fromstring(xrd.text).findall("{http://docs.oasis-open.org/ns/xri/xrd-1.0}Link")
    assert {link.attrib["rel"]: link.attrib["href"] for link in links} == wanted
    assert {link["rel"]: link["href"] for link in json.loads(jrd.text)["links"]} == wanted
    assert xrd.headers["content-type"] == "application/xrd+xml"
    assert jrd.headers["content-type"] == "application/jrd+json"
    assert xrd.headers["access-control-allow-origin"] == "*"


async def test_without_a_public_url_host_meta_is_for_who_asks_over_https(house: WebHouse) -> None:
    """§3.2 rule 1: no address without TLS is ever named."""
    asked = {"Host": "example.org"}
    secure = await ask(house.url("https", "/.well-known/host-meta"), asked)
    assert "wss://example.org/xmpp-websocket" in secure.text
    assert (await ask(house.url("http", "/.well-known/host-meta"), asked)).status_code == 404
