"""xmpp.js logs in with SASL2, Bind 2 and stream management, each in the step before (XEP-0388, XEP-0386,
XEP-0198)."""

from __future__ import annotations

import re

import pytest

from tests.interop.xmppjs import XmppJs, xmppjs
from tests.support.stage import Stage

pytestmark = pytest.mark.interop

AGENT = "5b6a51f5-1f0c-4d1c-8f4b-6c2f1a0f3e11"


def sent(client: XmppJs) -> list[str]:
    """Names of the elements it has sent."""
    return re.findall(r"^<([\w:-]+)", client.wire("out"), re.MULTILINE)


async def test_one_round_trip_logs_in_binds_and_enables(stage: Stage) -> None:
    alice, carol = await stage.friends("alice", "carol")
    async with xmppjs(stage, alice, agent=AGENT, resource="xmpp.js") as client, stage.client(carol) as hers:
        jid = await client.log_in()
        assert re.fullmatch(rf"{alice.address}/xmpp\.js/[\w-]{{12}}", jid)
        assert AGENT not in jid
        client.do("presence")
        await hers.online(alice.address)
        hers.say(alice.address, "hello")
        await client.hears("in", ">hello</body>")
        client.do("say", to=carol.address, text="and good bye")
        await hers.hears("and good bye", alice.address)
        names = sent(client)
        assert names[:3] == ["starttls", "authenticate", "response"]
        assert "iq" not in names
        told = client.wire("in")
        assert '<bound xmlns="urn:xmpp:bind:0"><enabled xmlns="urn:xmpp:sm:3"' in told
        assert '<metadata xmlns="urn:xmpp:mam:2"' in told


async def test_a_broken_connection_is_resumed_while_logging_in(stage: Stage) -> None:
    alice, carol = await stage.friends("alice", "carol")
    async with xmppjs(stage, alice, agent=AGENT) as client, stage.client(carol) as hers:
        jid = await client.log_in()
        client.do("presence")
        await hers.online(alice.address)
        client.do("cut")
        hers.say(alice.address, "while away")
        resumed = await client.hears("resumed")
        assert resumed["jid"] == jid
        await client.hears("in", ">while away</body>")
        assert '<resumed xmlns="urn:xmpp:sm:3"' in client.wire("in")
        assert not hers.presences.matching(lambda p: p.xml.get("type") == "unavailable")


async def test_the_same_client_comes_back_with_the_same_resource(stage: Stage) -> None:
    alice = await stage.person("alice")
    jids = []
    for _ in range(2):
        async with xmppjs(stage, alice, agent=AGENT, resource="app") as client:
            jids.append(await client.log_in())
    async with xmppjs(stage, alice, resource="app") as other:
        jids.append(await other.log_in())
    assert jids[0] == jids[1] != jids[2]


async def test_a_wrong_password_is_wrong_here_too(stage: Stage) -> None:
    alice = await stage.person("alice")
    async with xmppjs(stage, alice, password="guessed") as client:
        client.do("start")
        error = await client.hears("error")
        assert "not-authorized" in error["error"]


async def test_a_token_logs_in_without_the_password(stage: Stage) -> None:
    alice = await stage.person("alice")
    async with xmppjs(stage, alice, agent=AGENT) as client:
        await client.log_in()
        token = await client.token()
        assert token["mechanism"] == "HT-SHA-256-NONE"
    async with xmppjs(stage, alice, agent=AGENT, password="forgotten", token=token) as client:
        await client.log_in()
        assert sent(client)[:2] == ["starttls", "authenticate"]
        assert 'mechanism="HT-SHA-256-NONE"' in client.wire("out")
        assert "challenge" not in client.wire("in")


async def test_after_a_new_password_the_token_is_given_up(stage: Stage) -> None:
    alice = await stage.person("alice")
    async with xmppjs(stage, alice, agent=AGENT) as client:
        await client.log_in()
        token = await client.token()
    async with stage.client(alice, plugins=("xep_0077",)) as desk:
        await desk.xmpp.plugin["xep_0077"].change_password("new")
    async with xmppjs(stage, alice, agent=AGENT, password="new", token=token) as client:
        await client.log_in()
        assert "not-authorized" in client.wire("in")
        tokens = [e["token"] for e in client.events.history if e["event"] == "token"]
        assert tokens[0] is None
