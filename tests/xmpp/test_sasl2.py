"""XEP-0388 and XEP-0386 byte by byte, over real sockets."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.xmpp.rawclient import BIND, LOGIN, RawClient
from tests.xmpp.sasl2 import AGENT, FAILURE, HEADER, SUCCESS, authenticate, data, opened, plain, scram
from tests.xmpp.server import Server, running

BIND2 = b"<bind xmlns='urn:xmpp:bind:0'>%s</bind>"
FEATURES = b"</stream:features>"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running(tmp_path) as made:
        yield made


@pytest.fixture
async def client(server: Server) -> AsyncIterator[RawClient]:
    async with RawClient(server.where(direct=True), direct=True) as made:
        yield made


def refusal(condition: str) -> bytes:
    return b"<failure xmlns='urn:xmpp:sasl:2'><%s xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" % (
        condition.encode()
    )


async def test_the_feature_says_what_can_be_done_in_the_same_step(client: RawClient) -> None:
    got = await opened(client)
    (feature,) = re.findall(rb"<authentication xmlns='urn:xmpp:sasl:2'>.*</authentication>", got)
    names = re.findall(rb"<mechanism>(.*?)</mechanism>", feature.partition(b"<inline>")[0])
    assert names == [
        b"SCRAM-SHA-512-PLUS",
        b"SCRAM-SHA-256-PLUS",
        b"SCRAM-SHA-1-PLUS",
        b"SCRAM-SHA-512",
        b"SCRAM-SHA-256",
        b"SCRAM-SHA-1",
        b"PLAIN",
    ]
    assert b"<sm xmlns='urn:xmpp:sm:3'/>" in feature
    bind = b"".join(re.findall(rb"<bind xmlns='urn:xmpp:bind:0'>.*</bind>", feature))
    for feature_name in (b"urn:xmpp:carbons:2", b"urn:xmpp:csi:0", b"urn:xmpp:sm:3"):
        assert b"<feature var='%s'/>" % feature_name in bind
    assert b"<channel-binding type='tls-server-end-point'/>" in got


async def test_it_is_not_offered_before_tls(server: Server) -> None:
    async with RawClient(server.where()) as client:
        assert b"urn:xmpp:sasl:2" not in await client.features()
        client.send(authenticate(plain()))
        got = await client.until(FAILURE)
    assert refusal("encryption-required") in got


async def test_success_is_followed_by_features_and_the_same_stream(client: RawClient) -> None:
    await opened(client)
    got = await client.ask(authenticate(plain()), FEATURES)
    success, _, features = got.partition(b"<stream:features>")
    assert success == (
        b"<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>alice@example.org"
        b"</authorization-identifier></success>"
    )
    assert features.startswith(b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>")
    assert b"<jid>alice@example.org/" in await client.ask(BIND, b"</iq>")


async def test_scram_answers_with_its_signature(client: RawClient) -> None:
    await opened(client)
    got = await scram(client)
    assert data(got.partition(b"</additional-data>")[0] + b"</additional-data>").startswith(b"v=")


async def test_what_is_bound_is_bound_with_everything_enabled(server: Server, client: RawClient) -> None:
    await opened(client)
    wishes = (
        b"<tag>App</tag><enable xmlns='urn:xmpp:carbons:2'/><enable xmlns='urn:xmpp:sm:3' resume='true'/>"
        b"<inactive xmlns='urn:xmpp:csi:0'/>"
    )
    got = await scram(client, BIND2 % wishes, agent=AGENT)
    (jid,) = re.findall(rb"<authorization-identifier>(.*?)</authorization-identifier>", got)
    assert re.fullmatch(rb"alice@example\.org/App/[\w-]{12}", jid)
    assert re.search(
        rb"<bound xmlns='urn:xmpp:bind:0'>"
        rb"<enabled xmlns='urn:xmpp:sm:3' id='[^']+' resume='true' max='600'/>",
        got,
    )
    features = await client.until(FEATURES)
    assert b"xmpp-bind" not in features
    assert b"urn:xmpp:sm:3" not in features
    (session,) = server.door.router.all_sessions()
    assert session.jid.full == jid.decode()
    assert {"urn:xmpp:carbons:2", "urn:xmpp:sm:3", "urn:xmpp:csi:0"} <= session.extra.keys()
    client.send(b"<presence/><r xmlns='urn:xmpp:sm:3'/>")
    assert b"<a xmlns='urn:xmpp:sm:3' h='1'/>" in await client.until(b"h='1'/>")


@pytest.mark.parametrize(
    ("tag", "agent", "wanted"),
    [
        (b"", "", rb"[\w-]{12}"),
        (b"", AGENT, rb"[\w-]{12}"),
        (b"<tag>a/b c</tag>", AGENT, rb"a/b c/[\w-]{12}"),
        (b"<tag>\xee\x80\x80</tag>", AGENT, rb"[\w-]{12}"),
        (b"<tag>" + b"x" * 500 + b"</tag>", AGENT, rb"x{128}/[\w-]{12}"),
    ],
)
async def test_the_tag_is_the_beginning_of_the_resource_where_it_can_be(
    client: RawClient, tag: bytes, agent: str, wanted: bytes
) -> None:
    await opened(client)
    got = await client.ask(authenticate(plain(), BIND2 % tag, agent=agent), SUCCESS)
    (resource,) = re.findall(rb"<authorization-identifier>alice@example.org/(.*?)<", got)
    assert re.fullmatch(wanted, resource)
    assert AGENT.encode() not in got


async def test_a_session_is_taken_up_again_and_the_wish_to_bind_forgotten(server: Server) -> None:
    where = server.where(direct=True)
    async with RawClient(where, direct=True) as client:
        await opened(client)
        got = await scram(client, BIND2 % b"<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        (id,) = re.findall(rb" id='([^']+)'", got)
        (jid,) = re.findall(rb"<authorization-identifier>(.*?)</", got)
    async with RawClient(where, direct=True) as client:
        await opened(client)
        resume = b"<resume xmlns='urn:xmpp:sm:3' h='0' previd='%s'/>" % id
        got = await scram(client, resume + BIND2 % b"")
        assert b"<authorization-identifier>%s</authorization-identifier>" % jid in got
        assert b"<resumed xmlns='urn:xmpp:sm:3' previd='%s' h='0'/>" % id in got
        assert b"<bound" not in got
        assert len(list(server.door.router.all_sessions())) == 1


async def test_where_nothing_can_be_taken_up_a_resource_is_bound(client: RawClient) -> None:
    await opened(client)
    resume = b"<resume xmlns='urn:xmpp:sm:3' h='0' previd='gone'/>"
    got = await scram(client, resume + BIND2 % b"")
    assert b"<failed xmlns='urn:xmpp:sm:3'><item-not-found" in got
    assert b"<bound xmlns='urn:xmpp:bind:0'/>" in got


async def test_the_old_way_still_stands_beside_it(client: RawClient) -> None:
    assert b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" in await opened(client)
    await client.ask(LOGIN, b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
    assert b"urn:xmpp:sasl:2" not in await opened(client)


# --- what goes wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "condition"),
    [
        (authenticate(plain(password="guess")), "not-authorized"),
        (authenticate(plain(user="nobody")), "not-authorized"),
        (authenticate(plain(user="bob")), "invalid-authzid"),
        (authenticate(b"bob\0alice\0secret"), "invalid-authzid"),
        (authenticate(plain(), mechanism="BLURDYBLOOP"), "invalid-mechanism"),
        (authenticate(plain(), mechanism="DIGEST-MD5"), "mechanism-too-weak"),
        (authenticate(b"nonsense"), "malformed-request"),
        (authenticate(plain(), agent="not-a-uuid"), "malformed-request"),
        (authenticate(None) + b"<abort xmlns='urn:xmpp:sasl:2'/>", "aborted"),
        (authenticate(None) + b"<response xmlns='urn:xmpp:sasl:2'>!</response>", "incorrect-encoding"),
    ],
)
async def test_a_failure_says_why_and_the_client_may_try_again(
    client: RawClient, attempt: bytes, condition: str
) -> None:
    await opened(client)
    assert refusal(condition) in await client.ask(attempt, FAILURE)
    assert b"alice@example.org" in await client.ask(authenticate(plain()), SUCCESS)


async def test_after_a_failure_nothing_is_bound(server: Server, client: RawClient) -> None:
    await opened(client)
    await client.ask(authenticate(plain(password="guess"), BIND2 % b""), FAILURE)
    assert not list(server.door.router.all_sessions())


@pytest.mark.parametrize(
    "intruder",
    [
        b"<presence/>",
        b"<r xmlns='urn:xmpp:sm:3'/>",
        LOGIN,
        b"<next xmlns='urn:xmpp:sasl:2' task='UPGR'/>",
        authenticate(plain()),
    ],
)
async def test_anything_else_in_the_middle_ends_the_stream(client: RawClient, intruder: bytes) -> None:
    await opened(client)
    await client.ask(authenticate(None), b"</challenge>")
    client.send(intruder)
    assert b"<stream:error><policy-violation" in await client.rest()


async def test_a_second_authentication_ends_the_stream(client: RawClient) -> None:
    await opened(client)
    await client.ask(authenticate(plain()), FEATURES)
    client.send(authenticate(plain()))
    assert b"<stream:error>" in await client.rest()


async def test_guessing_ends_with_the_stream(client: RawClient) -> None:
    await opened(client)
    for _ in range(4):
        await client.ask(authenticate(plain(password="guess")), FAILURE)
    client.send(authenticate(plain(password="guess")))
    got = await client.rest()
    assert b"<policy-violation" in got.partition(b"<stream:error>")[2]


async def test_who_the_stream_says_it_is_decides_nothing(client: RawClient) -> None:
    await opened(client, HEADER.replace(b" from='alice@example.org'", b""))
    assert b"bob@example.org" in await client.ask(authenticate(plain(user="bob")), SUCCESS)
