"""The whole XMPP server with real clients (slixmpp), on a bus in memory."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.trust import trusting
from tests.support.waiting import until
from tests.support.xmppclient import LoginFailed
from tests.xmpp.echo import make_certificate
from tests.xmpp.rawclient import LOGIN, PATIENCE, RawClient
from tests.xmpp.scene import address
from tests.xmpp.server import Server, running


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running(tmp_path) as made:
        yield made


async def test_two_friends_see_each_other_and_chat(server: Server) -> None:
    async with server.client("alice") as alice, server.client("bob") as bob:
        await alice.online("bob@example.org")
        await bob.online("alice@example.org")
        alice.say("bob@example.org", "hello <bob> & é😀")
        await bob.hears("hello <bob> & é😀", "alice@example.org")
        bob.say("alice@example.org/desk", "hello yourself")
        await alice.hears("hello yourself", "bob@example.org")
        bob.show("away", "tea")
        await alice.online("bob@example.org", show="away", status="tea")
        kinds = {(s["address"], s["resource"], s["available"]) for s in server.door.sessions()}
        assert kinds == {("alice@example.org", "desk", True), ("bob@example.org", "desk", True)}
        await bob.abort()
        await alice.offline("bob@example.org")
    await until("all sessions have ended", lambda: not server.door.sessions(), PATIENCE)


async def test_messages_wait_for_the_next_login(server: Server) -> None:
    async with server.client("alice") as alice:
        alice.say("bob@example.org", "are you there?")
        await until("it is stored", lambda: server_has_pending(server), PATIENCE)
    async with server.client("bob") as bob:
        late = await bob.hears("are you there?", "alice@example.org")
        assert late.xml.find("{urn:xmpp:delay}delay") is not None


async def server_has_pending(server: Server) -> bool:
    return bool((await server.bus.inspect(address("bob"), time.time())).get("pending"))


async def test_a_newer_session_replaces_the_older_of_its_name(server: Server) -> None:
    first = server.client("alice", "phone")
    await first.login()
    async with server.client("alice", "phone") as second:
        await asyncio.wait_for(first.disconnected.wait(), PATIENCE)
        second.say("alice@example.org/phone", "only me")
        await second.hears("only me")
        assert [s["resource"] for s in server.door.sessions()] == ["phone"]
    await first.close()


async def test_a_wrong_password_is_refused(server: Server) -> None:
    with pytest.raises(LoginFailed):
        await server.client("alice", password="wrong").login()


async def test_connections_on_their_way_are_shown(server: Server) -> None:
    async with RawClient(server.where()) as client:
        await client.features()
        (stranger,) = server.door.sessions()
        assert (stranger["kind"], stranger["address"], stranger["tls"]) == ("xmpp", "", "")
        assert stranger["peer"] == "127.0.0.1"


async def shown_certificate(server: Server) -> bytes:
    _, writer = await asyncio.open_connection(
        *server.where(direct=True), ssl=trusting(), server_hostname="example.org"
    )
    shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate = shown.getpeercert(binary_form=True)
    writer.transport.abort()
    assert certificate is not None
    return certificate


async def test_a_renewed_certificate_is_shown_after_a_reload_and_a_broken_one_never(server: Server) -> None:
    before = await shown_certificate(server)
    make_certificate(server.certificate.parent)
    assert await shown_certificate(server) == before
    await server.door.reload()
    renewed = await shown_certificate(server)
    assert renewed != before
    server.key.write_text("nonsense")
    await server.door.reload()
    assert await shown_certificate(server) == renewed


async def test_stopping_ends_every_session_and_its_presence(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        alice = server.client("alice")
        await alice.login()
        await until("she is online", lambda: online(server), PATIENCE)
        await server.door.stop()
        await asyncio.wait_for(alice.disconnected.wait(), PATIENCE)
        assert not await online(server)
        await alice.close()


async def online(server: Server) -> bool:
    (snapshot,) = await server.bus.snapshots([address("alice")], time.time())
    return any(t.open for source in snapshot.sources for t in source.tuples)


SM = b"xmlns='urn:xmpp:sm:3'"


async def test_a_session_is_taken_over_from_a_connection_that_still_looks_alive(server: Server) -> None:
    async with RawClient(server.where()) as old, RawClient(server.where()) as new:
        bound = await old.log_in()
        enabled = await old.ask(b"<enable %s resume='true'/>" % SM, b"/>")
        id = enabled.split(b"id='")[1].split(b"'")[0]
        old.send(b"<presence/><message to='bob@example.org' type='chat'><body>x</body></message>")
        old.send(b"<message to='alice@example.org' type='chat'><body>y</body></message><r %s/>" % SM)
        assert b"h='3'" in await old.until(b"h='3'")
        await new.secure()
        await new.ask(LOGIN, b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        assert b"<sm xmlns='urn:xmpp:sm:3'/>" in await new.features()
        answer = await new.ask(b"<resume %s previd='%s' h='0'/>" % (SM, id), b"/>")
        assert answer == b"<resumed %s previd='%s' h='3'/>" % (SM, id)
        assert b"<body>y</body>" in await new.until(b"</message>")  # she had not acknowledged it
        assert b"<conflict" in await old.rest()
        new.send(b"<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
        answered = await new.until(b"id='p'")
        assert bound.split(b"<jid>")[1].split(b"</jid>")[0].split(b"/")[1] in answered + await new.until(b">")
        (session,) = server.door.sessions()
        assert session["available"]
        assert "detached" not in session


async def test_a_session_that_waits_is_shown_as_such_and_ends_with_the_server(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        async with RawClient(server.where()) as client:
            await client.log_in()
            await client.ask(b"<presence/><enable %s resume='true'/>" % SM, b"<enabled")
            await until("she is online", lambda: online(server), PATIENCE)
        await until(
            "it waits", lambda: [s.get("detached") for s in server.door.sessions()] == [True], PATIENCE
        )
        assert await online(server)
        await server.door.stop()
        assert not await online(server)
