"""XEP-0357: who is woken, when, with what, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.xmpp.scene import Client, Scene, address
from xmpp.element import CLIENT_NS, E, Element
from xmpp.extensions.xep_0357_push import MAX_SERVICES
from xmpp.forms import write_form
from xmpp.hosted import INFO_NS
from xmpp.push import NS, OPTIONS, SUMMARY

PUBSUB = "http://jabber.org/protocol/pubsub"
SERVICE = "pusher@example.org/service"
SM = "urn:xmpp:sm:3"


def enable(*children: Element, jid: str = SERVICE, node: str = "n1") -> Element:
    return E("enable", NS, {"jid": jid, "node": node}, *children)


async def service(xmpp: Scene, **push: Any) -> Client:
    """A client that plays the push service of alice and bob, who let it."""
    await xmpp.node("xmpp-1", push={"interval": 5, **push})
    await xmpp.friends("alice", "pusher")
    await xmpp.people("carol")
    return await xmpp.online("pusher", "service")


async def alice_enables(xmpp: Scene, payload: Element | None = None) -> None:
    alice = await xmpp.online("alice")
    answer = await alice.ask("set", payload or enable())
    assert answer.get("type") == "result"
    await alice.gone("closed")
    await xmpp.settle()


async def say_to_alice(xmpp: Scene, text: str = "hello") -> None:
    carol = xmpp.nodes["xmpp-1"].sessions_of(address("carol"))
    client = await xmpp.online("carol") if not carol else None
    assert client is not None
    await client.message("alice@example.org", text)
    await client.gone("closed")
    await xmpp.settle()


def published(client: Client) -> list[Element]:
    return [stanza for stanza in client.heard("iq") if stanza.get("type") == "set"]


def summary(notice: Element) -> dict[str, str]:
    pubsub = notice.find("pubsub", PUBSUB)
    assert pubsub is not None
    publish = pubsub.find("publish")
    assert publish is not None
    form = publish.elements[0].elements[0].elements[0]
    assert form.elements[0].elements[0].text == SUMMARY
    return {field.get("var"): field.elements[0].text for field in form.elements[1:]}


async def test_an_account_says_that_it_can(xmpp: Scene) -> None:
    """§4.1."""
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    (told,) = (await alice.ask("get", E("query", INFO_NS), "alice@example.org")).elements
    assert NS in {feature.get("var") for feature in told.findall("feature")}


async def test_a_message_for_who_has_no_client_is_published(xmpp: Scene) -> None:
    pusher = await service(xmpp)
    await alice_enables(xmpp)
    await say_to_alice(xmpp)
    (notice,) = published(pusher)
    assert (notice.get("from"), notice.get("to")) == ("alice@example.org", SERVICE)
    assert notice.elements[0].elements[0].attrs == {"node": "n1"}
    assert summary(notice) == {"message-count": "1"}


async def test_one_client_enables_as_many_as_one_person_may(xmpp: Scene) -> None:
    pusher = await service(xmpp)
    alice = await xmpp.online("alice")
    await alice.say_raw(E("enable", SM, {"resume": "true"}))
    for number in range(MAX_SERVICES + 5):
        await alice.ask("set", enable(node=f"n{number}"))
    await alice.gone("lost")
    await say_to_alice(xmpp)
    nodes = {notice.elements[0].elements[0].get("node") for notice in published(pusher)}
    assert nodes == {f"n{number}" for number in range(5, MAX_SERVICES + 5)}


async def test_nothing_is_published_while_a_client_is_there_or_for_what_says_nothing(xmpp: Scene) -> None:
    pusher = await service(xmpp)
    alice = await xmpp.online("alice")
    await alice.ask("set", enable())
    carol = await xmpp.online("carol")
    await carol.message("alice@example.org", "hello")
    await alice.gone("closed")
    await carol.message("alice@example.org", "", E("composing", "http://jabber.org/protocol/chatstates"))
    await carol.message("alice@example.org", "", E("received", "urn:xmpp:receipts", {"id": "a"}))
    await xmpp.settle()
    assert published(pusher) == []


async def test_it_tells_as_much_as_the_settings_allow(xmpp: Scene) -> None:
    pusher = await service(xmpp, content="body")
    await alice_enables(xmpp)
    await say_to_alice(xmpp, "secret")
    assert summary(published(pusher)[0]) == {
        "message-count": "1",
        "last-message-sender": "carol@example.org",
        "last-message-body": "secret",
    }


async def test_publish_options_go_with_it(xmpp: Scene) -> None:
    """§5."""
    pusher = await service(xmpp)
    form = write_form("submit", OPTIONS, {"secret": ["eruio234vzxc2kla-91"]})
    await alice_enables(xmpp, enable(form))
    await say_to_alice(xmpp)
    options = published(pusher)[0].elements[0].find("publish-options")
    assert options is not None
    assert options.elements == [form]


async def test_what_comes_at_once_makes_one_more_together(xmpp: Scene) -> None:
    pusher = await service(xmpp)
    await alice_enables(xmpp)
    for _ in range(4):
        await say_to_alice(xmpp)
    assert [summary(notice)["message-count"] for notice in published(pusher)] == ["1"]
    await xmpp.wait(5)
    assert [summary(notice)["message-count"] for notice in published(pusher)] == ["4"]
    await xmpp.wait(5)
    await xmpp.wait(5)
    assert published(pusher) == []


async def test_the_count_begins_anew_when_the_client_was_there(xmpp: Scene) -> None:
    pusher = await service(xmpp, interval=0)
    await alice_enables(xmpp)
    await say_to_alice(xmpp)
    await xmpp.wait(1)
    await (await xmpp.online("alice")).gone("closed")
    await say_to_alice(xmpp)
    assert [summary(notice)["message-count"] for notice in published(pusher)] == ["1", "1"]


async def test_a_session_whose_client_is_away_is_woken(xmpp: Scene) -> None:
    pusher = await service(xmpp)
    alice, carol = await xmpp.online("alice"), await xmpp.online("carol")
    await alice.ask("set", enable())
    await alice.say_raw(E("enable", SM, {"resume": "true"}))
    await carol.message("alice@example.org", "not acknowledged")
    assert published(pusher) == []
    await alice.gone()
    await xmpp.settle()
    assert [summary(notice)["message-count"] for notice in published(pusher)] == ["1"]
    await carol.message("alice@example.org", "while away")
    await xmpp.settle()
    await xmpp.wait(5)
    assert [summary(notice)["message-count"] for notice in published(pusher)] == ["2"]


async def test_with_several_processes_one_publishes(xmpp: Scene) -> None:
    pusher = await service(xmpp)
    await alice_enables(xmpp)
    await xmpp.node("xmpp-2")
    carol = await xmpp.online("carol", node="xmpp-2")
    await carol.message("alice@example.org", "hello")
    await xmpp.settle()
    assert len(published(pusher)) == 1


@pytest.mark.parametrize(
    ("payload", "left"),
    [
        (E("disable", NS, {"jid": SERVICE}), []),
        (E("disable", NS, {"jid": SERVICE, "node": "n1"}), ["n2"]),
        (E("disable", NS, {"jid": "other@example.org/x"}), ["n1", "n2"]),
    ],
)
async def test_disabling_ends_it(xmpp: Scene, payload: Element, left: list[str]) -> None:
    """§6."""
    pusher = await service(xmpp)
    alice = await xmpp.online("alice")
    for node in ("n1", "n2"):
        await alice.ask("set", enable(node=node))
    assert (await alice.ask("set", payload)).get("type") == "result"
    await alice.gone("closed")
    await say_to_alice(xmpp)
    nodes = [notice.elements[0].elements[0].get("node") for notice in published(pusher)]
    assert sorted(nodes) == left


@pytest.mark.parametrize(
    ("type_", "condition", "pushed"),
    [("cancel", "item-not-found", 1), ("auth", "forbidden", 1), ("wait", "resource-constraint", 2)],
)
async def test_a_service_that_says_no_is_asked_no_more(
    xmpp: Scene, type_: str, condition: str, pushed: int
) -> None:
    """§7.1; what passes with time is no reason to give up."""
    pusher = await service(xmpp, interval=0)
    await alice_enables(xmpp)
    await say_to_alice(xmpp)
    (notice,) = published(pusher)
    error = E("error", CLIENT_NS, {"type": type_}, E(condition, "urn:ietf:params:xml:ns:xmpp-stanzas"))
    refused = {"type": "error", "id": notice.get("id"), "to": "alice@example.org"}
    await pusher.say(E("iq", CLIENT_NS, refused, error))
    await xmpp.settle()
    await xmpp.wait(1)
    await say_to_alice(xmpp)
    assert 1 + len(published(pusher)) == pushed


async def test_nobody_else_can_say_no_for_the_service(xmpp: Scene) -> None:
    pusher = await service(xmpp, interval=0)
    await alice_enables(xmpp)
    await say_to_alice(xmpp)
    (notice,) = published(pusher)
    carol = await xmpp.online("carol", "other")
    error = E("error", CLIENT_NS, {"type": "cancel"}, E("gone", "urn:ietf:params:xml:ns:xmpp-stanzas"))
    told = {"type": "error", "id": notice.get("id"), "to": "alice@example.org"}
    await carol.say(E("iq", CLIENT_NS, told, error))
    await carol.gone("closed")
    await xmpp.settle()
    await xmpp.wait(1)
    await say_to_alice(xmpp)
    assert len(published(pusher)) == 1


@pytest.mark.parametrize(
    ("payload", "condition"),
    [
        (enable(jid="push.elsewhere.example"), "remote-server-not-found"),
        (enable(jid="example.org"), "not-acceptable"),
        (enable(jid="bob@example.org"), "not-acceptable"),
        (enable(jid=""), "bad-request"),
        (enable(jid="@"), "jid-malformed"),
        (enable(node="x" * 2000), "bad-request"),
        (enable(write_form("submit", "other", {})), "bad-request"),
    ],
)
async def test_what_cannot_be_enabled(xmpp: Scene, payload: Element, condition: str) -> None:
    await xmpp.people("alice")
    answer = await (await xmpp.online("alice")).ask("set", payload)
    error = answer.find("error")
    assert error is not None
    assert error.elements[0].name == condition


async def test_only_so_many_services_are_kept(xmpp: Scene) -> None:
    await service(xmpp)
    alice = await xmpp.online("alice")
    for number in range(25):
        await alice.ask("set", enable(node=f"n{number}"))
    kept = await xmpp.nodes["xmpp-1"].service.belongings.kept(address("alice"), "push")
    assert [each.name for each in kept] == [f"{SERVICE} n{number}" for number in range(5, 25)]


async def test_anothers_notifications_are_not_ones_own(xmpp: Scene) -> None:
    await service(xmpp)
    alice = await xmpp.online("alice")
    answer = await alice.ask("set", enable(), "carol@example.org")
    error = answer.find("error")
    assert error is not None
    assert error.elements[0].name == "forbidden"
