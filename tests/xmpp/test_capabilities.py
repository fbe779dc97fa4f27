"""RFC 5196 from XEP-0115: what a client can do is in its user's presence, for phones."""

from __future__ import annotations

import pytest

from presence.composition import compose
from presence.model import PresenceTuple
from tests.xmpp.scene import Client, Scene, address
from xmpp.element import CLIENT_NS, E, Element
from xmpp.extensions.xep_0030_disco import INFO_NS
from xmpp.extensions.xep_0115_caps import NS as CAPS
from xmpp.extensions.xep_0115_caps import verification

AUDIO, VIDEO = (f"urn:xmpp:jingle:apps:rtp:{kind}" for kind in ("audio", "video"))


def info(*features: str, kind: str = "pc") -> Element:
    identity = E("identity", INFO_NS, {"category": "client", "type": kind})
    return E("query", INFO_NS, {}, identity, *(E("feature", INFO_NS, {"var": each}) for each in features))


async def come(client: Client, query: Element, ver: str = "") -> int:
    """Be here with these capabilities. Returns how often the client was asked for them."""
    ver = ver or verification(query, "sha-1")
    await client.here(E("c", CAPS, {"hash": "sha-1", "node": "urn:client", "ver": ver}))
    asked = [iq for iq in client.heard("iq") if iq.get("type") == "get"]
    for each in asked:
        answer = {"type": "result", "id": each.get("id"), "to": each.get("from")}
        await client.say(E("iq", CLIENT_NS, answer, query.copy()))
    return len(asked)


async def seen(xmpp: Scene, user: str) -> PresenceTuple:
    (snapshot,) = await (await xmpp.node("xmpp-1")).service.snapshots([address(user)])
    return compose(snapshot).tuples[0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (info(INFO_NS), ("message",)),
        (info(INFO_NS, AUDIO, "urn:xmpp:jingle:1"), ("audio", "message")),
        (info(INFO_NS, AUDIO, VIDEO, "urn:xmpp:rtt:0"), ("audio", "message", "text", "video")),
        (info(INFO_NS, kind="bot"), ("automata", "message")),
        (info(), None),
    ],
)
async def test_features_are_capabilities(
    xmpp: Scene, query: Element, expected: tuple[str, ...] | None
) -> None:
    await xmpp.people("alice")
    assert await come(await xmpp.connect("alice"), query) == 1
    assert (await seen(xmpp, "alice")).capabilities == expected


async def test_what_is_known_of_the_hash_is_there_at_once(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    query = info(INFO_NS, AUDIO)
    assert await come(await xmpp.connect("alice"), query) == 1
    bob = await xmpp.connect("bob")
    assert await come(bob, query) == 0
    assert (await seen(xmpp, "bob")).capabilities == ("audio", "message")
    await bob.here(E("show", CLIENT_NS, {}, "away"), E("c", CAPS, {"hash": "sha-1", "node": "n", "ver": "x"}))
    await bob.here(type="unavailable")
    await bob.here(E("show", CLIENT_NS, {}, "away"))
    assert (await seen(xmpp, "bob")).capabilities is None


async def test_who_does_not_say_what_it_can_is_not_known_to_be_able_to_do_anything(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    assert (await seen(xmpp, "alice")).capabilities is None
    await alice.here(E("c", CAPS, {"hash": "sha-1", "node": "urn:client", "ver": "x"}))
    (asked,) = [iq for iq in alice.heard("iq") if iq.get("type") == "get"]
    await alice.say(E("iq", CLIENT_NS, {"type": "error", "id": asked.get("id"), "to": asked.get("from")}))
    assert (await seen(xmpp, "alice")).capabilities is None


async def test_clients_are_not_told_of_it_a_second_time(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    bob = await xmpp.online("bob")
    await come(await xmpp.connect("alice"), info(INFO_NS, AUDIO))
    assert len([p for p in bob.heard("presence") if str(p.get("from")).startswith("alice@")]) == 1
