"""xmpp.router and its sessions: two people, their clients, the bus between them."""

from __future__ import annotations

import pytest

from presence.errors import Condition
from presence.messages import Failure
from presence.model import PresenceTuple, Source, Text
from presence.ports import Endpoint, EndpointKind, Failed, Lease, SourceWrite, Update
from presence.subscriptions import Subscription
from tests.xmpp.scene import Client, Scene, address, bare
from xmpp.element import CLIENT_NS, LANG, E, Element
from xmpp.errors import StanzaError, StreamError, read_error
from xmpp.presence import DELAY_NS

ROSTER = "jabber:iq:roster"


def show(word: str) -> Element:
    return E("show", CLIENT_NS, {}, word)


def status(text: str) -> Element:
    return E("status", CLIENT_NS, {}, text)


def seen(client: Client) -> list[tuple[str, str]]:
    """Sender and type of the presence that came."""
    return [(p.get("from"), p.get("type")) for p in client.heard("presence")]


# --- presence -----------------------------------------------------------------------------------------


async def test_friends_see_each_other_come_change_and_go(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await xmpp.online("alice")
    bob = await xmpp.connect("bob", "sofa")
    await bob.here(show("away"), status("tea"))
    (shown,) = alice.heard("presence")
    assert (shown.get("from"), shown.get("to")) == ("bob@example.org/sofa", "alice@example.org")
    assert [(c.name, c.text) for c in shown.elements] == [("show", "away"), ("status", "tea")]
    assert sorted(seen(bob)) == [("alice@example.org/desk", ""), ("bob@example.org/sofa", "")]
    await bob.here(show("dnd"))
    assert [p.find("show").text for p in alice.heard("presence")] == ["dnd"]  # type: ignore[union-attr]
    await bob.here(status("bye"), type="unavailable")
    (left,) = alice.heard("presence")
    assert (left.get("type"), [c.text for c in left.elements]) == ("unavailable", ["bye"])


async def test_a_lost_connection_is_unavailable_to_whoever_saw_it(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    alice.heard()
    await bob.gone()
    assert seen(alice) == [("bob@example.org/desk", "unavailable")]
    assert await xmpp.bus.endpoints(address("bob"), xmpp.clock()) == []


async def test_strangers_see_nothing(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await bob.here(show("away"))
    await bob.gone()
    assert alice.heard() == []


async def test_own_resources_see_each_other(xmpp: Scene) -> None:
    await xmpp.people("alice")
    desk = await xmpp.online("alice", "desk")
    await xmpp.online("alice", "phone")
    assert seen(desk) == [("alice@example.org/phone", "")]


async def test_contacts_are_shown_after_the_roster_that_was_asked_for_in_the_same_packet(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    await xmpp.online("bob")
    alice = await xmpp.connect("alice")
    roster = E("iq", CLIENT_NS, {"type": "get", "id": "r"}, E("query", ROSTER))
    await alice.say(E("presence", CLIENT_NS), roster)
    assert [s.name for s in alice.heard()] == ["iq", "presence", "presence"]


async def test_several_changes_at_once_end_with_the_last(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    alice.heard()
    changes = [E("presence", CLIENT_NS, {}, status(str(n))) for n in range(20)]
    await bob.say(*changes)
    told = [p.find("status").text for p in alice.heard("presence")]  # type: ignore[union-attr]
    assert told[-1] == "19"
    assert len(told) < 20


async def test_a_phone_is_one_of_its_persons_resources(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await xmpp.online("alice")
    phone = PresenceTuple(id="desk-phone", notes=(Text("On holiday", "en"),), priority=3)
    source = Source(id="sip-reg:1", tuples=(phone,))
    await xmpp.bus.commit(
        address("bob"),
        Update(put_sources=(SourceWrite(source=source, lease=Lease()),)),
        xmpp.clock(),
    )
    await xmpp.settle()
    (shown,) = alice.heard("presence")
    assert shown.get("from") == "bob@example.org/desk-phone"
    assert [(c.name, c.text) for c in shown.elements] == [("status", "On holiday"), ("priority", "3")]
    await xmpp.bus.commit(address("bob"), Update(drop_sources=("sip-reg:1",)), xmpp.clock())
    await xmpp.settle()
    assert seen(alice) == [("bob@example.org/desk-phone", "unavailable")]


async def test_directed_presence_reaches_a_stranger_who_also_hears_of_the_end(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await bob.here(to=bare("alice"))
    assert seen(alice) == [("bob@example.org/desk", "")]
    await bob.here(show("away"))
    assert seen(alice) == [], "a broadcast is not for her"
    await bob.gone()
    assert seen(alice) == [("bob@example.org/desk", "unavailable")]


@pytest.mark.parametrize(
    ("subscription", "answer"),
    [
        (Subscription.BOTH, [("bob@example.org", "unavailable")]),
        (Subscription.NONE, [("bob@example.org", "unsubscribed")]),
    ],
)
async def test_a_probe_is_answered_to_whom_may_see(
    xmpp: Scene, subscription: Subscription, answer: list[tuple[str, str]]
) -> None:
    await xmpp.people("alice", "bob")
    await xmpp.roster("alice", "bob", subscription)
    await xmpp.roster("bob", "alice", subscription)
    await xmpp.accounts.seen_on_xmpp(address("bob"))
    alice = await xmpp.online("alice")
    await alice.here(to=bare("bob"), type="probe")
    assert seen(alice) == answer


async def test_what_the_norm_excludes_is_a_presence_error(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    await alice.here(show("sleeping"))
    (error,) = alice.heard("presence")
    assert read_error(error).condition == "bad-request"
    assert not alice.session.available


# --- subscriptions ------------------------------------------------------------------------------------


async def befriended(xmpp: Scene) -> tuple[Client, Client]:
    await xmpp.people("alice", "bob")
    for user in ("alice", "bob"):
        await xmpp.accounts.seen_on_xmpp(address(user))
    return await xmpp.online("alice"), await xmpp.online("bob")


async def test_a_request_is_shown_approved_and_followed_by_presence(xmpp: Scene) -> None:
    alice, bob = await befriended(xmpp)
    await alice.here(status("it is me"), to=bare("bob"), type="subscribe")
    pushed = alice.heard("iq")[0].elements[0].elements[0]
    assert (pushed.get("jid"), pushed.get("subscription"), pushed.get("ask")) == (
        bare("bob"),
        "none",
        "subscribe",
    )
    (request,) = bob.heard("presence")
    assert (request.get("from"), request.get("type")) == (bare("alice"), "subscribe")
    assert [c.text for c in request.elements] == ["it is me"]
    await bob.here(to=bare("alice"), type="subscribed")
    stanzas = alice.heard()
    assert [(s.name, s.get("type")) for s in stanzas if s.name == "presence"] == [
        ("presence", "subscribed"),
        ("presence", ""),
    ]
    assert stanzas[-1].get("from") == "bob@example.org/desk"
    pushes = [s.elements[0].elements[0].get("subscription") for s in stanzas if s.name == "iq"]
    assert pushes == ["to"]
    assert [s.elements[0].elements[0].get("subscription") for s in bob.heard("iq")] == ["from"]


async def test_a_denied_request_shows_nothing_before_or_after(xmpp: Scene) -> None:
    alice, bob = await befriended(xmpp)
    await alice.here(to=bare("bob"), type="subscribe")
    await bob.here(show("away"))
    await bob.here(to=bare("alice"), type="unsubscribed")
    await bob.here(show("dnd"))
    assert seen(alice) == [(bare("bob"), "unsubscribed")]


async def test_a_cancelled_subscription_ends_with_unavailable_and_silence(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    alice.heard()
    await bob.here(to=bare("alice"), type="unsubscribed")
    assert sorted(seen(alice)) == [(bare("bob"), "unsubscribed"), ("bob@example.org/desk", "unavailable")]
    await bob.here(show("away"))
    assert seen(alice) == []


async def test_a_request_waits_for_the_next_login_until_it_is_answered(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    await xmpp.accounts.seen_on_xmpp(address("bob"))
    alice = await xmpp.online("alice")
    await alice.here(to=bare("bob"), type="subscribe")
    for _ in range(2):
        bob = await xmpp.connect("bob")
        await bob.here()
        assert (bare("alice"), "subscribe") in seen(bob)
        await bob.gone()


async def test_to_whom_is_asked_of_a_subscription_without_addressee(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    await alice.here(type="subscribe")
    assert read_error(alice.heard("presence")[0]).condition == "bad-request"


# --- roster -------------------------------------------------------------------------------------------


async def test_a_roster_set_is_pushed_to_those_who_asked_for_the_roster_only(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    desk, mute = await xmpp.online("alice", "desk"), await xmpp.connect("alice", "mute")
    await mute.here()
    mute.heard()
    item = E("item", ROSTER, {"jid": bare("bob"), "name": "Bob"}, E("group", ROSTER, {}, "Friends"))
    result = await desk.ask("set", E("query", ROSTER, {}, item))
    assert (result.get("type"), result.elements) == ("result", [])
    (push,) = desk.heard("iq")
    assert push.elements[0].elements[0].attrs == {"jid": bare("bob"), "name": "Bob", "subscription": "none"}
    assert mute.heard("iq") == []
    removed = E("query", ROSTER, {}, E("item", ROSTER, {"jid": bare("bob"), "subscription": "remove"}))
    await desk.ask("set", removed)
    assert desk.heard("iq")[0].elements[0].elements[0].get("subscription") == "remove"
    gone = await desk.ask("set", removed)
    assert read_error(gone).condition == "item-not-found"


async def test_a_client_that_has_the_roster_is_not_sent_it_again(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await xmpp.connect("alice")
    first = await alice.ask("get", E("query", ROSTER, {"ver": ""}))
    version = first.elements[0].get("ver")
    again = await alice.ask("get", E("query", ROSTER, {"ver": version}))
    assert (again.get("type"), again.elements) == ("result", [])


async def test_nobody_edits_anothers_roster(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await xmpp.connect("alice")
    item = E("item", ROSTER, {"jid": bare("carol")})
    answer = await alice.ask("set", E("query", ROSTER, {}, item), to=bare("bob"))
    assert read_error(answer).condition == "forbidden"


# --- messages -----------------------------------------------------------------------------------------


async def test_a_chat_reaches_all_resources_on_all_nodes_once(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice = await xmpp.online("alice")
    bobs = [await xmpp.online("bob", "sofa"), await xmpp.online("bob", "train", node="xmpp-2")]
    await alice.message(bare("bob"), "ünïcode & <tags>\n🎉", id="m1")
    for bob in bobs:
        (got,) = bob.heard("message")
        body = got.find("body")
        assert body is not None
        assert (body.text, got.get("id"), got.get("from"), got.get("to"), got.get(LANG)) == (
            "ünïcode & <tags>\n🎉", "m1", alice.jid, bare("bob"), "en",
        )  # fmt: skip
    assert (await xmpp.bus.inspect(address("bob"), xmpp.clock()))["pending"] in ({}, [])


async def test_a_message_waits_for_login_and_says_since_when(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice = await xmpp.online("alice")
    await alice.message(bare("bob"), "first")
    await alice.message(bare("bob"), "second")
    await alice.message(bare("bob"), "", E("composing", "http://jabber.org/protocol/chatstates"))
    bob = await xmpp.connect("bob")
    assert bob.heard("message") == []
    await bob.here()
    got = bob.heard("message")
    assert [m.find("body").text for m in got] == ["first", "second"]  # type: ignore[union-attr]
    assert all(m.find("delay", DELAY_NS) is not None for m in got)
    await bob.gone()
    bob = await xmpp.online("bob")
    assert bob.heard("message") == []


async def test_what_a_dead_socket_did_not_take_comes_at_the_next_login(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    bob.reading = False
    await alice.message(bare("bob"), "into the void")
    await bob.gone()
    again = await xmpp.connect("bob")
    await again.here()
    assert [m.find("body").text for m in again.heard("message")] == ["into the void"]  # type: ignore[union-attr]


async def test_what_is_only_for_clients_crosses_untouched(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    receipt = E("received", "urn:xmpp:receipts", {"id": "m0"})
    await alice.message(bare("bob"), "", receipt)
    (got,) = bob.heard("message")
    assert [each for each in got.elements if each.name != "stanza-id"] == [receipt]


async def test_nobody_can_forge_when_a_message_was_kept_here(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    forged = E("delay", DELAY_NS, {"from": "example.org", "stamp": "2001-01-01T00:00:00Z"})
    await alice.message(bare("bob"), "old news", forged)
    (got,) = bob.heard("message")
    assert got.find("delay", DELAY_NS) is None


async def test_a_burst_keeps_its_order(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob", "carol")
    alice, bob, carol = await xmpp.online("alice"), await xmpp.online("bob"), await xmpp.online("carol")
    burst = [
        E("message", CLIENT_NS, {"to": bare(to), "type": "chat"}, E("body", CLIENT_NS, {}, str(n)))
        for n in range(300)
        for to in ("bob", "carol")
    ]
    await alice.say(*burst)
    for client in (bob, carol):
        bodies = [m.find("body").text for m in client.heard("message")]  # type: ignore[union-attr]
        assert bodies == [str(n) for n in range(300)]
    assert alice.session.progress.handled == 2 + len(burst)


async def test_a_message_refused_everywhere_comes_back_as_an_error(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice = await xmpp.online("alice")
    failure = Failure(
        message_id="x", trace="t", origin_id="m1", sender=address("alice"), sender_endpoint="xmpp:desk",
        recipient=address("bob"), condition=Condition.POLICY_VIOLATION,
    )  # fmt: skip
    await xmpp.bus.tell(address("alice"), Failed(failure=failure))
    await xmpp.settle()
    (error,) = alice.heard("message")
    assert (error.get("type"), error.get("from"), error.get("id")) == ("error", bare("bob"), "m1")
    assert read_error(error).condition == "policy-violation"


async def test_another_domain_is_not_found_and_errors_are_never_answered(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    await alice.message("bob@elsewhere.example", "hi", id="m1")
    assert read_error(alice.heard("message")[0]).condition == "remote-server-not-found"
    await alice.message("bob@elsewhere.example", "hi", type="error")
    await alice.message("bob@@", "hi", type="error")
    assert alice.heard() == []


async def test_a_malformed_addressee_is_told_so(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    await alice.message("bob@@example.org", "hi", id="m1")
    (error,) = alice.heard("message")
    assert read_error(error).condition == "jid-malformed"


# --- IQ -----------------------------------------------------------------------------------------------

PING = E("ping", "urn:xmpp:ping")
INFO = E("query", "http://jabber.org/protocol/disco#info")
LAST = E("query", "jabber:iq:last")


@pytest.mark.parametrize(
    ("to", "payload", "answer"),
    [
        ("", PING, "result"),
        ("example.org", PING, "result"),
        ("alice@example.org", INFO, "result"),
        ("example.org", INFO, "result"),
        ("example.org", E("query", "http://jabber.org/protocol/disco#items"), "result"),
        ("example.org", E("query", "jabber:iq:version"), "result"),
        ("example.org", LAST, "result"),
        ("bob@example.org", LAST, "item-not-found"),
        ("bob@example.org", INFO, "result"),
        ("carol@example.org", LAST, "forbidden"),
        ("carol@example.org", INFO, "service-unavailable"),
        ("nobody@example.org", LAST, "forbidden"),  # as carol: nobody is told who exists
        ("nobody@example.org/x", PING, "service-unavailable"),
        ("bob@example.org/x", PING, "service-unavailable"),
        ("example.org/x", PING, "service-unavailable"),
        ("example.org", E("query", "urn:unheard:of"), "service-unavailable"),
        ("", E("query", "http://jabber.org/protocol/disco#info", {"node": "x"}), "item-not-found"),
        ("elsewhere.example", PING, "remote-server-not-found"),
        ("a@b@c", PING, "jid-malformed"),
    ],
)
async def test_a_request_is_answered_for_whom_it_is_for(
    xmpp: Scene, to: str, payload: Element, answer: str
) -> None:
    await xmpp.friends("alice", "bob")
    await xmpp.people("carol")
    await xmpp.accounts.seen_on_xmpp(address("carol"))
    alice = await xmpp.connect("alice")
    got = await alice.ask("get", payload.copy(), to=to)
    assert (got.get("type") if got.get("type") == "result" else read_error(got).condition) == answer


@pytest.mark.parametrize(
    "stanza",
    [
        E("iq", CLIENT_NS, {"type": "get", "id": "1"}),
        E("iq", CLIENT_NS, {"type": "get", "id": "1"}, PING, PING),
        E("iq", CLIENT_NS, {"type": "get"}, PING),
        E("iq", CLIENT_NS, {"type": "fetch", "id": "1"}, PING),
        E("iq", CLIENT_NS, {"id": "1"}, PING),
    ],
)
async def test_a_malformed_request_is_a_bad_one(xmpp: Scene, stanza: Element) -> None:
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    await alice.say(stanza.copy())
    (error,) = alice.heard("iq")
    assert read_error(error).condition == "bad-request"


async def test_results_and_errors_are_never_answered(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    for kind in ("result", "error"):
        await alice.say(E("iq", CLIENT_NS, {"type": kind, "id": "1", "to": "bob@example.org/x"}))
        await alice.say(E("iq", CLIENT_NS, {"type": kind, "id": "1"}))
    assert alice.heard() == []


@pytest.mark.parametrize("node", ["xmpp-1", "xmpp-2"])
async def test_clients_of_friends_ask_each_other(xmpp: Scene, node: str) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob", "sofa", node)
    question = E("iq", CLIENT_NS, {"type": "get", "id": "q", "to": bob.jid}, INFO.copy())
    await alice.say(question)
    (asked,) = bob.heard("iq")
    assert (asked.get("from"), asked.elements) == (alice.jid, [INFO])
    await bob.say(E("iq", CLIENT_NS, {"type": "result", "id": "q", "to": alice.jid}, INFO.copy()))
    (answered,) = alice.heard("iq")
    assert (answered.get("from"), answered.get("type"), answered.get("id")) == (bob.jid, "result", "q")


@pytest.mark.parametrize("node", ["xmpp-1", "xmpp-2"])
async def test_a_stranger_cannot_find_out_that_a_resource_is_there(xmpp: Scene, node: str) -> None:
    await xmpp.people("alice", "bob")
    await xmpp.accounts.seen_on_xmpp(address("bob"))
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob", "sofa", node)
    await alice.say(E("iq", CLIENT_NS, {"type": "get", "id": "q", "to": bob.jid}, INFO.copy()))
    assert bob.heard() == []
    (refused,) = alice.heard("iq")
    assert (refused.get("from"), read_error(refused).condition) == (bob.jid, "service-unavailable")
    nowhere = f"{bare('bob')}/nowhere"
    await alice.say(E("iq", CLIENT_NS, {"type": "get", "id": "q", "to": nowhere}, INFO.copy()))
    (absent,) = alice.heard("iq")
    absent.attrs["from"] = bob.jid
    assert (list(absent.attrs), absent) == (list(refused.attrs), refused), "not even by how the error looks"
    await bob.here(to=alice.jid)
    alice.heard()
    await alice.say(E("iq", CLIENT_NS, {"type": "get", "id": "q", "to": bob.jid}, INFO.copy()))
    assert [s.elements for s in bob.heard("iq")] == [[INFO]], "directed presence lets her"


async def test_the_server_knows_when_a_contact_left_and_what_he_said(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await bob.here(status("home"), type="unavailable")
    answer = await alice.ask("get", LAST.copy(), to=bare("bob"))
    assert (answer.elements[0].get("seconds"), answer.elements[0].text) == ("0", "home")


# --- sessions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", ["xmpp-1", "xmpp-2"])
async def test_a_resource_bound_again_replaces_the_older_session(xmpp: Scene, node: str) -> None:
    await xmpp.friends("alice", "bob")
    bob = await xmpp.online("bob")
    old = await xmpp.online("alice")
    new = await xmpp.connect("alice", node=node)
    assert old.ended is not None
    assert old.ended.condition == "conflict"
    await old.gone("conflict")
    await new.here(show("away"))
    told = seen(bob)
    assert told[-1] == ("alice@example.org/desk", "")
    await bob.message(bare("alice"), "still there?")
    assert len(new.heard("message")) == 1


async def test_what_a_replaced_session_did_not_take_goes_to_its_successor(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    bob, old = await xmpp.online("bob"), await xmpp.online("alice")
    old.reading = False
    await bob.message(bare("alice"), "hello?")
    new = await xmpp.connect("alice")
    await new.here()
    assert [m.find("body").text for m in new.heard("message")] == ["hello?"]  # type: ignore[union-attr]


async def test_a_taken_resource_can_be_refused_or_renamed(xmpp: Scene) -> None:
    await xmpp.people("alice")
    await xmpp.node("strict", resource_conflict="reject")
    await xmpp.node("kind", resource_conflict="rename")
    await xmpp.connect("alice", node="strict")
    with pytest.raises(StanzaError, match="conflict"):
        await xmpp.connect("alice", node="strict")
    renamed = await xmpp.connect("alice", node="kind")
    assert renamed.session.jid.resource.startswith("desk-")


async def test_an_account_has_a_bounded_number_of_clients(xmpp: Scene) -> None:
    await xmpp.people("alice")
    await xmpp.node("xmpp-1", max_resources=2)
    await xmpp.connect("alice", "1")
    await xmpp.connect("alice", "2")
    with pytest.raises(StanzaError, match="resource-constraint"):
        await xmpp.connect("alice", "3")


async def test_a_bus_that_forgot_everything_is_told_again(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    alice.heard()
    await xmpp.bus.sweep("xmpp-1", None, xmpp.clock())
    await xmpp.settle()
    assert await xmpp.bus.endpoints(address("bob"), xmpp.clock()) == []
    await xmpp.nodes["xmpp-1"].restate()
    await xmpp.settle()
    await alice.message(bare("bob"), "back?")
    assert len(bob.heard("message")) == 1
    await bob.here(show("away"))
    assert seen(alice)[-1] == ("bob@example.org/desk", "")


async def test_what_is_no_stanza_ends_the_stream(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    with pytest.raises(StreamError, match="unsupported-stanza-type"):
        await alice.say(E("r", "urn:example:unknown"))


async def test_an_envelope_for_a_session_that_is_gone_is_given_back(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    router = await xmpp.node("xmpp-1")
    ghost = Endpoint(id="xmpp:ghost", kind=EndpointKind.XMPP, node="xmpp-1", lease=Lease(owner="xmpp-1/i1"))
    await xmpp.bus.commit(address("bob"), Update(put_endpoints=(ghost,)), xmpp.clock())
    alice = await xmpp.online("alice")
    await alice.message(bare("bob"), "anybody?")
    assert router.sessions_of(address("bob")) == []
    bob = await xmpp.connect("bob")
    await bob.here()
    assert len(bob.heard("message")) == 1


async def test_an_answer_of_the_server_tells_that_all_before_it_was_taken(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice = await xmpp.online("alice")
    ping = E("iq", CLIENT_NS, {"type": "get", "id": "p", "to": "example.org"}, PING.copy())
    await alice.say(
        *(E("message", CLIENT_NS, {"to": bare("nobody"), "id": str(n)}, status("")) for n in range(5)), ping
    )
    assert [s.name for s in alice.heard()] == ["message"] * 5 + ["iq"]


async def test_who_asks_for_much_is_charged_for_it(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice = await xmpp.connect("alice")
    await alice.here()
    arrival = alice.charged
    await alice.ask("get", E("query", "jabber:iq:roster"))
    little = alice.charged - arrival
    await alice.ask("set", E("vCard", "vcard-temp", {}, E("NOTE", "vcard-temp", {}, "x" * 10_000)))
    before = alice.charged
    await alice.ask("get", E("vCard", "vcard-temp"))
    assert alice.charged - before > 40_000 > 10 * little > 0
    for number in range(50):
        await xmpp.roster("alice", f"p{number}", Subscription.BOTH)
    await alice.here(type="unavailable")
    before = alice.charged
    await alice.here()
    assert alice.charged - before >= 50_000 > 10 * arrival
    await xmpp.roster("alice", "bob", Subscription.BOTH)
    await xmpp.roster("bob", "alice", Subscription.BOTH)
    bob = await xmpp.online("bob")
    await bob.here(E("status", CLIENT_NS, {}, "x" * 10_000))
    before = alice.charged
    await alice.here(to=bare("bob"), type="probe")
    assert alice.charged - before > 40_000
