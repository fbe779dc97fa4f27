"""XEP-0198: acknowledgements, and sessions that outlive their connections."""

from __future__ import annotations

import pytest

from tests.xmpp.managing import acknowledge, bodies, enable, managed, pending, resume
from tests.xmpp.scene import Client, Scene, address, bare
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StreamError
from xmpp.management import COUNTERS, EVERY, NS, Management
from xmpp.presence import DELAY_NS

# --- acknowledgements -----------------------------------------------------------------------------------


async def test_stanzas_count_from_enabling_on(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await xmpp.online("alice")
    enabled = await enable(alice, resume="1")
    assert (enabled.name, enabled.get("resume"), enabled.get("max")) == ("enabled", "true", "600")
    assert len(enabled.get("id")) >= 24
    assert "location" not in enabled.attrs
    await alice.message(bare("bob"), "one")
    await alice.message(bare("bob"), "two")
    await alice.say_raw(E("r", NS))
    assert [(e.name, e.get("h")) for e in alice.heard() if e.ns == NS] == [("a", "2")]


async def test_without_resume_there_is_no_id_and_the_session_ends_with_its_connection(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    assert (await enable(alice, max="60")).attrs == {}
    await alice.gone()
    assert (await xmpp.node("xmpp-1")).sessions_of(address("alice")) == []


async def test_a_client_may_ask_to_be_waited_for_less_but_not_for_longer(xmpp: Scene) -> None:
    await xmpp.people("alice")
    assert (await enable(await xmpp.online("alice", "a"), resume="true", max="60")).get("max") == "60"
    assert (await enable(await xmpp.online("alice", "b"), resume="true", max="9999999")).get("max") == "600"


async def test_enabling_twice_or_resuming_when_bound_is_unexpected(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    await enable(alice)
    for element in (E("enable", NS), E("resume", NS, {"previd": "x", "h": "0"})):
        await alice.say_raw(element)
        (failed,) = [e for e in alice.heard() if e.ns == NS]
        assert (failed.name, failed.elements[0].name) == ("failed", "unexpected-request")


async def test_enabling_before_binding_is_unexpected_and_other_words_end_the_stream(xmpp: Scene) -> None:
    await xmpp.people("alice")
    negotiate = (await xmpp.node("xmpp-1")).threshold().negotiable[NS]
    answer = await negotiate(address("alice"), E("enable", NS), Client(xmpp), "")
    assert isinstance(answer, Element)
    assert (answer.name, answer.elements[0].name) == ("failed", "unexpected-request")
    with pytest.raises(StreamError):
        await negotiate(address("alice"), E("r", NS), Client(xmpp), "")


async def test_a_message_is_delivered_when_the_client_says_so(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, _ = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await acknowledge(alice, 1)  # bob's presence
    alice.heard()
    await bob.message(bare("alice"), "hello")
    assert [e.name for e in alice.heard()] == ["message", "r"]
    assert await pending(xmpp, "alice") == 1
    await acknowledge(alice, 2)
    assert await pending(xmpp, "alice") == 0
    assert alice.heard() == []


async def test_what_is_not_a_message_is_asked_for_now_and_then(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, _ = await managed(xmpp, "alice")
    bob = await xmpp.connect("bob")
    for n in range(EVERY):
        await bob.here(E("status", CLIENT_NS, {}, str(n)))
    assert [e.name for e in alice.heard()] == ["presence"] * EVERY + ["r"]


async def test_our_word_comes_only_when_the_bus_has_what_came_before(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, _ = await managed(xmpp, "alice")
    begun = alice.session.progress.begin()  # a stanza still on its way to the bus
    await alice.say_raw(E("r", NS))
    assert alice.heard() == []
    alice.session.progress.done(begun)
    assert [e.get("h") for e in alice.heard()] == ["1"]


async def test_more_than_was_sent_cannot_be_acknowledged(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, _ = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await bob.message(bare("alice"), "hello")
    with pytest.raises(StreamError) as raised:
        await acknowledge(alice, 3)
    assert raised.value.condition == "undefined-condition"
    assert raised.value.extra == E("handled-count-too-high", NS, {"h": "3", "send-count": "2"})


async def test_what_is_no_counter_ends_the_stream(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice, _ = await managed(xmpp, "alice")
    for h in ("", "-1", "x", "٣", str(COUNTERS), "9" * 5000):
        with pytest.raises(StreamError):
            await alice.session.receive(E("a", NS, {"h": h}))


async def test_counters_begin_anew_after_two_to_the_thirty_two(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, _ = await managed(xmpp, "alice")
    management: Management = alice.session.extra[NS]
    management.acknowledged = COUNTERS - 1
    management._base -= COUNTERS - 1
    bob = await xmpp.online("bob")
    await bob.message(bare("alice"), "hello")
    await acknowledge(alice, 1)
    assert await pending(xmpp, "alice") == 0
    await alice.message(bare("bob"), "hello")
    alice.heard()
    await alice.say_raw(E("r", NS))
    assert [e.get("h") for e in alice.heard()] == ["0"]


async def test_a_client_that_acknowledges_nothing_is_cut_off(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    await xmpp.node("xmpp-1", max_unacknowledged=100)
    alice, _ = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    for n in range(101):
        await bob.message(bare("alice"), str(n))
    assert alice.ended is not None
    assert alice.ended.condition == "policy-violation"
    await alice.gone("policy-violation")
    again = await xmpp.online_and_hear("alice")
    assert bodies(again) == [str(n) for n in range(101)]


# --- away and back --------------------------------------------------------------------------------------


async def test_a_lost_session_goes_on_over_a_new_connection_with_what_it_missed(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await alice.message(bare("bob"), "before")
    await bob.message(bare("alice"), "seen")
    await bob.message(bare("alice"), "lost on the way")
    bob.heard()
    await alice.gone()
    assert bob.heard() == []  # she is still there
    await bob.message(bare("alice"), "while away")
    back, resumed = await resume(xmpp, "alice", id, 2)  # his presence and the first message
    assert (resumed.name, resumed.get("previd"), resumed.get("h")) == ("resumed", id, "1")
    heard = back.heard("message")
    assert [m.find("body").text for m in heard] == ["lost on the way", "while away"]  # type: ignore[union-attr]
    assert all(m.find("delay", DELAY_NS) is not None for m in heard)
    assert back.jid == alice.jid
    await acknowledge(back, 4)
    assert await pending(xmpp, "alice") == 0
    await bob.message(bare("alice"), "and on")
    assert bodies(back) == ["and on"]


async def test_a_session_may_be_taken_up_again_and_again(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    for n in range(3):
        await alice.gone()
        await bob.message(bare("alice"), str(n))
        alice, resumed = await resume(xmpp, "alice", id, n + 1)
        assert (resumed.name, bodies(alice)) == ("resumed", [str(n)])


async def test_a_connection_that_still_looks_alive_gives_way(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    back, resumed = await resume(xmpp, "alice", id, 0)
    assert resumed.name == "resumed"
    assert alice.ended is not None
    assert alice.ended.condition == "conflict"
    await alice.gone("conflict")  # the old connection's end is no news to the session
    bob = await xmpp.online("bob")
    await bob.message(bare("alice"), "hello")
    assert bodies(back) == ["hello"]
    assert bodies(alice) == []
    await back.gone()
    assert (await resume(xmpp, "alice", id, 2))[1].name == "resumed"


async def test_the_answer_waits_for_what_the_old_connection_brought(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice, id = await managed(xmpp, "alice")
    begun = alice.session.progress.begin()
    xmpp.runtimes["xmpp-1"].spawn(finish(alice, begun))
    _, resumed = await resume(xmpp, "alice", id, 0)
    assert resumed.get("h") == "1"


async def finish(client: Client, number: int) -> None:
    client.session.progress.done(number)


async def test_nobody_else_can_take_up_a_session(xmpp: Scene) -> None:
    await xmpp.people("alice", "eve")
    alice, id = await managed(xmpp, "alice")
    _, failed = await resume(xmpp, "eve", id, 0)
    assert (failed.name, failed.elements[0].name, failed.get("h")) == ("failed", "item-not-found", "")
    assert alice.ended is None


async def test_a_resumption_with_an_impossible_count_leaves_the_session_alone(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice, id = await managed(xmpp, "alice")
    with pytest.raises(StreamError):
        await resume(xmpp, "alice", id, 7)
    assert alice.ended is None
    for h in ("", "minus one"):
        router = await xmpp.node("xmpp-1")
        element = E("resume", NS, {"previd": id, "h": h})
        answer = await router.threshold().negotiable[NS](address("alice"), element, Client(xmpp), "")
        assert isinstance(answer, Element)
        assert answer.elements[0].name == "bad-request"


async def test_who_says_goodbye_is_not_waited_for(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    bob = await xmpp.online("bob")
    alice, id = await managed(xmpp, "alice")
    bob.heard()
    await alice.gone("closed")
    assert [p.get("type") for p in bob.heard("presence")] == ["unavailable"]
    _, failed = await resume(xmpp, "alice", id, 0)
    assert failed.elements[0].name == "item-not-found"


async def test_nothing_is_delivered_twice_when_the_bus_drives_it_again(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await alice.gone()
    await bob.message(bare("alice"), "once")
    for _ in range(3):
        await xmpp.wait(31)
        await xmpp.bus.maintain(xmpp.clock())
        await xmpp.settle()
    back, _ = await resume(xmpp, "alice", id, 1)
    assert bodies(back) == ["once"]
    await acknowledge(back, 2)
    assert await pending(xmpp, "alice") == 0


# --- the end of waiting ---------------------------------------------------------------------------------


async def test_when_the_time_is_over_she_leaves_and_her_messages_wait(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    bob.heard()
    await bob.message(bare("alice"), "not acknowledged")
    await alice.gone()
    await bob.message(bare("alice"), "while away")
    await xmpp.wait(601)
    assert [p.get("type") for p in bob.heard("presence")] == ["unavailable"]
    _, failed = await resume(xmpp, "alice", id, 0)
    assert (failed.elements[0].name, failed.get("h")) == ("item-not-found", "0")
    again = await xmpp.online_and_hear("alice", "other")
    assert bodies(again) == ["not acknowledged", "while away"]
    assert await pending(xmpp, "alice") == 0


async def test_her_other_client_gets_them_at_once_and_only_what_it_has_not(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, _ = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await alice.gone()
    await bob.message(f"{bare('alice')}/desk", "to the desk")
    phone = await xmpp.online("alice", "phone")
    await bob.message(bare("alice"), "to both")
    assert bodies(phone) == ["to both"]
    await xmpp.wait(601)
    assert bodies(phone) == ["to the desk"]
    assert await pending(xmpp, "alice") == 0


async def test_requests_that_waited_for_nothing_are_answered_with_an_error(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, _ = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await alice.gone()
    query = E("query", "jabber:iq:version")
    to = f"{bare('alice')}/desk"
    await bob.say(E("iq", CLIENT_NS, {"type": "get", "id": "v1", "to": to}, query))
    assert bob.heard("iq") == []
    await xmpp.wait(601)
    (error,) = bob.heard("iq")
    assert (error.get("id"), error.get("from"), error.get("type")) == ("v1", to, "error")
    assert error.find("error").elements[0].name == "service-unavailable"  # type: ignore[union-attr]


async def test_a_new_client_of_that_name_takes_its_messages(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob")
    await alice.gone()
    await bob.message(bare("alice"), "hello")
    again = await xmpp.online_and_hear("alice")
    assert bodies(again) == ["hello"]
    assert (await resume(xmpp, "alice", id, 0))[1].name == "failed"


async def test_a_waiting_session_makes_room_for_a_client_that_is_there(xmpp: Scene) -> None:
    await xmpp.people("alice")
    router = await xmpp.node("xmpp-1", max_resources=1)
    alice, _ = await managed(xmpp, "alice")
    await alice.gone()
    await xmpp.online("alice", "other")
    assert [s.jid.resource for s in router.sessions_of(address("alice"))] == ["other"]


async def test_a_message_the_restarted_process_owed_is_not_lost(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    bob = await xmpp.online("bob", node="xmpp-2")
    await bob.message(bare("alice"), "not acknowledged")
    bodies(alice)
    del xmpp.nodes["xmpp-1"]  # kill -9
    await xmpp.bus.sweep("xmpp-1", "i2", xmpp.clock())
    _, failed = await resume(xmpp, "alice", id, 2)
    assert failed.elements[0].name == "item-not-found"
    assert bodies(await xmpp.online_and_hear("alice")) == ["not acknowledged"]


async def test_roster_changes_and_requests_reach_a_session_that_was_away(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, id = await managed(xmpp, "alice")
    await alice.gone()
    bob = await xmpp.online("bob")
    await bob.say(E("presence", CLIENT_NS, {"type": "subscribe", "to": bare("alice")}))
    back, _ = await resume(xmpp, "alice", id, 0)
    assert [(p.get("from"), p.get("type")) for p in back.heard("presence")] == [(bare("bob"), "subscribe")]
