"""XEP-0107 and XEP-0108 ↔ RPID: what people say of themselves, on phones and in clients."""

from __future__ import annotations

import pytest

from presence.composition import compose
from presence.model import Person, PresenceTuple, Source
from presence.ports import Lease, SourceWrite, Update
from tests.xmpp.scene import Scene, address
from tests.xmpp.test_pep import interested, publish
from xmpp.element import E, Element
from xmpp.extensions.xep_0107_mood import MOOD
from xmpp.extensions.xep_0107_mood import NS as MOOD_NS
from xmpp.extensions.xep_0108_activity import ACTIVITY, NS


def activity(general: str, specific: str = "") -> Element:
    return E("activity", NS, {}, E(general, NS, {}, *([E(specific, NS)] if specific else [])))


@pytest.mark.parametrize(
    ("payload", "names"),
    [
        (activity("talking", "on_the_phone"), ("on-the-phone",)),
        (activity("eating", "having_a_snack"), ("meal",)),
        (activity("working", "coding"), ("working",)),
        (activity("grooming"), ()),
        (E("activity", NS), ()),
    ],
)
def test_an_activity_is_rpids_or_none(payload: Element, names: tuple[str, ...]) -> None:
    assert ACTIVITY.read(payload) == names


@pytest.mark.parametrize("name", ["on-the-phone", "meeting", "lunch", "travel", "holiday", "tv"])
def test_what_both_have_a_word_for_comes_back_as_it_went(name: str) -> None:
    assert ACTIVITY.read(ACTIVITY.write((name,))) == (name,)


def test_moods_have_the_same_names() -> None:
    assert MOOD.read(MOOD.write(("happy",))) == ("happy",)
    assert MOOD.read(E("mood", MOOD_NS, {}, E("dismayed", MOOD_NS))) == ()


async def person_of(xmpp: Scene, name: str) -> Person | None:
    await xmpp.settle()
    (snapshot,) = await (await xmpp.node("xmpp-1")).service.snapshots([address(name)])
    return compose(snapshot).person


async def test_what_a_client_publishes_is_part_of_the_presence_phones_see(xmpp: Scene) -> None:
    alice = await xmpp.online("alice")
    await publish(alice, activity("working", "in_a_meeting"), "current", NS)
    await publish(alice, E("mood", MOOD_NS, {}, E("happy", MOOD_NS)), "current", MOOD_NS)
    assert await person_of(xmpp, "alice") == Person(activities=("meeting",), mood=("happy",))
    await publish(alice, E("activity", NS), "current", NS)
    assert await person_of(xmpp, "alice") == Person(mood=("happy",))


async def test_a_client_that_comes_later_says_it_again(xmpp: Scene) -> None:
    alice = await xmpp.online("alice")
    await publish(alice, activity("eating", "having_lunch"), "current", NS)
    await alice.gone()
    await xmpp.settle()
    assert await person_of(xmpp, "alice") is None
    await xmpp.online("alice")
    assert await person_of(xmpp, "alice") == Person(activities=("lunch",))


async def test_who_is_on_the_phone_is_shown_talking_to_whose_client_asks(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await interested(xmpp, "alice", topic=NS)
    tuples = (PresenceTuple(id="phone"),)

    async def call(*activities: str) -> list[Element]:
        source = Source(
            id="sip-reg:p", tuples=tuples, person=Person(activities=activities), since=xmpp.clock()
        )
        write = SourceWrite(source=source, lease=Lease(expires=xmpp.clock() + 60))
        await (await xmpp.node("xmpp-1")).service.publish(address("bob"), Update(put_sources=(write,)), "t")
        await xmpp.settle()
        events = [m.elements[0] for m in alice.heard("message") if m.get("from") == str(address("bob"))]
        return [event.elements[0].elements[0].elements[0] for event in events]

    await call()
    assert await call("on-the-phone") == [activity("talking", "on_the_phone")]
    assert await call() == [E("activity", NS)]
