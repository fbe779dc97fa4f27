"""Rules that a phone wrote about what is shown of its user (RFC 5025 §3.3), as XMPP clients see it."""

from __future__ import annotations

import pytest

from presence.model import Person, PresenceTuple, Source
from presence.orders import Handling
from presence.ports import Lease, SourceWrite, Update
from presence.privacy import EVERY, EVERYTHING, Grant, Permissions, UserInput
from tests.xmpp.scene import Client, Scene, address
from tests.xmpp.test_pep import interested
from xmpp.element import CLIENT_NS, E, Element
from xmpp.extensions.xep_0108_activity import NS as ACTIVITY

SERVICES = Permissions(EVERY)


async def show(xmpp: Scene, permissions: Permissions) -> None:
    service = (await xmpp.node("xmpp-1")).service
    grants = (Grant(Handling.ALLOW, permissions, (str(address("bob")),)),)
    await service.privacy.give(address("alice"), grants)
    await xmpp.settle()


async def alice_is_away(xmpp: Scene) -> Client:
    alice = await xmpp.online("alice")
    show = E("show", CLIENT_NS, {}, "away")
    status = E("status", CLIENT_NS, {}, "in the garden")
    idle = E("idle", "urn:xmpp:idle:1", {"since": "2027-01-15T08:00:00Z"})
    await alice.here(show, status, E("x", "urn:example"), idle)
    return alice


def of_alice(client: Client) -> list[Element]:
    return [p for p in client.heard("presence") if (p.get("from") or "").startswith("alice@")]


def told(presence: Element) -> list[str]:
    return sorted(child.name for child in presence.elements)


@pytest.mark.parametrize("node", ["xmpp-1", "xmpp-2"])
async def test_a_client_is_shown_what_is_provided(xmpp: Scene, node: str) -> None:
    await xmpp.friends("alice", "bob", "carol")
    await show(xmpp, SERVICES)
    await alice_is_away(xmpp)
    bob = await xmpp.connect("bob", node=node)
    carol = await xmpp.online_and_hear("carol")
    await bob.here()
    (less,), (all_,) = of_alice(bob), of_alice(carol)
    assert told(less) == []
    assert told(all_) == ["idle", "show", "status", "x"]


async def test_only_what_can_be_seen_is_told_when_it_changes(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob", "carol")
    await show(xmpp, SERVICES)
    bob, carol = await xmpp.online("bob"), await xmpp.online("carol")
    alice = await alice_is_away(xmpp)
    assert [told(p) for p in of_alice(carol)] == [[], ["idle", "show", "status", "x"]]
    assert [told(p) for p in of_alice(bob)] == [[]]
    await xmpp.wait(10)
    await alice.here(E("show", CLIENT_NS, {}, "dnd"), E("status", CLIENT_NS, {}, "writing"))
    assert [told(p) for p in of_alice(carol)] == [["show", "status"]]
    assert of_alice(bob) == []
    await alice.gone()
    assert [p.get("type") for p in of_alice(bob)] == ["unavailable"]


@pytest.mark.parametrize(
    ("attributes", "shown"), [(("note",), ["status"]), (("activities",), ["show"]), (("mood",), [])]
)
async def test_each_attribute_has_its_permission(
    xmpp: Scene, attributes: tuple[str, ...], shown: list[str]
) -> None:
    await xmpp.friends("alice", "bob")
    await show(xmpp, Permissions(EVERY, EVERY, frozenset(attributes)))
    await alice_is_away(xmpp)
    bob = await xmpp.online_and_hear("bob")
    (presence,) = of_alice(bob)
    assert told(presence) == shown


async def test_since_when_somebody_is_idle_may_be_shown_alone(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    await show(xmpp, Permissions(EVERY, user_input=UserInput.FULL))
    await alice_is_away(xmpp)
    bob = await xmpp.online_and_hear("bob")
    (presence,) = of_alice(bob)
    assert told(presence) == ["idle"]


async def test_when_the_rules_change_it_is_shown_at_once(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    await alice_is_away(xmpp)
    bob = await xmpp.online("bob")
    await show(xmpp, Permissions(EVERY, attributes=frozenset(("note",))))
    assert [told(p) for p in of_alice(bob)] == [["status"]]
    await show(xmpp, Permissions())
    assert [p.get("type") for p in of_alice(bob)] == ["unavailable"]
    await show(xmpp, EVERYTHING)
    assert [told(p) for p in of_alice(bob)] == [["idle", "show", "status", "x"]]


async def test_a_probe_and_the_last_activity_tell_no_more(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await alice_is_away(xmpp)
    await show(xmpp, SERVICES)
    bob = await xmpp.online("bob")
    await bob.say(E("presence", CLIENT_NS, {"type": "probe", "to": str(address("alice"))}))
    assert [told(p) for p in of_alice(bob)] == [[]]
    await alice.say(
        E("presence", CLIENT_NS, {"type": "unavailable"}, E("status", CLIENT_NS, {}, "good night"))
    )
    answer = await bob.ask("get", E("query", "jabber:iq:last"), to=str(address("alice")))
    assert (answer.get("type"), answer.elements[0].text) == ("result", "")


async def test_one_sees_oneself_whole(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    service = (await xmpp.node("xmpp-1")).service
    many = (str(address("alice")), str(address("bob")))
    await service.privacy.give(address("alice"), (Grant(Handling.ALLOW, SERVICES, many),))
    await alice_is_away(xmpp)
    second = await xmpp.online_and_hear("alice", "mobile")
    assert ["idle", "show", "status", "x"] in [told(p) for p in of_alice(second)]


async def test_what_a_phone_says_of_the_person_is_no_event_for_those_who_may_not_see_it(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    await show(xmpp, SERVICES)
    bob = await interested(xmpp, "bob", topic=ACTIVITY)
    router = await xmpp.node("xmpp-1")

    async def call(*activities: str) -> int:
        person = Person(activities=activities)
        source = Source(
            id="sip-reg:p", tuples=(PresenceTuple(id="phone"),), person=person, since=xmpp.clock()
        )
        write = SourceWrite(source=source, lease=Lease(expires=xmpp.clock() + 60))
        await router.service.publish(address("alice"), Update(put_sources=(write,)), "t")
        await xmpp.settle()
        return len([m for m in bob.heard("message") if m.get("from") == str(address("alice"))])

    assert [await call(), await call("on-the-phone")] == [0, 0]
    await show(xmpp, Permissions(EVERY, EVERY, frozenset(("activities",))))
    assert [await call("meeting"), await call()] == [1, 1]
