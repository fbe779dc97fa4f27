"""XEP-0401 §4.2: the page of an invitation."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser

import httpx

from gateway.web import WebServer
from presence.invitations import Ticket
from presence.ports import Invitation
from tests.xmpp.scene import Scene, address
from xmpp.edge.landing import Landing
from xmpp.landing import HEADERS, landing_url, write_landing
from xmpp.settings import WebSettings, XmppSettings


class Page(HTMLParser):
    """Tags, and where links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]


def page(**invitation: object) -> tuple[str, Page]:
    made = Invitation(domain="example.org", **invitation)  # type: ignore[arg-type]
    text = write_landing(Ticket("abc", made), may_register=True)
    return text, Page(text)


def test_a_buddys_invitation_says_who_invites_and_opens_in_a_client() -> None:
    text, read = page(inviter=address("alice"), befriends=True)
    assert "alice@example.org invites you to chat" in text
    assert "xmpp:alice@example.org?roster;preauth=abc;ibr=y" in read.links
    assert "script" not in read.tags
    assert all(link.startswith(("xmpp:", "https://")) for link in read.links)


def test_a_name_says_nothing_to_the_client_that_opens_the_link() -> None:
    """RFC 5122 §2.2: names may have what begins a query, or is decoded."""
    _, read = page(inviter=address("eve?message;body=%41#x"), befriends=True)
    assert "xmpp:eve%3Fmessage;body=%2541%23x@example.org?roster;preauth=abc;ibr=y" in read.links
    _, read = page(local="é?x")
    assert "xmpp:%C3%A9%3Fx@example.org?register;preauth=abc" in read.links


def test_an_account_that_is_promised_is_named() -> None:
    text, read = page(local="juliet")
    assert "Make the account juliet@example.org" in text
    assert "xmpp:juliet@example.org?register;preauth=abc" in read.links
    text, read = page()
    assert "Make an account at example.org" in text


def test_names_are_no_markup() -> None:
    hostile = '"><script>alert(1)</script>'
    for invitation in (Invitation(domain=hostile), Invitation(domain="x", local=hostile)):
        text = write_landing(Ticket(hostile, invitation), may_register=True)
        assert "script" not in Page(text).tags
        assert "&lt;script&gt;" in text


def test_the_address_is_where_pages_are_served_over_https() -> None:
    proxied = XmppSettings(web=WebSettings(public_url="https://chat.example.org"))
    assert landing_url("example.org", proxied, "abc") == "https://chat.example.org/invite/abc"
    assert landing_url("example.org", XmppSettings(), "abc") == "https://example.org:5281/invite/abc"
    assert landing_url("example.org", XmppSettings(listen_web_tls=()), "abc") == ""


@asynccontextmanager
async def served(xmpp: Scene) -> AsyncIterator[httpx.AsyncClient]:
    router = await xmpp.node("xmpp-1", registration="invited")
    web = WebServer(Landing(router.settings, router.service).routes(), plain=["127.0.0.1:0"])
    await web.start()
    _, host, port = web.listening[0]
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
        yield client
    await web.stop()


async def test_who_has_the_token_is_shown_the_invitation_until_it_is_used(xmpp: Scene) -> None:
    await xmpp.people("alice")
    async with served(xmpp) as browser:
        invitations = xmpp.nodes["xmpp-1"].service.invitations
        ticket = await invitations.invite("example.org", inviter=address("alice"), befriends=True, seconds=60)
        path = f"/invite/{ticket.token}"
        answer = await browser.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert f"preauth={ticket.token}" in answer.text
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        await invitations.take(ticket.token)
        assert (await browser.get(path)).status_code == 404
        assert (await browser.get("/invite/" + "x" * 1000)).status_code == 404
        assert (await browser.post(path)).status_code == 405


def test_the_style_is_allowed_and_nothing_else_is() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert re.search(r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='", policy)
    assert "script" not in policy
