"""The service on the bus in memory and on a real SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from presence.address import Address
from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.sql import SqlStore
from presence.errors import Condition, Refused
from presence.memory import MemoryBus
from presence.messages import Accepted, Delivery, InstantMessage
from presence.model import PresenceTuple, Source, Text
from presence.ports import (
    AccountChanged,
    Accounts,
    AuthorisationChanged,
    Deliver,
    Endpoint,
    EndpointKind,
    Failed,
    Lease,
    NodeInfo,
    PresenceChanged,
    Relay,
    RosterChange,
    SourceWrite,
    Update,
)
from presence.service import MAX_REQUESTS, MAX_ROSTER, PresenceService, Standing
from presence.subscriptions import Act, RosterItem, Subscription
from tests.support.stores import new_store

DOMAIN = "example.org"
ALICE, BOB, CAROL, DAVE = (Address(name, DOMAIN) for name in ("alice", "bob", "carol", "dave"))
"Alice and carol have XMPP clients, bob and dave only phones."
NOBODY = Address("nobody", DOMAIN)
STRANGER = Address("eve", "elsewhere.example")
NOW = 1_700_000_000.0
Shown = tuple[Address, str, bool, str]


class Tally:
    """Counts as the metrics port has it."""

    def __init__(self) -> None:
        self.counts: dict[str, float] = {}

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        key = ":".join((name, *labels.values()))
        self.counts[key] = self.counts.get(key, 0) + amount

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        self.counts[name] = value


class House:
    """One service of each policy over the same bus, store and accounts."""

    def __init__(self, store: SqlStore, accounts: Accounts) -> None:
        self.now = NOW
        self.bus = MemoryBus(clock=lambda: self.now)
        self.store = store
        self.accounts = accounts
        self.metrics = Tally()
        self.allow, self.ask, self.deny = (self.service(policy) for policy in ("allow", "ask", "deny"))

    def service(
        self, policy: str, node: str = "xmpp-1", neighbours: frozenset[str] = frozenset()
    ) -> PresenceService:
        return PresenceService(
            node=node,
            incarnation="i1",
            domains=frozenset({DOMAIN}),
            neighbours=neighbours,
            bus=self.bus,
            store=self.store,
            accounts=self.accounts,
            metrics=self.metrics,
            clock=lambda: self.now,
            phone_policy=policy,
        )

    async def online(self, address: Address, node: str = "xmpp-1") -> None:
        kind = EndpointKind.XMPP if node.startswith("xmpp") else EndpointKind.SIP
        endpoint = Endpoint(id=f"{kind}:desk", kind=kind, node=node, lease=Lease(owner=f"{node}/i1"))
        await self.allow.publish(address, Update(put_endpoints=(endpoint,)))

    def told(self, node: str = "xmpp-1") -> list[Shown]:
        """Owner, stanza shown, roster push, state afterwards: of each change the node heard of."""
        return [
            (e.owner, e.stanza, e.push, e.item.standing)
            for e in self.bus.drain(node)
            if isinstance(e, AuthorisationChanged)
        ]

    async def standings(self, one: Address, other: Address) -> tuple[str, str]:
        mine, theirs = await self.store.pair(one, other)
        return mine.standing, theirs.standing


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    store = await new_store(tmp_path / "tandem.db", people)
    yield House(store, open_accounts(AccountSettings(), store))
    await store.close()


async def people(store: SqlStore) -> None:
    accounts = open_accounts(AccountSettings(), store)
    for address in (ALICE, BOB, CAROL, DAVE):
        await accounts.add(address, "secret")
    for address in (ALICE, CAROL):
        await accounts.seen_on_xmpp(address)


def message(**fields: object) -> InstantMessage:
    given: dict[str, object] = {
        "id": "",
        "trace": "",
        "created": 0.0,
        "sender": ALICE,
        "recipient": BOB,
        "bodies": (Text("hello"),),
        "copied": False,
        **fields,
    }
    return InstantMessage(**given)  # type: ignore[arg-type]


# --- who may see whom ---------------------------------------------------------------------------


async def test_everybody_may_see_themselves(house: House) -> None:
    decision = await house.deny.request(BOB, BOB)
    assert (decision.standing, decision.reason) == (Standing.ACTIVE, "own presence")


@pytest.mark.parametrize("presentity", [NOBODY, STRANGER, Address("", DOMAIN)])
async def test_there_is_no_such_presentity(house: House, presentity: Address) -> None:
    for ask in (house.allow.decide, house.allow.request):
        assert (await ask(ALICE, presentity)).standing is Standing.NO_SUCH_PRESENTITY
    assert (await house.store.roster(ALICE))[1] == []


async def test_a_phones_wish_to_see_is_shown_once_and_waits(house: House) -> None:
    await house.online(ALICE)
    for _ in range(3):
        decision = await house.allow.request(BOB, ALICE, notes=(Text("it is me"),))
        assert (decision.standing, decision.reason) == (
            Standing.PENDING,
            "pending: alice@example.org has not answered",
        )
    assert house.told() == [(ALICE, "subscribe", False, "None + Pending In")]
    assert (await house.store.item(ALICE, BOB)).request == (Text("it is me"),)
    assert await house.standings(BOB, ALICE) == ("None + Pending Out", "None + Pending In")


async def test_to_decide_changes_nothing(house: House) -> None:
    assert (await house.allow.decide(BOB, ALICE)).standing is Standing.PENDING
    assert (await house.allow.decide(ALICE, BOB)).reason == "policy: allow"
    assert await house.standings(ALICE, BOB) == ("None", "None")


async def test_an_approval_reaches_both_and_whoever_waits_for_the_presentity(house: House) -> None:
    await house.online(ALICE)
    sip = house.service("allow", "sip-1")
    await sip.request(BOB, ALICE)
    await sip.watch([ALICE])
    house.told()
    item = await house.allow.act(ALICE, BOB, Act.SUBSCRIBED)
    assert item == RosterItem(contact=BOB, subscription=Subscription.FROM, listed=True)
    assert house.told() == [(ALICE, "", True, "From")]
    assert house.told("sip-1") == [(ALICE, "", True, "From")]
    assert await house.standings(BOB, ALICE) == ("To", "From")
    assert (await sip.decide(BOB, ALICE)).reason == "roster: from"


async def test_the_watchers_clients_are_shown_the_answer(house: House) -> None:
    await house.online(CAROL)
    await house.allow.act(CAROL, ALICE, Act.SUBSCRIBE)
    assert house.told() == [(CAROL, "", True, "None + Pending Out")]
    await house.allow.act(ALICE, CAROL, Act.SUBSCRIBED)
    assert house.told() == [(CAROL, "subscribed", True, "To")]


async def test_a_denial_ends_the_request_and_may_be_followed_by_another(house: House) -> None:
    await house.allow.request(BOB, ALICE)
    await house.online(ALICE)
    await house.allow.act(ALICE, BOB, Act.UNSUBSCRIBED)
    assert house.told() == [(ALICE, "", False, "None")]
    assert await house.standings(BOB, ALICE) == ("None", "None")
    assert (await house.store.roster(ALICE))[1] == []
    await house.allow.request(BOB, ALICE)
    assert house.told() == [(ALICE, "subscribe", False, "None + Pending In")]


async def test_a_cancellation_leaves_the_other_direction(house: House) -> None:
    for one, other in ((ALICE, CAROL), (CAROL, ALICE)):
        await house.allow.act(one, other, Act.SUBSCRIBE)
        await house.allow.act(other, one, Act.SUBSCRIBED)
    assert await house.standings(ALICE, CAROL) == ("Both", "Both")
    await house.allow.act(ALICE, CAROL, Act.UNSUBSCRIBED)
    assert await house.standings(ALICE, CAROL) == ("To", "From")
    assert (await house.allow.decide(CAROL, ALICE)).standing is Standing.PENDING


async def test_what_was_approved_beforehand_is_granted_without_asking(house: House) -> None:
    await house.allow.act(ALICE, CAROL, Act.SUBSCRIBED)
    await house.online(ALICE)
    await house.allow.act(CAROL, ALICE, Act.SUBSCRIBE)
    assert house.told() == [(ALICE, "", True, "From")]
    assert await house.standings(CAROL, ALICE) == ("To", "From")


# --- people with only a phone -------------------------------------------------------------------


async def test_policy_allow_grants_at_once_and_tells_both(house: House) -> None:
    await house.online(ALICE)
    await house.online(BOB, "sip-1")
    item = await house.allow.act(ALICE, BOB, Act.SUBSCRIBE)
    assert item.standing == "To"
    assert house.told() == [(ALICE, "subscribed", True, "To")]
    assert house.told("sip-1") == [(BOB, "", True, "From")]
    assert (await house.allow.decide(ALICE, BOB)).reason == "roster: from"


async def test_two_phones_see_each_other_under_policy_allow(house: House) -> None:
    assert (await house.allow.request(BOB, DAVE)).reason == "roster: from"
    assert await house.standings(BOB, DAVE) == ("To", "From")
    assert (await house.store.roster(BOB))[0] == "1"
    await house.allow.request(BOB, DAVE)
    assert (await house.store.roster(BOB))[0] == "1"


async def test_policy_allow_answers_requests_that_waited(house: House) -> None:
    assert (await house.ask.request(ALICE, BOB)).standing is Standing.PENDING
    assert await house.standings(ALICE, BOB) == ("None + Pending Out", "None + Pending In")
    assert (await house.allow.request(ALICE, BOB)).standing is Standing.ACTIVE
    assert await house.standings(ALICE, BOB) == ("To", "From")


async def test_policy_allow_is_for_our_own_people(house: House) -> None:
    assert (await house.allow.request(STRANGER, BOB)).standing is Standing.PENDING


async def test_policy_deny_refuses_and_leaves_nothing_pending(house: House) -> None:
    await house.online(ALICE)
    assert (await house.deny.request(ALICE, BOB)).standing is Standing.REJECTED
    assert await house.standings(ALICE, BOB) == ("None", "None")
    await house.deny.act(ALICE, BOB, Act.SUBSCRIBE)
    assert house.told() == [(ALICE, "unsubscribed", True, "None")]


async def test_who_has_an_xmpp_client_answers_for_themselves(house: House) -> None:
    await house.accounts.seen_on_xmpp(BOB)
    assert (await house.allow.request(ALICE, BOB)).standing is Standing.PENDING


async def test_the_first_xmpp_login_is_known_everywhere_at_once(house: House) -> None:
    await house.bus.join(NodeInfo(name="sip-1", role="sip", incarnation="i1", started=NOW, beat=NOW))
    for _ in range(2):
        await house.allow.seen_on_xmpp(BOB)
    assert house.bus.drain("sip-1") == [AccountChanged(address=BOB)]
    assert (await house.allow.request(ALICE, BOB)).standing is Standing.PENDING


# --- rosters ------------------------------------------------------------------------------------


async def test_an_unknown_contact_looks_like_one_who_does_not_answer(house: House) -> None:
    item = await house.allow.act(ALICE, NOBODY, Act.SUBSCRIBE)
    assert item.standing == "None + Pending Out"
    assert (await house.store.roster(NOBODY))[1] == []


@pytest.mark.parametrize(
    ("contact", "condition"), [(ALICE, Condition.NOT_ALLOWED), (STRANGER, Condition.REMOTE_NOT_FOUND)]
)
async def test_some_cannot_be_asked(house: House, contact: Address, condition: Condition) -> None:
    with pytest.raises(Refused) as refused:
        await house.allow.act(ALICE, contact, Act.SUBSCRIBE)
    assert refused.value.condition is condition
    assert (await house.store.roster(ALICE))[1] == []


async def test_a_roster_item_is_set_pushed_and_removed(house: House) -> None:
    await house.online(ALICE)
    item = await house.allow.set_item(ALICE, CAROL, "Carol", ("Friends",))
    assert item == RosterItem(contact=CAROL, listed=True, name="Carol", groups=("Friends",))
    assert await house.allow.roster(ALICE) == ("1", [item])
    await house.allow.remove_item(ALICE, CAROL)
    assert await house.allow.roster(ALICE) == ("2", [])
    assert house.told() == [(ALICE, "", True, "None"), (ALICE, "", True, "None")]
    with pytest.raises(Refused) as refused:
        await house.allow.remove_item(ALICE, CAROL)
    assert refused.value.condition is Condition.ITEM_NOT_FOUND


async def test_removal_ends_both_directions_and_shows_it_to_the_contact(house: House) -> None:
    for one, other in ((ALICE, CAROL), (CAROL, ALICE)):
        await house.allow.act(one, other, Act.SUBSCRIBE)
        await house.allow.act(other, one, Act.SUBSCRIBED)
    await house.online(CAROL)
    await house.allow.remove_item(ALICE, CAROL)
    assert house.told() == [(CAROL, "unsubscribe", True, "To"), (CAROL, "unsubscribed", True, "None")]
    assert (await house.store.roster(ALICE))[1] == []
    assert (await house.store.item(CAROL, ALICE)).listed


async def test_a_pending_request_is_no_item_to_remove(house: House) -> None:
    await house.allow.request(BOB, ALICE)
    with pytest.raises(Refused):
        await house.allow.remove_item(ALICE, BOB)


@pytest.mark.parametrize(("name", "groups"), [("n" * 1024, ()), ("", ("g" * 1024,)), ("", ("g",) * 101)])
async def test_overlong_names_are_refused(house: House, name: str, groups: tuple[str, ...]) -> None:
    with pytest.raises(Refused) as refused:
        await house.allow.set_item(ALICE, CAROL, name, groups)
    assert refused.value.condition is Condition.NOT_ACCEPTABLE


async def test_a_request_cannot_say_without_bound(house: House) -> None:
    with pytest.raises(Refused) as refused:
        await house.allow.act(CAROL, ALICE, Act.SUBSCRIBE, opaque=b"x" * 20_000)
    assert refused.value.condition is Condition.POLICY_VIOLATION


async def test_acts_of_both_at_once_lose_nothing(house: House) -> None:
    await asyncio.gather(
        *(house.allow.set_item(ALICE, CAROL, f"name {n}", ()) for n in range(4)),
        house.allow.act(CAROL, ALICE, Act.SUBSCRIBE),
        house.allow.act(ALICE, CAROL, Act.SUBSCRIBE),
    )
    states = await house.standings(ALICE, CAROL)
    assert states == ("None + Pending Out+In", "None + Pending Out+In")
    assert (await house.store.item(ALICE, CAROL)).name.startswith("name ")


# --- presence -----------------------------------------------------------------------------------


async def test_a_publication_reaches_the_nodes_that_watch(house: House) -> None:
    sip = house.service("allow", "sip-1")
    (before,) = await sip.watch([ALICE])
    source = Source(id="xmpp:desk", tuples=(PresenceTuple(id="desk"),))
    update = Update(put_sources=(SourceWrite(source=source, lease=Lease(owner=house.allow.owner)),))
    committed = await house.allow.publish(ALICE, update, "t1")
    assert (before.sources, committed.snapshot.sources) == ((), (source,))
    assert house.bus.drain("sip-1") == [PresenceChanged(snapshot=committed.snapshot, trace="t1")]
    assert await house.allow.snapshots([ALICE]) == [committed.snapshot]
    await sip.unwatch([ALICE])
    await house.allow.publish(ALICE, Update(drop_sources=("xmpp:desk",)))
    assert house.bus.drain("sip-1") == []


async def test_nobody_is_asked_of_where_nobody_is_named(house: House) -> None:
    assert await house.allow.watch([]) == await house.allow.snapshots([]) == []


# --- messages -----------------------------------------------------------------------------------


async def test_a_message_gets_what_it_lacks_and_goes_to_the_endpoints(house: House) -> None:
    await house.online(BOB, "sip-1")
    submission = await house.allow.submit(message(origin_id="o1"))
    assert (submission.accepted, submission.endpoints) == (Accepted.LIVE, ("sip:desk",))
    (delivery,) = house.bus.drain("sip-1")
    assert isinstance(delivery, Deliver)
    assert delivery.message == message(
        id=delivery.message.id, trace=delivery.message.id, created=NOW, origin_id="o1"
    )
    assert delivery.message.id


async def test_what_the_door_gave_is_kept(house: House) -> None:
    given = message(id="m1", trace="t1", created=NOW - 1)
    assert (await house.allow.submit(given)).accepted is Accepted.STORED
    await house.online(BOB, "sip-1")
    (delivery,) = house.bus.drain("sip-1")
    assert delivery == Deliver(message=given, endpoints=("sip:desk",), delayed=True)


@pytest.mark.parametrize(
    ("fields", "condition"),
    [
        ({"recipient": NOBODY}, Condition.ITEM_NOT_FOUND),
        ({"recipient": STRANGER}, Condition.REMOTE_NOT_FOUND),
        ({"expires": NOW}, Condition.REMOTE_TIMEOUT),
    ],
)
async def test_what_cannot_be_delivered_is_refused(
    house: House, fields: dict[str, object], condition: Condition
) -> None:
    with pytest.raises(Refused) as refused:
        await house.allow.submit(message(trace="t1", **fields))
    assert refused.value.condition is condition
    _, hops = await house.bus.traces(trace="t1")
    assert [(hop.hop, hop.detail) for hop in hops] == [("refused", condition)]


async def test_a_neighbours_people_get_it_now_or_the_sender_hears_that_they_do_not(house: House) -> None:
    neighbourly = house.service("allow", neighbours=frozenset({STRANGER.domain}))
    for _ in range(2):  # retransmitted, too
        with pytest.raises(Refused) as refused:
            await neighbourly.submit(message(recipient=STRANGER), "branch")
        assert refused.value.condition is Condition.REMOTE_TIMEOUT
    await house.online(Address("", STRANGER.domain), "xmpp-2")
    given = message(id="m1", trace="t1", created=NOW, recipient=STRANGER)
    assert (await neighbourly.submit(given)).accepted is Accepted.LIVE
    (delivery,) = house.bus.drain("xmpp-2")
    assert isinstance(delivery, Deliver)
    assert delivery.message == replace(given, store=False)
    with pytest.raises(Refused) as expired:
        await neighbourly.submit(message(recipient=STRANGER, expires=NOW))
    assert expired.value.condition is Condition.REMOTE_TIMEOUT


async def test_the_sender_is_told_when_every_endpoint_refused(house: House) -> None:
    await house.online(BOB, "sip-1")
    await house.online(ALICE)
    await house.allow.submit(
        message(id="m1", trace="t1", origin_id="o1", sender_endpoint="xmpp:desk", sender_tuple="desk")
    )
    sent = message(id="m1", trace="t1")
    for _ in range(2):
        await house.allow.settle(
            sent, "sip:desk", Delivery.REFUSED, condition="not-acceptable", text="too spicy"
        )
    (failed,) = house.bus.drain("xmpp-1")
    assert isinstance(failed, Failed)
    failure = failed.failure
    assert (failure.condition, failure.text) == (Condition.NOT_ACCEPTABLE, "too spicy")
    assert (failure.message_id, failure.origin_id, failure.trace) == ("m1", "o1", "t1")
    assert (failure.sender, failure.sender_endpoint, failure.recipient) == (ALICE, "xmpp:desk", BOB)
    _, hops = await house.bus.traces(trace="t1")
    assert [hop.hop for hop in hops] == ["submitted", "refused", "failed", "refused"]


async def test_an_unknown_reason_is_told_as_recipient_unavailable(house: House) -> None:
    await house.online(BOB, "sip-1")
    await house.online(ALICE)
    await house.allow.submit(message(id="m1"))
    await house.allow.settle(message(id="m1"), "sip:desk", Delivery.REFUSED, condition="busy")
    (failed,) = house.bus.drain("xmpp-1")
    assert isinstance(failed, Failed)
    assert failed.failure.condition is Condition.RECIPIENT_UNAVAILABLE


async def test_a_relay_tells_if_anybody_got_it(house: House) -> None:
    envelope = Relay(address=BOB, endpoint="", kind=EndpointKind.SIP, payload=b"x")
    assert await house.allow.relay(envelope) == 0
    await house.online(BOB, "sip-1")
    assert await house.allow.relay(envelope) == 1


# --- ids ----------------------------------------------------------------------------------------


def test_ids_grow_even_when_the_clock_stands_or_goes_back(house: House) -> None:
    make: Callable[[], str] = house.allow.new_trace
    ids = [make() for _ in range(1000)]
    house.now -= 60
    ids += [make() for _ in range(1000)]
    house.now += 3600
    ids.append(make())
    assert sorted(set(ids)) == ids
    assert {len(i) for i in ids} == {27}
    assert len({i[-6:] for i in ids}) > 1990


async def test_a_strangers_request_waits_for_the_owner_and_no_policy_of_ours_grants_it(house: House) -> None:
    assert await house.allow.hear(STRANGER, ALICE, Act.SUBSCRIBE, notes=(Text("me"),)) is None
    assert await house.allow.hear(STRANGER, BOB, Act.SUBSCRIBE) is None
    for owner in (ALICE, BOB):
        assert (await house.store.item(owner, STRANGER)).pending_in
    assert (await house.store.item(STRANGER, ALICE)) == RosterItem(contact=ALICE)


async def test_a_stranger_who_may_see_already_is_answered_at_once(house: House) -> None:
    await house.allow.hear(STRANGER, ALICE, Act.SUBSCRIBE)
    await house.allow.act(ALICE, STRANGER, Act.SUBSCRIBED)
    assert (await house.allow.decide(STRANGER, ALICE)).standing is Standing.ACTIVE
    assert await house.allow.hear(STRANGER, ALICE, Act.SUBSCRIBE) is Act.SUBSCRIBED
    assert await house.allow.hear(STRANGER, ALICE, Act.UNSUBSCRIBE) is Act.UNSUBSCRIBED
    assert (await house.allow.decide(STRANGER, ALICE)).standing is Standing.PENDING


async def test_a_stranger_hears_nothing_of_who_exists_or_blocks(house: House) -> None:
    await house.allow.blocking.block(ALICE, [str(STRANGER)])
    assert await house.allow.hear(STRANGER, ALICE, Act.SUBSCRIBE) is None
    assert await house.allow.hear(STRANGER, NOBODY, Act.SUBSCRIBE) is None
    assert not (await house.store.item(ALICE, STRANGER)).pending_in


async def test_only_neighbours_can_be_asked(house: House) -> None:
    with pytest.raises(Refused) as refused:
        await house.allow.act(ALICE, STRANGER, Act.SUBSCRIBE)
    assert refused.value.condition is Condition.REMOTE_NOT_FOUND
    neighbourly = house.service("allow", neighbours=frozenset({STRANGER.domain}))
    item = await neighbourly.act(ALICE, STRANGER, Act.SUBSCRIBE)
    assert item.ask
    assert await neighbourly.hear(STRANGER, ALICE, Act.SUBSCRIBED) is None
    assert (await house.store.item(ALICE, STRANGER)).sees
    assert await neighbourly.remove_item(ALICE, STRANGER) == (Act.UNSUBSCRIBE,)


# --- what a roster holds --------------------------------------------------------------------------


def stranger(number: int) -> Address:
    return Address(f"p{number}", DOMAIN)


async def fill(house: House, *items: RosterItem) -> None:
    """Alice's roster, as it were from long ago."""
    for start in range(0, len(items), 100):
        changes = [
            RosterChange(owner=ALICE, previous=RosterItem(contact=item.contact), item=item)
            for item in items[start : start + 100]
        ]
        await house.store.save(changes)


async def full(action: Awaitable[object]) -> None:
    with pytest.raises(Refused) as refusal:
        await action
    assert refusal.value.condition is Condition.RESOURCE_CONSTRAINT


async def test_requests_of_strangers_are_bounded_and_take_no_room_from_ones_own(house: House) -> None:
    asked = [RosterItem(contact=stranger(number), pending_in=True) for number in range(MAX_REQUESTS)]
    await fill(house, *asked)
    await full(house.ask.request(BOB, ALICE))
    await house.ask.set_item(ALICE, BOB, "Bob", ())
    await house.ask.act(ALICE, stranger(1), Act.SUBSCRIBED)
    await house.ask.request(CAROL, ALICE)


async def test_names_and_groups_of_a_roster_are_bounded_together(house: House) -> None:
    long = ("g" * 1000,)
    listed = [
        RosterItem(contact=stranger(number), listed=True, groups=long) for number in range(MAX_ROSTER // 1020)
    ]
    await fill(house, *listed)
    groups = tuple("g" * (990 + number) for number in range(20))
    await full(house.allow.set_item(ALICE, BOB, "Bob", groups))
    await full(house.allow.set_item(ALICE, stranger(1), "", groups))
    await house.allow.set_item(ALICE, stranger(1), "", ())
    await house.allow.set_item(ALICE, BOB, "Bob", ())


async def test_a_request_says_little(house: House) -> None:
    for much in ({"notes": (Text("x" * 5000),)}, {"opaque": b"x" * 5000}):
        with pytest.raises(Refused) as refusal:
            await house.allow.act(ALICE, BOB, Act.SUBSCRIBE, **much)
        assert refusal.value.condition is Condition.POLICY_VIOLATION
