"""XMPP over BOSH (XEP-0206), over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self
from xml.etree import ElementTree

import httpx
import pytest

from tests.support.trust import trusting
from tests.support.waiting import until
from tests.xmpp.webhouse import BIND, PLAIN, WebHouse, webhouse

PATIENCE = 30.0
STREAMS = "{http://etherx.jabber.org/streams}"
ERRORS = "{urn:ietf:params:xml:ns:xmpp-streams}"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[WebHouse]:
    async with webhouse(tmp_path, close_timeout=0.3) as made:  # nobody says goodbye
        yield made


class BoshClient:
    """Counts its requests and remembers its session; sends what a test wrote."""

    def __init__(self, house: WebHouse, scheme: str = "https", headers: dict[str, str] | None = None) -> None:
        self.url = house.url(scheme, "/http-bind")
        self.http = httpx.AsyncClient(verify=trusting(), trust_env=False, timeout=PATIENCE, headers=headers)
        self.rid = 4711
        self.sid = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def ask(self, inner: str = "", **attrs: str) -> ElementTree.Element:
        self.rid += 1
        told = {"rid": str(self.rid)} | ({"sid": self.sid} if self.sid else {}) | attrs
        said = "".join(f" {name.replace('_', ':')}='{value}'" for name, value in told.items())
        start = "<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'"
        answer = await self.http.post(self.url, content=f"{start}{said}>{inner}</body>".encode())
        assert answer.status_code == 200
        self.last = answer
        return ElementTree.fromstring(answer.text)

    async def begin(self, **attrs: str) -> ElementTree.Element:
        told = {"to": "example.org", "ver": "1.6", "wait": "60", "hold": "1", "xmpp_version": "1.0"}
        answer = await self.ask(**(told | attrs))
        self.sid = answer.get("sid", "")
        return answer

    async def log_in(self) -> ElementTree.Element:
        await self.begin()
        await self.ask(PLAIN)
        await self.ask(xmpp_restart="true", to="example.org")
        return await self.ask(BIND)


def names(answer: ElementTree.Element) -> list[str]:
    return [child.tag.rpartition("}")[2] for child in answer.iter()][1:]


async def test_from_the_first_request_to_a_bound_resource(house: WebHouse) -> None:
    async with BoshClient(house) as client:
        opened = await client.begin()
        assert client.last.headers["content-type"] == "text/xml; charset=utf-8"
        assert client.last.headers["x-content-type-options"] == "nosniff"
        assert opened.get("from") == "example.org"
        assert names(opened)[:2] == ["features", "mechanisms"]
        assert names(await client.ask(PLAIN)) == ["success"]
        assert "bind" in names(await client.ask(xmpp_restart="true", to="example.org"))
        bound = await client.ask(BIND)
        assert bound.findtext(".//{urn:ietf:params:xml:ns:xmpp-bind}jid") == "alice@example.org/r0"
        back = await client.ask("<message xmlns='jabber:client' to='b@c'><body>é</body></message>")
        assert back.findtext(".//{jabber:client}body") == "é"


async def test_what_comes_goes_out_with_the_request_that_waits(house: WebHouse) -> None:
    async with BoshClient(house) as client:
        await client.log_in()
        session = house.server.host.sessions[0]
        waiting = asyncio.ensure_future(client.ask())
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done()
        session.outbound.send(b"<presence/>")
        session.outbound.send(b"<message/>")
        assert names(await waiting) == ["presence", "message"]


async def test_messages_are_settled_when_the_client_has_them(house: WebHouse) -> None:
    async with BoshClient(house) as client:
        await client.log_in()
        session = house.server.host.sessions[0]
        session.flushes = 0
        session.outbound.send(b"<message/>")
        assert names(await client.ask()) == ["message"]
        assert session.flushes == 0
        first = asyncio.ensure_future(client.ask())
        await asyncio.wait([first], timeout=0.1)
        second = asyncio.ensure_future(client.ask("<message xmlns='jabber:client'/>"))
        await until("it is settled", lambda: session.flushes > 0, PATIENCE)
        await asyncio.gather(first, second)


async def test_the_client_says_goodbye(house: WebHouse) -> None:
    async with BoshClient(house) as client:
        await client.log_in()
        assert (await client.ask(type="terminate")).get("type") == "terminate"
        assert await house.server.host.sessions[0].over == "closed"
        assert (await client.ask()).get("condition") == "item-not-found"
    await until("nothing is left", lambda: not house.server.listener.connections, PATIENCE)


async def test_a_client_that_asks_no_more_is_lost(tmp_path: Path) -> None:
    async with webhouse(tmp_path, web={"bosh_inactivity": 5}) as house, BoshClient(house) as client:
        await client.log_in()
        assert await asyncio.wait_for(house.server.host.sessions[0].over, PATIENCE) == "lost"


async def test_a_request_whose_connection_broke_is_asked_again(house: WebHouse) -> None:
    async with BoshClient(house) as client:
        await client.log_in()
        session = house.server.host.sessions[0]
        with pytest.raises(httpx.ReadTimeout):
            await client.http.post(
                client.url,
                content=f"<body xmlns='http://jabber.org/protocol/httpbind' rid='{client.rid + 1}' "
                f"sid='{client.sid}'/>",
                timeout=0.3,
            )
        session.outbound.send(b"<message/>")
        got = [await client.ask()]
        if not names(got[0]):  # the broken one's answer is said again: it was empty
            got.append(await client.ask())
        assert names(got[-1]) == ["message"]


async def test_an_error_of_the_stream_ends_the_session(house: WebHouse) -> None:
    async with BoshClient(house) as client:
        await client.log_in()
        answer = await client.ask("<message xmlns='jabber:client'><body>conflict</body></message>")
        assert (answer.get("type"), answer.get("condition")) == ("terminate", "remote-stream-error")
        assert answer.find(f"{STREAMS}error/{ERRORS}conflict") is not None
        assert await house.server.host.sessions[0].over == "conflict"


async def test_an_unknown_domain_is_a_stream_error_in_the_first_answer(house: WebHouse) -> None:
    async with BoshClient(house) as client:
        answer = await client.begin(to="elsewhere.example")
        assert answer.get("condition") == "remote-stream-error"
        assert answer.find(f"{STREAMS}error/{ERRORS}host-unknown") is not None


async def test_in_the_clear_nobody_logs_in(house: WebHouse) -> None:
    async with BoshClient(house, "http") as client:
        answer = await client.begin()
        assert answer.find(f"{STREAMS}error/{ERRORS}policy-violation") is not None


async def test_in_the_clear_one_is_sent_to_the_public_url(tmp_path: Path) -> None:
    """XEP-0124 §17.2."""
    async with (
        webhouse(tmp_path, web={"public_url": "https://chat.example.org"}) as house,
        BoshClient(house, "http") as client,
    ):
        answer = await client.begin()
        assert answer.get("condition") == "see-other-uri"
        uri = answer.findtext("{http://jabber.org/protocol/httpbind}uri")
        assert uri == "https://chat.example.org/http-bind"


async def test_a_trusted_proxy_says_that_the_client_came_over_https(house: WebHouse) -> None:
    async with BoshClient(
        house, "http", {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.9"}
    ) as client:
        await client.log_in()
    assert house.server.host.sessions[0].outbound.info()["peer"] == "192.0.2.9"


@pytest.mark.parametrize(
    ("content", "condition"),
    [
        (b"<body", "bad-request"),
        (b"<body xmlns='http://jabber.org/protocol/httpbind' rid='x'/>", "bad-request"),
        (b"<body xmlns='http://jabber.org/protocol/httpbind' rid='1' sid='nobody'/>", "item-not-found"),
        (b"<body xmlns='http://jabber.org/protocol/httpbind' sid='nobody' rid='1'>" + b"<", "item-not-found"),
        (b" " * 5000 + b"<body xmlns='http://jabber.org/protocol/httpbind' rid='1'/>", "bad-request"),
        (b"<body xmlns='http://jabber.org/protocol/httpbind'>" + b" " * 400_000, "policy-violation"),
        (
            b"<body xmlns='http://jabber.org/protocol/httpbind'>" + b" " * 20_000 + b"</body>",
            "policy-violation",
        ),
    ],
)
async def test_what_is_no_request_of_a_session(house: WebHouse, content: bytes, condition: str) -> None:
    async with httpx.AsyncClient(verify=trusting(), trust_env=False) as client:
        answer = await client.post(house.url("https", "/http-bind"), content=content)
    said = ElementTree.fromstring(answer.text)
    assert (said.get("type"), said.get("condition")) == ("terminate", condition)


async def test_for_an_unknown_session_nothing_is_waited_for(house: WebHouse) -> None:
    """Its beginning says all: what a stranger sends behind it is neither kept nor parsed."""
    host, _, port = house.url("http", "").removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /http-bind HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
    writer.write(b"<body xmlns='http://jabber.org/protocol/httpbind' rid='1' sid='nobody'><message>")
    async with asyncio.timeout(PATIENCE):
        said = await reader.readuntil(b"/>")
    assert b"item-not-found" in said
    writer.close()


async def test_a_client_that_is_slowed_down_has_few_requests_waiting(tmp_path: Path) -> None:
    """Each holds what it sent."""
    async with (
        webhouse(tmp_path, max_rate_before_login=1, rate_burst=0.1) as house,
        BoshClient(house) as client,
    ):
        await client.begin()
        waiting = [asyncio.ensure_future(client.ask(PLAIN)) for _ in range(20)]
        refused = 0
        for done in asyncio.as_completed(waiting, timeout=PATIENCE):
            refused += (await done).get("condition") == "policy-violation"
            if refused == 14:
                break
        assert sum(not each.done() for each in waiting) == 6
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)


async def test_a_page_of_the_domain_is_let_in_by_cors_and_others_are_not(house: WebHouse) -> None:
    url = house.url("https", "/http-bind")
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    async with httpx.AsyncClient(verify=trusting(), trust_env=False) as client:
        ours = await client.options(url, headers=asked | {"Origin": "https://example.org"})
        theirs = await client.options(url, headers=asked | {"Origin": "https://evil.example"})
        posted = await client.post(url, content=b"<body/>", headers={"Origin": "https://evil.example"})
    assert ours.status_code == 200
    assert ours.headers["access-control-allow-origin"] == "https://example.org"
    assert ours.headers["access-control-allow-headers"] == "Content-Type"
    assert ours.headers["vary"] == "Origin"
    assert (theirs.status_code, posted.status_code) == (403, 403)
    assert "access-control-allow-origin" not in theirs.headers


async def test_a_client_may_choose_a_content_type_that_is_no_page(house: WebHouse) -> None:
    """§7.1."""
    async with BoshClient(house) as client:
        await client.begin(content="text/plain; charset=utf-8")
        assert client.last.headers["content-type"] == "text/plain; charset=utf-8"
    async with BoshClient(house) as client:
        await client.begin(content="text/html")
        assert client.last.headers["content-type"] == "text/xml; charset=utf-8"


async def test_when_the_server_stops_the_client_hears_why(house: WebHouse) -> None:
    async with BoshClient(house) as client:
        await client.log_in()
        waiting = asyncio.ensure_future(client.ask())
        await asyncio.wait([waiting], timeout=0.2)
        stopping = asyncio.ensure_future(house.server.listener.stop())
        answer = await waiting
        assert answer.find(f"{STREAMS}error/{ERRORS}system-shutdown") is not None
        await stopping


async def test_a_client_that_does_not_ask_is_cut_off_when_too_much_waits(tmp_path: Path) -> None:
    async with webhouse(tmp_path, max_outbound=65_536) as house, BoshClient(house) as client:
        await client.log_in()
        session = house.server.host.sessions[0]
        for _ in range(3):
            session.outbound.send(b"<message><body>" + b"x" * 40_000 + b"</body></message>")
            await asyncio.sleep(0)
        assert await asyncio.wait_for(session.over, PATIENCE) == "resource-constraint"
        assert (await client.ask()).get("condition") == "item-not-found"


async def test_a_session_goes_on_over_bosh(house: WebHouse) -> None:
    """XEP-0198 §5: what was missed comes behind the answer."""
    async with BoshClient(house) as client:
        await client.log_in()
    async with BoshClient(house) as client:
        await client.begin()
        await client.ask(PLAIN)
        await client.ask(xmpp_restart="true", to="example.org")
        assert names(await client.ask("<resume xmlns='urn:example:resume'/>")) == ["resumed", "message"]
