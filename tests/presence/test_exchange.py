from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from presence.address import Address
from presence.exchange import Event, Exchange, exchange, parting
from presence.ports import RosterChange
from presence.subscriptions import Act, RosterItem, Subscription

ALICE, BOB = Address("alice", "example.org"), Address("bob", "example.org")
FOR_BOB, FOR_ALICE = RosterItem(contact=BOB), RosterItem(contact=ALICE)
"Alice's item for bob, bob's for alice, before they met."


def test_a_request_changes_both_rosters_and_is_shown() -> None:
    asking = RosterItem(contact=BOB, ask=True, listed=True)
    asked = RosterItem(contact=ALICE, pending_in=True)
    assert exchange(ALICE, FOR_BOB, FOR_ALICE, Act.SUBSCRIBE) == Exchange(
        item=asking,
        changes=(
            RosterChange(owner=ALICE, previous=FOR_BOB, item=asking),
            RosterChange(owner=BOB, previous=FOR_ALICE, item=asked),
        ),
        events=(
            Event(owner=ALICE, before=FOR_BOB, item=asking, push=True),
            Event(owner=BOB, before=FOR_ALICE, item=asked, shown=Act.SUBSCRIBE),
        ),
    )


def test_an_answer_given_in_place_is_one_change_and_one_event_for_each() -> None:
    granted = RosterItem(contact=BOB, subscription=Subscription.TO, listed=True)
    seen = RosterItem(contact=ALICE, subscription=Subscription.FROM, listed=True)
    done = exchange(ALICE, FOR_BOB, FOR_ALICE, Act.SUBSCRIBE, in_place=Act.SUBSCRIBED)
    assert done.item == granted
    assert {e.owner: e for e in done.events} == {
        ALICE: Event(owner=ALICE, before=FOR_BOB, item=granted, shown=Act.SUBSCRIBED, push=True),
        BOB: Event(owner=BOB, before=FOR_ALICE, item=seen, push=True),
    }
    assert [(c.owner, c.item) for c in done.changes] == [(ALICE, granted), (BOB, seen)]


def test_what_changes_nothing_tells_nothing() -> None:
    both = RosterItem(contact=BOB, subscription=Subscription.BOTH, listed=True)
    theirs = RosterItem(contact=ALICE, subscription=Subscription.BOTH, listed=True)
    for act in (Act.SUBSCRIBE, Act.SUBSCRIBED):
        assert exchange(ALICE, both, theirs, act) == Exchange(item=both, changes=(), events=())


def test_a_lost_answer_is_given_again() -> None:
    asking = RosterItem(contact=BOB, ask=True, listed=True)
    seen = RosterItem(contact=ALICE, subscription=Subscription.FROM, listed=True)
    done = exchange(ALICE, asking, seen, Act.SUBSCRIBE)
    assert (done.item.subscription, [e.shown for e in done.events]) == (Subscription.TO, [Act.SUBSCRIBED])


acts = st.lists(st.tuples(st.booleans(), st.sampled_from([*Act, None])), max_size=12)


@given(acts)
def test_two_rosters_never_disagree(story: list[tuple[bool, Act | None]]) -> None:
    """None stands for the removal of the roster item."""
    items = {ALICE: FOR_BOB, BOB: FOR_ALICE}
    for alices, act in story:
        user, contact = (ALICE, BOB) if alices else (BOB, ALICE)
        mine, theirs = items[user], items[contact]
        done = exchange(user, mine, theirs, act) if act else parting(user, mine, theirs)
        for change in done.changes:
            assert change.previous == items[change.owner]
            items[change.owner] = change.item
        assert items[user] == done.item
        for one, other in ((items[ALICE], items[BOB]), (items[BOB], items[ALICE])):
            assert one.sees == other.seen
            assert one.ask == other.pending_in
            assert not (one.sees and one.ask)
        told = {e.owner: e.item for e in done.events}
        assert told == {owner: items[owner] for owner in told}
