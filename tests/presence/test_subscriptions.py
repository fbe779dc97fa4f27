"""The tables of RFC 6121 appendix A, row by row."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from presence.address import Address
from presence.model import Text
from presence.subscriptions import Act, RosterItem, Step, Subscription, inbound, outbound, removal

CONTACT = Address("juliet", "example.com")
STATES = (
    "None",
    "None + Pending Out",
    "None + Pending In",
    "None + Pending Out+In",
    "To",
    "To + Pending In",
    "From",
    "From + Pending Out",
    "Both",
)
CARRIED, KEPT = True, False
SAME = ""


def in_state(state: str, *, listed: bool = True, approved: bool = False) -> RosterItem:
    name, _, pending = state.partition(" + Pending ")
    return RosterItem(
        contact=CONTACT,
        subscription=Subscription(name.lower()),
        ask="Out" in pending,
        pending_in="In" in pending,
        listed=listed,
        approved=approved,
    )


# table → for each of the nine states: (route or deliver, new state)
OUTBOUND: dict[Act, tuple[tuple[bool, str], ...]] = {
    # table 2
    Act.SUBSCRIBE: (
        (CARRIED, "None + Pending Out"),
        (CARRIED, SAME),
        (CARRIED, "None + Pending Out+In"),
        (CARRIED, SAME),
        (CARRIED, SAME),
        (CARRIED, SAME),
        (CARRIED, "From + Pending Out"),
        (CARRIED, SAME),
        (CARRIED, SAME),
    ),
    # table 3
    Act.UNSUBSCRIBE: (
        (CARRIED, SAME),
        (CARRIED, "None"),
        (CARRIED, SAME),
        (CARRIED, "None + Pending In"),
        (CARRIED, "None"),
        (CARRIED, "None + Pending In"),
        (CARRIED, SAME),
        (CARRIED, "From"),
        (CARRIED, "From"),
    ),
    # table 4
    Act.SUBSCRIBED: (
        (KEPT, SAME),
        (KEPT, SAME),
        (CARRIED, "From"),
        (CARRIED, "From + Pending Out"),
        (KEPT, SAME),
        (CARRIED, "Both"),
        (KEPT, SAME),
        (KEPT, SAME),
        (KEPT, SAME),
    ),
    # table 5
    Act.UNSUBSCRIBED: (
        (KEPT, SAME),
        (KEPT, SAME),
        (CARRIED, "None"),
        (CARRIED, "None + Pending Out"),
        (KEPT, SAME),
        (CARRIED, "To"),
        (CARRIED, "None"),
        (CARRIED, "None + Pending Out"),
        (CARRIED, "To"),
    ),
}
INBOUND: dict[Act, tuple[tuple[bool, str], ...]] = {
    # table 6
    Act.SUBSCRIBE: (
        (CARRIED, "None + Pending In"),
        (CARRIED, "None + Pending Out+In"),
        (KEPT, SAME),
        (KEPT, SAME),
        (CARRIED, "To + Pending In"),
        (KEPT, SAME),
        (KEPT, SAME),
        (KEPT, SAME),
        (KEPT, SAME),
    ),
    # table 7
    Act.UNSUBSCRIBE: (
        (KEPT, SAME),
        (KEPT, SAME),
        (CARRIED, "None"),
        (CARRIED, "None + Pending Out"),
        (KEPT, SAME),
        (CARRIED, "To"),
        (CARRIED, "None"),
        (CARRIED, "None + Pending Out"),
        (CARRIED, "To"),
    ),
    # table 8
    Act.SUBSCRIBED: (
        (KEPT, SAME),
        (CARRIED, "To"),
        (KEPT, SAME),
        (CARRIED, "To + Pending In"),
        (KEPT, SAME),
        (KEPT, SAME),
        (KEPT, SAME),
        (CARRIED, "Both"),
        (KEPT, SAME),
    ),
    # table 9
    Act.UNSUBSCRIBED: (
        (KEPT, SAME),
        (CARRIED, "None"),
        (KEPT, SAME),
        (CARRIED, "None + Pending In"),
        (CARRIED, "None"),
        (CARRIED, "None + Pending In"),
        (KEPT, SAME),
        (CARRIED, "From"),
        (CARRIED, "From"),
    ),
}


def rows(table: dict[Act, tuple[tuple[bool, str], ...]]) -> list[tuple[Act, str, bool, str]]:
    return [
        (act, state, carry, after or state)
        for act, answers in table.items()
        for state, (carry, after) in zip(STATES, answers, strict=True)
    ]


@pytest.mark.parametrize(("act", "state", "route", "after"), rows(OUTBOUND))
def test_an_outbound_act_follows_its_table(act: Act, state: str, route: bool, after: str) -> None:
    step = outbound(in_state(state), act)
    assert (step.carry, step.item.standing) == (route, after)


@pytest.mark.parametrize(("act", "state", "deliver", "after"), rows(INBOUND))
def test_an_inbound_act_follows_its_table(act: Act, state: str, deliver: bool, after: str) -> None:
    step = inbound(in_state(state), act)
    assert (step.carry, step.item.standing) == (deliver, after)


@pytest.mark.parametrize("state", STATES)
def test_the_server_replies_for_the_user_where_footnotes_say_so(state: str) -> None:
    item = in_state(state)
    assert inbound(item, Act.SUBSCRIBE).reply == (Act.SUBSCRIBED if item.seen else None)
    answered = item.seen or item.pending_in
    assert inbound(item, Act.UNSUBSCRIBE).reply == (Act.UNSUBSCRIBED if answered else None)
    assert inbound(item, Act.SUBSCRIBED).reply is None
    assert inbound(item, Act.UNSUBSCRIBED).reply is None


@pytest.mark.parametrize("state", ["None", "None + Pending Out", "To"])
def test_subscribed_without_a_request_approves_beforehand(state: str) -> None:
    step = outbound(in_state(state), Act.SUBSCRIBED)
    assert step == Step(before=in_state(state), item=in_state(state, approved=True), carry=False)
    assert step.push


@pytest.mark.parametrize(
    ("state", "after"), [("None", "From"), ("None + Pending Out", "From + Pending Out"), ("To", "Both")]
)
def test_a_request_approved_beforehand_is_answered_and_not_shown(state: str, after: str) -> None:
    item = in_state(state, approved=True)
    assert inbound(item, Act.SUBSCRIBE) == Step(
        before=item, item=in_state(after, approved=True), carry=False, reply=Act.SUBSCRIBED
    )


@pytest.mark.parametrize("state", STATES)
def test_unsubscribed_ends_an_approval_given_beforehand(state: str) -> None:
    step = outbound(in_state(state, approved=True), Act.UNSUBSCRIBED)
    assert not step.item.approved
    assert step.push


def test_a_request_is_no_item_in_the_roster_until_it_is_approved() -> None:
    nobody = RosterItem(contact=CONTACT)
    asked = inbound(nobody, Act.SUBSCRIBE, (Text("please"),), b"<x/>")
    assert (asked.item.listed, asked.push) == (False, False)
    assert (asked.item.request, asked.item.opaque) == ((Text("please"),), b"<x/>")
    approved = outbound(asked.item, Act.SUBSCRIBED)
    assert approved.item == replace(nobody, subscription=Subscription.FROM, listed=True)
    assert approved.push
    denied = outbound(asked.item, Act.UNSUBSCRIBED)
    assert (denied.item, denied.push, denied.carry) == (nobody, False, True)


def test_a_request_repeated_keeps_the_first_ones_words() -> None:
    asked = inbound(RosterItem(contact=CONTACT), Act.SUBSCRIBE, (Text("first"),)).item
    assert inbound(asked, Act.SUBSCRIBE, (Text("second"),)).item == asked


def test_asking_puts_the_contact_into_the_roster() -> None:
    step = outbound(RosterItem(contact=CONTACT), Act.SUBSCRIBE)
    assert step.item == RosterItem(contact=CONTACT, ask=True, listed=True)
    assert step.push


@pytest.mark.parametrize(
    ("state", "acts"),
    [
        ("None", ()),
        ("None + Pending Out", (Act.UNSUBSCRIBE,)),
        ("None + Pending In", (Act.UNSUBSCRIBED,)),
        ("None + Pending Out+In", (Act.UNSUBSCRIBE, Act.UNSUBSCRIBED)),
        ("To", (Act.UNSUBSCRIBE,)),
        ("To + Pending In", (Act.UNSUBSCRIBE, Act.UNSUBSCRIBED)),
        ("From", (Act.UNSUBSCRIBED,)),
        ("From + Pending Out", (Act.UNSUBSCRIBE, Act.UNSUBSCRIBED)),
        ("Both", (Act.UNSUBSCRIBE, Act.UNSUBSCRIBED)),
    ],
)
def test_removing_a_contact_ends_both_directions(state: str, acts: tuple[Act, ...]) -> None:
    gone = removal(in_state(state, approved=True))
    assert (gone.item, gone.acts) == (RosterItem(contact=CONTACT), acts)


@pytest.mark.parametrize("acts", list(itertools.product(Act, repeat=3)))
def test_nobody_is_seen_whom_they_did_not_approve(acts: tuple[Act, ...]) -> None:
    item = RosterItem(contact=CONTACT)
    approved = False
    for act in acts:
        item = inbound(item, act).item
        assert approved or not item.seen
        item = outbound(item, act).item
        approved = approved or act is Act.SUBSCRIBED
        assert approved or not item.seen
