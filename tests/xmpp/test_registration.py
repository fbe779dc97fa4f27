"""Accounts made by clients (XEP-0077), with and without an invitation (XEP-0445), byte by byte."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from presence.errors import Condition, Refused
from presence.invitations import name_of
from tests.xmpp.rawclient import RawClient, auth
from tests.xmpp.scene import DOMAIN, Scene, address
from tests.xmpp.server import Server, running
from tests.xmpp.test_login_guard import Watchman

ASK = b"<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>"
IQ = b"</iq>"


def make(user: str = "carol", password: str = "sesame", *, form: bool = False) -> bytes:
    plain = b"<username>%s</username><password>%s</password>" % (user.encode(), password.encode())
    filled_in = (
        b"<x xmlns='jabber:x:data' type='submit'>"
        b"<field var='FORM_TYPE'><value>jabber:iq:register</value></field>"
        b"<field var='username'><value>%s</value></field><field var='password'><value>%s</value></field></x>"
    ) % (user.encode(), password.encode())
    inner = filled_in if form else plain
    return b"<iq type='set' id='2'><query xmlns='jabber:iq:register'>%s</query></iq>" % inner


def show(token: str) -> bytes:
    return (
        b"<iq type='set' id='3' to='example.org'><preauth xmlns='urn:xmpp:pars:0' token='%s'/></iq>"
        % token.encode()
    )


async def answer(client: RawClient, request: bytes) -> str:
    """`result`, or the condition of the error."""
    client.send(request)
    got = await client.until(b">")
    if b"type='error'" not in got:
        if not got.endswith(b"/>"):
            await client.until(IQ)
        return "result"
    got += await client.until(IQ)
    conditions: list[bytes] = re.findall(rb"<error type='[a-z]+'><([a-z-]+)", got)
    return conditions[0].decode()


async def invite(server: Server, **how: object) -> str:
    invitations = server.door.router.service.invitations
    ticket = await invitations.invite("example.org", seconds=60, **how)  # type: ignore[arg-type]
    return ticket.token


def opened(server: Server) -> RawClient:
    return RawClient(server.where(direct=True), direct=True)


async def test_it_is_off_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    async with running(tmp_path) as server, opened(server) as client:
        assert b"register" not in await client.features()
        assert await answer(client, ASK) == "service-unavailable"
        assert await answer(client, make()) == "service-unavailable"
        assert await answer(client, show("x")) == "service-unavailable"


@pytest.mark.parametrize("form", [False, True])
async def test_where_it_is_open_anybody_makes_an_account_and_logs_in(tmp_path: Path, form: bool) -> None:
    async with running(tmp_path, registration="open") as server, opened(server) as client:
        assert b"<register xmlns='http://jabber.org/features/iq-register'/>" in await client.features()
        got = await client.ask(ASK, IQ)
        assert b"<username/><password/>" in got
        assert b"<field type='text-single' var='username'><required/></field>" in got
        assert await answer(client, make(form=form)) == "result"
        await client.ask(auth(b"\0carol\0sesame"), b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")


@pytest.mark.parametrize(
    ("attempt", "condition"),
    [
        (make("alice"), "conflict"),
        (make(""), "not-acceptable"),
        (make(password=""), "not-acceptable"),
        (make("a b"), "not-acceptable"),
        (make(password="x" * 2000), "not-acceptable"),
        (make("carol@elsewhere.org"), "not-acceptable"),
    ],
)
async def test_what_is_wrong_is_said(tmp_path: Path, attempt: bytes, condition: str) -> None:
    async with running(tmp_path, registration="open") as server, opened(server) as client:
        await client.features()
        assert await answer(client, attempt) == condition
        assert await answer(client, make()) == "result"


async def test_one_stream_makes_one_account(tmp_path: Path) -> None:
    async with running(tmp_path, registration="open") as server, opened(server) as client:
        await client.features()
        assert await answer(client, make("carol")) == "result"
        assert await answer(client, make("dave")) == "not-acceptable"


async def test_before_tls_nothing_is_told_and_nothing_made(tmp_path: Path) -> None:
    async with running(tmp_path, registration="open") as server, RawClient(server.where()) as client:
        assert b"register" not in await client.features()
        client.send(make())
        assert b"<not-authorized" in await client.rest()
        assert await server.door.router.accounts.find(address("carol")) is None


async def test_a_network_that_makes_too_many_waits(tmp_path: Path) -> None:
    async with running(tmp_path, registration="open") as server:
        listener = server.door._listener
        assert listener is not None
        guard = Watchman(600.0)
        listener.realm = dataclasses.replace(listener.realm, guard=guard)
        async with opened(server) as client:
            await client.features()
            got = await client.ask(make(), IQ)
        assert b"<error type='wait'><resource-constraint" in got
        assert b"try again in 10 minutes" in got
        assert guard.heard == [("register", "127.0.0.1", "")]


async def test_an_invitation_makes_one_account(tmp_path: Path) -> None:
    async with running(tmp_path, registration="invited") as server:
        token = await invite(server)
        async with opened(server) as client:
            assert b"<register xmlns='urn:xmpp:ibr-token:0'/>" in await client.features()
            assert await answer(client, make()) == "not-allowed"
            assert await answer(client, show("guess")) == "item-not-found"
            assert await answer(client, show(token)) == "result"
            assert await answer(client, make("alice")) == "conflict"
            assert await answer(client, make()) == "result"
        async with opened(server) as client:
            await client.features()
            assert await answer(client, show(token)) == "item-not-found"


async def test_two_who_show_the_same_token_do_not_both_get_an_account(tmp_path: Path) -> None:
    async with running(tmp_path, registration="invited") as server:
        token = await invite(server)
        async with opened(server) as one, opened(server) as other:
            for client in (one, other):
                await client.features()
                assert await answer(client, show(token)) == "result"
            assert await answer(one, make("carol")) == "result"
            assert await answer(other, make("dave")) == "not-acceptable"
        assert await server.door.router.accounts.find(address("dave")) is None


async def test_an_invitation_and_its_account_are_one_step(xmpp: Scene) -> None:
    invitations = (await xmpp.node("xmpp-1")).service.invitations
    used, open_ = [name_of((await invitations.invite(DOMAIN, seconds=60)).token) for _ in range(2)]
    await xmpp.accounts.add(address("carol"), "secret", invitation=used)
    with pytest.raises(Refused) as refused:
        await xmpp.accounts.add(address("dave"), "secret", invitation=used)
    assert refused.value.condition is Condition.NOT_ACCEPTABLE
    assert await xmpp.accounts.find(address("dave")) is None
    with pytest.raises(Refused) as refused:
        await xmpp.accounts.add(address("carol"), "secret", invitation=open_)
    assert refused.value.condition is Condition.CONFLICT
    await xmpp.accounts.add(address("dave"), "secret", invitation=open_)


async def test_a_promised_account_is_for_who_was_invited_and_for_nothing_else(tmp_path: Path) -> None:
    async with running(tmp_path, registration="open") as server:
        token = await invite(server, local="juliet")
        async with opened(server) as client:
            await client.features()
            assert await answer(client, make("juliet")) == "conflict"
        async with opened(server) as client:
            await client.features()
            assert await answer(client, show(token)) == "result"
            assert b"<username>juliet</username>" in await client.ask(ASK, IQ)
            assert await answer(client, make("carol")) == "not-acceptable"
            assert await answer(client, make("juliet")) == "result"


async def test_who_accepts_is_the_inviters_buddy(tmp_path: Path) -> None:
    async with running(tmp_path, registration="invited") as server:
        token = await invite(server, inviter=address("alice"), befriends=True)
        async with server.client("alice") as alice:
            async with opened(server) as client:
                await client.features()
                assert await answer(client, show(token)) == "result"
                assert await answer(client, make()) == "result"
            async with server.client("carol", password="sesame") as carol:
                items = carol.roster["roster"]["items"]
                assert {str(jid): item["subscription"] for jid, item in items.items()} == {
                    "alice@example.org": "both"
                }
                await carol.online("alice@example.org")
                await alice.online("carol@example.org")
        assert not alice.presences.matching(lambda p: p.xml.get("type") == "subscribe")
