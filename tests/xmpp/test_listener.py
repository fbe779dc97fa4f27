"""Clients over real sockets: from the first byte to a bound resource, and every way it can end."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import ssl
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slixmpp import ClientXMPP

from tests.support.trust import trusting
from tests.support.waiting import until
from tests.xmpp.echo import EchoServer, MemoryAccounts
from tests.xmpp.rawclient import BIND, HEADER, LOGIN, PATIENCE, STARTTLS, RawClient, auth
from xmpp.edge.connection import Connection
from xmpp.errors import StanzaError, StreamError
from xmpp.login import Login
from xmpp.negotiation import Negotiation
from xmpp.settings import XmppSettings

SCRAPS = [
    HEADER,
    STARTTLS,
    LOGIN,
    BIND,
    b"<message>",
    b"</message>",
    b"<a b='",
    b"'/>",
    b"<presence/>",
    b"]]>",
    b"&",
]
SUCCESS = b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
END = b"</stream:stream>"


def failed(condition: str) -> bytes:
    return b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><%s/></failure>" % condition.encode()


def error(condition: str) -> bytes:
    return b"<stream:error><%s xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" % condition.encode()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EchoServer]:
    async with EchoServer(tmp_path) as running:
        yield running


async def empty(server: EchoServer) -> None:
    """Until no connection is left."""
    await until("all connections have ended", lambda: not server.listener.connections, PATIENCE)


def limited(tmp_path: Path, **limits: float) -> EchoServer:
    return EchoServer(tmp_path, settings=XmppSettings(**limits))  # type: ignore[arg-type]


async def test_nothing_of_a_login_waits_for_the_collector(server: EchoServer) -> None:
    """It would lie between sessions for long, as the collector seldom looks at what is old."""
    gc.collect()
    gc.disable()
    try:
        async with RawClient(server.where()) as client:
            await client.log_in()
            assert not [each for each in gc.get_objects() if type(each) in (Negotiation, Login)]
    finally:
        gc.enable()


# --- the way in -----------------------------------------------------------------------------------


async def test_starttls_is_required_before_anything_else(server: EchoServer) -> None:
    async with RawClient(server.where()) as client:
        got = await client.features()
    assert re.fullmatch(
        rb"<\?xml version='1.0'\?><stream:stream xmlns='jabber:client' "
        rb"xmlns:stream='http://etherx.jabber.org/streams' id='[\w-]{16}' from='example.org' version='1.0' "
        rb"xml:lang='en'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/>"
        rb"</starttls></stream:features>",
        got,
    )


async def test_behind_starttls_mechanisms_are_offered_then_binding_and_the_rest(server: EchoServer) -> None:
    async with RawClient(server.where()) as client:
        got = await client.secure()
        names = re.findall(rb"<mechanism>(.*?)</mechanism>", got)
        assert names == [
            b"SCRAM-SHA-256-PLUS",
            b"SCRAM-SHA-1-PLUS",
            b"SCRAM-SHA-256",
            b"SCRAM-SHA-1",
            b"PLAIN",
        ]
        await client.ask(LOGIN, SUCCESS)
        got = await client.features()
        assert got.endswith(
            b"<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
            b"<ver xmlns='urn:xmpp:features:rosterver'/></stream:features>"
        )
        assert await client.ask(BIND, b"</iq>") == (
            b"<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            b"<jid>alice@example.org/r0</jid></bind></iq>"
        )
    assert [str(a) for a in server.accounts.seen] == ["alice@example.org"]


@pytest.mark.parametrize("direct", [False, True])
async def test_stanzas_flow_both_ways(server: EchoServer, direct: bool) -> None:
    async with RawClient(server.where(direct=direct), direct=direct) as client:
        await client.log_in()
        got = await client.ask(
            b"<message to='bob@example.org'><body>&lt;hi&gt;</body></message>", b"</message>"
        )
        assert got == b"<message to='alice@example.org/r0'><body>&lt;hi&gt;</body></message>"
        assert server.host.sessions[0].flushes > 0


async def test_tls_may_begin_at_once_on_the_starttls_port(server: EchoServer) -> None:
    async with RawClient(server.where(), direct=True) as client:
        await client.log_in()


async def test_the_client_is_told_the_protocol_by_alpn(server: EchoServer) -> None:
    context = trusting()
    context.set_alpn_protocols(["xmpp-client"])
    _, writer = await asyncio.open_connection(
        *server.where(direct=True), ssl=context, server_hostname="example.org"
    )
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "xmpp-client"
    writer.close()


async def test_tls_before_1_2_is_refused(server: EchoServer) -> None:
    context = trusting()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(*server.where(direct=True), ssl=context, server_hostname="example.org")


async def test_over_ipv6(tmp_path: Path) -> None:
    async with EchoServer(tmp_path, listen="[::1]") as server, RawClient(server.where()) as client:
        await client.log_in()
        assert server.host.sessions[0].outbound.info()["peer"] == "::1"


async def test_one_socket_takes_ipv4_and_ipv6(tmp_path: Path) -> None:
    async with EchoServer(tmp_path, listen="[::]") as server:
        _, port = server.where()
        for host in ("127.0.0.1", "::1"):
            async with RawClient((host, port)) as client:
                await client.log_in()
        assert [s.outbound.info()["peer"] for s in server.host.sessions] == ["127.0.0.1", "::1"]


async def test_the_kernel_looks_after_clients_that_vanish(tmp_path: Path) -> None:
    async with EchoServer(tmp_path) as server, RawClient(server.where()) as client:
        await client.log_in()
        (connection,) = server.listener.connections
        assert isinstance(connection, Connection)
        assert connection._transport is not None
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
async def test_slixmpp_logs_in(server: EchoServer, mechanism: str) -> None:
    client = ClientXMPP("alice@example.org/slix", "secret", sasl_mech=mechanism)
    client.ssl_context.check_hostname = False
    client.ssl_context.verify_mode = ssl.CERT_NONE
    started: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    client.add_event_handler("session_start", lambda _: started.set_result(True))
    client.add_event_handler("failed_all_auth", lambda _: started.set_result(False))
    client.connect(*server.where())
    async with asyncio.timeout(PATIENCE):
        assert await started
    assert server.host.sessions[0].jid.full == "alice@example.org/slix"
    assert server.host.sessions[0].outbound.info()["mechanism"] == mechanism
    await client.disconnect()
    async with asyncio.timeout(PATIENCE):
        assert await server.host.sessions[0].over == "closed"


async def test_a_stream_pipelined_behind_authentication_works(server: EchoServer) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        client.send(HEADER + LOGIN + HEADER + BIND + b"<presence/>")
        got = await client.until(b"<presence to='alice@example.org/r0'/>")
        assert got.count(b"<stream:features>") == 2
        assert got.count(SUCCESS) == 1


async def test_what_a_session_says_while_it_is_bound_follows_the_answer(server: EchoServer) -> None:
    server.host.greets = True
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.log_in()
        assert await client.until(b"<presence from='early@example.org'/>") == (
            b"<presence from='early@example.org'/>"
        )


async def test_a_refused_binding_leaves_the_stream_open(server: EchoServer) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.features()
        await client.ask(LOGIN, SUCCESS)
        await client.features()
        server.host.refusal = StanzaError("conflict")
        got = await client.ask(BIND, b"</iq>")
        assert b"type='error'" in got
        assert b"<conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" in got
        server.host.refusal = None
        bad = BIND.replace(b"bind'/>", b"bind'><resource>a\xc2\x80b</resource></bind>")
        assert b"<bad-request " in await client.ask(bad, b"</iq>")
        named = BIND.replace(b"bind'/>", b"bind'><resource>phone</resource></bind>")
        assert b"<jid>alice@example.org/phone</jid>" in await client.ask(named, b"</iq>")


async def test_a_session_may_go_on_over_a_new_stream(server: EchoServer) -> None:
    resume = b"<resume xmlns='urn:example:resume'/>"
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.features()
        await client.ask(LOGIN, SUCCESS)
        await client.features()
        await client.ask(resume, b"<failed xmlns='urn:example:resume'/>")
        await client.ask(BIND, b"</iq>")
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.features()
        await client.ask(LOGIN, SUCCESS)
        await client.features()
        client.send(resume)
        assert await client.until(b"'missed'/>") == (
            b"<resumed xmlns='urn:example:resume'/><message id='missed'/>"
        )
        await client.ask(b"<iq/>", b"<iq to='alice@example.org/r0'/>")


async def test_the_streams_language_reaches_the_session(server: EchoServer) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        german = HEADER.replace(b"to=", b"xml:lang='de' to=")
        await client.ask(german, b"features>")
        await client.ask(LOGIN, SUCCESS)
        await client.ask(german, b"features>")
        await client.ask(BIND, b"</iq>")
    assert server.host.sessions[0].lang == "de"


async def test_plaintext_login_needs_the_setting_and_a_local_peer(tmp_path: Path) -> None:
    async with limited(tmp_path, allow_plaintext=True) as server, RawClient(server.where()) as client:
        got = await client.features()
        assert b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><mechanisms" in got
        assert b"-PLUS" not in got
        await client.ask(LOGIN, SUCCESS)


# --- STARTTLS under attack ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "injected",
    [LOGIN, b"<", b"\x16\x03\x01\x02\x00\x01\x00", HEADER],
    ids=["auth", "half a tag", "a TLS hello", "a header"],
)
async def test_bytes_behind_starttls_are_never_read_as_if_protected(
    server: EchoServer, injected: bytes
) -> None:
    async with RawClient(server.where()) as client:
        await client.features()
        client.send(STARTTLS + injected)
        got = await client.rest()
    assert got == b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + END
    assert b"<proceed" not in got


async def test_plain_bytes_after_proceed_end_the_connection(server: EchoServer) -> None:
    async with RawClient(server.where()) as client:
        await client.features()
        await client.ask(STARTTLS, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        client.send(HEADER + LOGIN)
        assert SUCCESS not in await client.rest()


async def test_starttls_twice_is_refused(server: EchoServer) -> None:
    async with RawClient(server.where()) as client:
        await client.secure()
        client.send(STARTTLS)
        assert (await client.rest()).startswith(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")


async def test_authentication_in_the_clear_is_refused_whatever_the_mechanism(server: EchoServer) -> None:
    async with RawClient(server.where()) as client:
        await client.features()
        for mechanism in ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "X-UNKNOWN"):
            await client.ask(auth(b"\0alice\0secret", mechanism), failed("encryption-required"))


# --- SASL over the stream -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        (auth(b"\0alice\0wrong"), "not-authorized"),
        (auth(b"\0nobody\0secret"), "not-authorized"),
        (auth(b"bob@example.org\0alice\0secret"), "invalid-authzid"),
        (auth(b"alice secret"), "malformed-request"),
        (auth(b"x", "CRAM-MD5"), "invalid-mechanism"),
        (b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "invalid-mechanism"),
        (b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%</auth>", "incorrect-encoding"),
        (b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>=</auth>", "malformed-request"),
        (b"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AA==</response>", "malformed-request"),
        (b"<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "aborted"),
    ],
)
async def test_a_failed_login_is_named_and_can_be_tried_again(
    server: EchoServer, sent: bytes, condition: str
) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.features()
        await client.ask(sent, failed(condition))
        await client.ask(LOGIN, SUCCESS)


async def test_the_first_message_may_come_after_an_empty_challenge(server: EchoServer) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.features()
        await client.ask(
            b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>",
            b"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'></challenge>",
        )
        await client.ask(LOGIN.replace(b"auth", b"response").replace(b" mechanism='PLAIN'", b""), SUCCESS)


async def test_too_many_failed_logins_end_the_stream(tmp_path: Path) -> None:
    async with (
        limited(tmp_path, max_login_attempts=2) as server,
        RawClient(server.where(direct=True), direct=True) as client,
    ):
        await client.features()
        await client.ask(auth(b"\0alice\0wrong"), failed("not-authorized"))
        client.send(auth(b"\0alice\0wrong") + LOGIN)
        got = await client.rest()
    assert got.startswith(failed("not-authorized") + error("policy-violation"))
    assert SUCCESS not in got


async def test_accounts_that_are_away_are_a_temporary_failure(server: EchoServer) -> None:
    server.accounts.reachable = False
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.features()
        await client.ask(LOGIN, failed("temporary-auth-failure"))
        server.accounts.reachable = True
        await client.ask(LOGIN, SUCCESS)


async def test_a_mechanism_the_admin_has_switched_off_is_too_weak(tmp_path: Path) -> None:
    server = EchoServer(tmp_path, settings=XmppSettings(mechanisms=("SCRAM-SHA-256",)))
    async with server, RawClient(server.where(direct=True), direct=True) as client:
        assert b"PLAIN" not in await client.features()
        await client.ask(LOGIN, failed("mechanism-too-weak"))


async def test_mechanisms_fit_the_account_the_client_announces(tmp_path: Path) -> None:
    accounts = MemoryAccounts()
    accounts.put("alice@example.org", "secret", scram=False)
    server = EchoServer(tmp_path, accounts=accounts)
    async with server, RawClient(server.where(direct=True), direct=True) as client:
        header = HEADER.replace(b"to=", b"from='alice@example.org' to=")
        got = await client.ask(header, b"</stream:features>")
        assert b" to='alice@example.org'" in got
        assert re.findall(rb"<mechanism>(.*?)</mechanism>", got) == [b"PLAIN"]


# --- stream errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        (HEADER.replace(b"example.org", b"example.com"), "host-unknown"),
        (HEADER.replace(b"example.org", b"a@example.org"), "improper-addressing"),
        (HEADER.replace(b"example.org", b"a@@b"), "improper-addressing"),
        (HEADER.replace(b"to=", b"from='@' to="), "invalid-from"),
        (HEADER.replace(b"version='1.0' xmlns", b"xmlns"), "unsupported-version"),
        (HEADER.replace(b"version='1.0' xmlns", b"version='11.0' xmlns"), "unsupported-version"),
        (HEADER.replace(b"version='1.0' xmlns", b"version='x' xmlns"), "unsupported-version"),
        (HEADER.replace(b"etherx", b"x"), "invalid-namespace"),
        (b"GET / HTTP/1.1\r\n", "bad-format"),
        (HEADER + b"<message to='bob@example.org'/>", "not-authorized"),
        (HEADER + BIND, "not-authorized"),
        (HEADER + b"<pubsub/>", "unsupported-stanza-type"),
        (HEADER + b"<r xmlns='urn:xmpp:sm:3'/>", "unsupported-stanza-type"),
        (HEADER + b"<!-- -->", "restricted-xml"),
        (HEADER + b"</message>", "not-well-formed"),
        (HEADER + b"<message>" + b"x" * 10_000, "policy-violation"),
        (HEADER + b"<a>" * 70, "policy-violation"),
        (b"<?xml version='1.0' encoding='utf-16'?>", "unsupported-encoding"),
    ],
)
async def test_stream_errors_come_with_a_header_and_an_end(
    server: EchoServer, sent: bytes, condition: str
) -> None:
    async with RawClient(server.where()) as client:
        client.send(sent)
        got = await client.rest()
    assert got.count(b"<stream:stream ") == 1
    assert error(condition) in got
    assert got.endswith(b"</stream:error>" + END)


async def test_a_missing_to_is_guessed_only_when_there_is_one_domain(tmp_path: Path) -> None:
    nameless = HEADER.replace(b"to='example.org' ", b"")
    async with EchoServer(tmp_path) as server, RawClient(server.where()) as client:
        assert b"from='example.org'" in await client.ask(nameless, b"</stream:features>")
    two = EchoServer(tmp_path, domains=("example.org", "example.net"))
    async with two, RawClient(two.where()) as client:
        client.send(nameless)
        assert error("improper-addressing") in await client.rest()


async def test_a_stanza_before_binding_is_not_authorized(server: EchoServer) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.features()
        await client.ask(LOGIN, SUCCESS)
        await client.features()
        client.send(b"<presence/>")
        assert error("not-authorized") in await client.rest()


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        (b"<message from='bob@example.org'/>", "invalid-from"),
        (b"<message from='alice@example.org/other'/>", "invalid-from"),
        (b"<message from='@'/>", "invalid-from"),
        (b"<pubsub/>", "unsupported-stanza-type"),
        (b"<message><!-- --></message>", "restricted-xml"),
        (b"<message><body>" + b"x" * 300_000, "policy-violation"),
        (b"<message>" + b"<a>" * 100, "policy-violation"),
        (b"<message><body>conflict</body></message>", "conflict"),
        (b"<message><body>crash</body></message>", "internal-server-error"),
    ],
)
async def test_a_bound_stream_that_fails_takes_its_session_along(
    server: EchoServer, sent: bytes, condition: str
) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.log_in()
        client.send(b"<presence/>" + sent)
        got = await client.rest()
    assert got.startswith(b"<presence to='alice@example.org/r0'/>")
    assert error(condition) in got
    async with asyncio.timeout(PATIENCE):
        assert await server.host.sessions[0].over == condition


async def test_ones_own_address_is_stamped(server: EchoServer) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.log_in()
        client.send(
            b"<message/><message from='alice@example.org'/><message from='Alice@example.org/r0'/><iq/>"
        )
        await client.until(b"<iq to='alice@example.org/r0'/>")
    assert {s.get("from") for s in server.host.sessions[0].received} == {"alice@example.org/r0"}


# --- ends -----------------------------------------------------------------------------------------


async def test_a_polite_client_is_answered(server: EchoServer) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.log_in()
        client.send(b"<message/>" + END)
        assert await client.rest() == b"<message to='alice@example.org/r0'/>" + END
    async with asyncio.timeout(PATIENCE):
        assert await server.host.sessions[0].over == "closed"


async def test_what_was_sent_before_the_connection_broke_is_still_received(server: EchoServer) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.log_in()
        session = server.host.sessions[0]
        session.gate.clear()
        client.send(b"<message id='1'/><message id='2'/><message id='3'/>")
        client.writer.close()
        await client.writer.wait_closed()
        session.gate.set()
        async with asyncio.timeout(PATIENCE):
            assert await session.over == "lost"
    assert [s.get("id") for s in session.received] == ["1", "2", "3"]


async def test_a_session_bound_after_its_client_had_gone_is_told(server: EchoServer) -> None:
    server.host.hold = asyncio.Event()
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.features()
        await client.ask(LOGIN, SUCCESS)
        await client.features()
        client.send(BIND)
        await until("binding has begun", lambda: bool(server.host.sessions), PATIENCE)
    await empty(server)
    server.host.hold.set()
    async with asyncio.timeout(PATIENCE):
        assert await server.host.sessions[0].over == "lost"


async def test_the_session_may_end_the_stream(server: EchoServer) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.log_in()
        server.host.sessions[0].outbound.close(StreamError("conflict", "a newer session has this resource"))
        server.host.sessions[0].outbound.send(b"<ignored/>")
        got = await client.rest()
    assert got == (
        error("conflict") + b"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>"
        b"a newer session has this resource</text></stream:error></stream:stream>"
    )
    async with asyncio.timeout(PATIENCE):
        assert await server.host.sessions[0].over == "conflict"


async def test_a_client_that_does_not_log_in_is_sent_away(tmp_path: Path) -> None:
    async with limited(tmp_path, login_timeout=0.05) as server, RawClient(server.where()) as client:
        client.send(b"<?xml version='1.0'?><stream")
        assert error("connection-timeout") in await client.rest()
    async with (
        limited(tmp_path, login_timeout=0.05) as server,
        RawClient(server.where(direct=True)) as client,
    ):
        assert await client.rest() == b""


async def test_a_client_that_never_closes_its_side_is_cut_off(tmp_path: Path) -> None:
    server = limited(tmp_path, close_timeout=0.05)
    async with server, RawClient(server.where(direct=True), direct=True) as client:
        await client.log_in()
        server.host.sessions[0].outbound.close(StreamError("conflict"))
        await empty(server)


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    server = limited(tmp_path, max_outbound=100_000)
    async with server, RawClient(server.where(direct=True), direct=True) as client:
        await client.log_in()
        session = server.host.sessions[0]
        flushed = session.flushes
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        stanza = b"<message><body>" + b"x" * 50_000 + b"</body></message>"
        async with asyncio.timeout(PATIENCE):
            while not session.over.done():
                session.outbound.send(stanza)
                await asyncio.sleep(0)
        assert await session.over == "resource-constraint"
        assert session.flushes > flushed


async def test_a_client_that_goes_and_takes_nothing_is_not_waited_for(tmp_path: Path) -> None:
    """Its end has come (FIN); what was said to it never leaves."""
    async with limited(tmp_path, allow_plaintext=True, close_timeout=0.2) as server:
        reader, writer = await asyncio.open_connection(*server.where(), limit=1024)
        client = RawClient(server.where())
        client.reader, client.writer = reader, writer
        await client.features()
        await client.ask(LOGIN, SUCCESS)
        await client.features()
        await client.ask(BIND, b"</iq>")
        session = server.host.sessions[0]
        assert isinstance(writer.transport, asyncio.Transport)
        writer.transport.pause_reading()
        flushes = -1
        while flushes != session.flushes:  # until the kernel takes no more
            flushes = session.flushes
            session.outbound.send(b"<message><body>" + b"x" * 1_000_000 + b"</body></message>")
            await asyncio.sleep(0.05)
        writer.write_eof()
        await until("the connection is dropped", lambda: not server.listener.connections, PATIENCE)
        assert await session.over == "lost"
        writer.transport.abort()


async def test_a_session_that_lags_stops_the_reading(server: EchoServer) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        await client.log_in()
        session = server.host.sessions[0]
        session.gate.clear()
        many = 5000
        for i in range(many):
            client.send(b"<message id='%d'><body>%s</body></message>" % (i, b"x" * 2000))
        await until("reading has paused", lambda: reading_paused(server), PATIENCE)
        session.gate.set()
        await client.until(b"id='%d'" % (many - 1))
    assert [s.get("id") for s in session.received] == [str(i) for i in range(many)]


def reading_paused(server: EchoServer) -> bool:
    return all(connection.describe()["paused"] for connection in server.listener.connections)


async def test_stopping_tells_everybody(tmp_path: Path) -> None:
    async with EchoServer(tmp_path) as server:
        strange = await RawClient(server.where()).__aenter__()
        await strange.features()
        known = await RawClient(server.where(direct=True), direct=True).__aenter__()
        await known.log_in()
        known.send(b"<message id='last'/>")
        await known.until(b"/>")
        stopping = asyncio.create_task(server.listener.stop())
        for client in (strange, known):
            assert error("system-shutdown") in await client.rest()
            await client.__aexit__(None, None, None)
        async with asyncio.timeout(PATIENCE):
            await stopping
        assert server.host.sessions[0].over.result() == "system-shutdown"
        with pytest.raises(OSError, match=r"refused|failed"):
            await asyncio.open_connection("127.0.0.1", strange.where[1])


# --- admission ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limit", ["max_connections", "max_connections_per_address", "max_logging_in_per_address"]
)
async def test_too_many_connections_are_refused_until_one_ends(tmp_path: Path, limit: str) -> None:
    async with limited(tmp_path, **{limit: 1}) as server:
        async with RawClient(server.where()) as first:
            await first.features()
            async with RawClient(server.where()) as second:
                assert await second.rest() == b""
        await empty(server)
        async with RawClient(server.where()) as third:
            await third.features()


async def test_the_logged_in_do_not_count_as_logging_in(tmp_path: Path) -> None:
    async with limited(tmp_path, max_logging_in_per_address=1) as server:
        where = server.where(direct=True)
        first, second = RawClient(where, direct=True), RawClient(where, direct=True)
        async with first:
            await first.log_in()
            async with second:
                await second.log_in()


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = EchoServer(tmp_path, listen="127.0.0.1", port=port)
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
            await server.__aenter__()
        assert server.listener.listening == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(SCRAPS) | st.binary(max_size=12), max_size=8), st.booleans())
async def test_nonsense_never_crashes_a_stream(server: EchoServer, scraps: list[bytes], bound: bool) -> None:
    async with RawClient(server.where(direct=True), direct=True) as client:
        if bound:
            await client.log_in()
        client.send(b"".join(scraps) + b"</stream:stream>\n<<<<>")
        await client.rest()
    assert "xmpp_stream_crashes_total" not in server.metrics.counts


def test_uvloop_does_the_same(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def story() -> str:
        async with EchoServer(tmp_path) as server:
            for direct in (False, True):
                async with RawClient(server.where(direct=direct), direct=direct) as client:
                    await client.log_in()
                    await client.ask(b"<message/>", b"<message to='alice@example.org/r%d'/>" % direct)
                    client.send(b"<!-- -->")
                    assert error("restricted-xml") in await client.rest()
            async with asyncio.timeout(PATIENCE):
                return " ".join([await session.over for session in server.host.sessions])

    with ThreadPoolExecutor(1) as thread, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert thread.submit(runner.run, story()).result() == "restricted-xml restricted-xml"
