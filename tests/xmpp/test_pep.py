"""XEP-0163: what people publish, and who is told."""

from __future__ import annotations

import pytest

from presence.subscriptions import Subscription
from tests.xmpp.scene import Client, Scene, bare
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import read_error
from xmpp.extensions.xep_0030_disco import INFO_NS, ITEMS_NS
from xmpp.extensions.xep_0115_caps import NS as CAPS
from xmpp.extensions.xep_0115_caps import verification
from xmpp.extensions.xep_0163_pep import MAX_NODES
from xmpp.forms import FORM_TYPE, read_form
from xmpp.forms import NS as FORM
from xmpp.jid import JID
from xmpp.nodes import MAX_OF_ONE
from xmpp.presence import DELAY_NS
from xmpp.pubsub import ERRORS_NS, EVENT_NS, NS, OWNER_NS
from xmpp.relay import Carried, envelope

TUNE = "http://jabber.org/protocol/tune"
BLOCKING = "urn:xmpp:blocking"


def form(**fields: str) -> Element:
    made = E("x", FORM, {"type": "submit"})
    for name, value in {FORM_TYPE: f"{NS}#publish-options", **fields}.items():
        var = name if name == FORM_TYPE else f"pubsub#{name}"
        made.append(E("field", FORM, {"var": var}, E("value", FORM, {}, value)))
    return made


def tune(title: str) -> Element:
    return E("tune", TUNE, {}, E("title", TUNE, {}, title))


async def publish(
    client: Client, payload: Element, id: str = "", node: str = TUNE, **options: str
) -> Element:
    item = E("item", NS, {"id": id} if id else {}, payload)
    command = E("pubsub", NS, {}, E("publish", NS, {"node": node}, item))
    if options:
        command.append(E("publish-options", NS, {}, form(**options)))
    return await client.ask("set", command)


async def items(client: Client, of: str = "", node: str = TUNE, **attrs: str) -> Element:
    return await client.ask("get", E("pubsub", NS, {}, E("items", NS, {"node": node, **attrs})), of)


def titles(answer: Element) -> list[str]:
    assert answer.get("type") == "result", answer
    (listed,) = answer.elements[0].elements
    return [item.elements[0].elements[0].text for item in listed.elements]


def condition(stanza: Element) -> str:
    return read_error(stanza).condition


def pubsub_condition(stanza: Element) -> str:
    error = stanza.find("error")
    assert error is not None
    return next(c.name for c in error.elements if c.ns == ERRORS_NS)


def events(client: Client) -> list[tuple[str, str, str]]:
    """Sender, node, and title or what else happened."""
    found = []
    for message in client.heard("message"):
        event = message.find("event", EVENT_NS)
        assert event is not None
        (inner,) = event.elements
        what = inner.name
        for item in inner.elements:
            what = item.elements[0].elements[0].text if item.name == "item" else f"retract {item.get('id')}"
        found.append((message.get("from"), inner.get("node"), what))
    return found


async def interested(
    xmpp: Scene, user: str, resource: str = "desk", *, node: str = "xmpp-1", topic: str = TUNE
) -> Client:
    """A client that wants to hear of a topic, tunes unless said otherwise, and says so when it is asked."""
    client = await xmpp.connect(user, resource, node)
    info = E("query", INFO_NS, {}, E("identity", INFO_NS, {"category": "client", "type": "pc"}))
    info.append(E("feature", INFO_NS, {"var": f"{topic}+notify"}))
    ver = verification(info, "sha-1")
    await client.here(E("c", CAPS, {"hash": "sha-1", "node": "urn:client", "ver": ver}))
    for asked in [iq for iq in client.heard_but_keep("iq") if iq.get("type") == "get"]:
        assert asked.elements[0].get("node") == f"urn:client#{ver}"
        answer = {"type": "result", "id": asked.get("id"), "to": asked.get("from")}
        await client.say(E("iq", CLIENT_NS, answer, info))
    return client


def only_messages(client: Client) -> None:
    client.raw = [data for data in client.raw if data.startswith(b"<message")]


# --- publishing and reading -----------------------------------------------------------------------------


async def test_the_last_item_is_kept_and_read_by_whom_one_shows_presence_to(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    await xmpp.people("eve")
    alice, bob, eve = await xmpp.online("alice"), await xmpp.online("bob"), await xmpp.online("eve")
    answer = await publish(alice, tune("One"), "1")
    assert answer.elements == [
        E("pubsub", NS, {}, E("publish", NS, {"node": TUNE}, E("item", NS, {"id": "1"})))
    ]
    await publish(alice, tune("Two"), "2")
    assert titles(await items(alice)) == ["Two"]
    assert titles(await items(bob, bare("alice"))) == ["Two"]
    denied = await items(eve, bare("alice"))
    assert (condition(denied), pubsub_condition(denied)) == (
        "not-authorized", "presence-subscription-required",
    )  # fmt: skip
    assert condition(await items(eve, bare("nobody"))) == "item-not-found"
    assert condition(await items(alice, node="urn:none")) == "item-not-found"


async def test_options_make_the_node_and_are_conditions_afterwards(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    private = {"access_model": "whitelist", "max_items": "max", "persist_items": "true"}
    for n in range(3):
        assert (await publish(alice, tune(str(n)), f"{n}", **private)).get("type") == "result"
    assert titles(await items(alice)) == ["0", "1", "2"]
    assert titles(await items(alice, max_items="2")) == ["1", "2"]
    denied = await items(bob, bare("alice"))
    assert (condition(denied), pubsub_condition(denied)) == ("not-allowed", "closed-node")
    refused = await publish(alice, tune("3"), access_model="open")
    assert (condition(refused), pubsub_condition(refused)) == ("conflict", "precondition-not-met")
    assert titles(await items(alice)) == ["0", "1", "2"]


async def test_the_owner_configures_purges_and_deletes(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    await xmpp.people("eve")
    alice, eve = await xmpp.online("alice"), await xmpp.online("eve")
    await alice.ask("set", E("pubsub", NS, {}, E("create", NS, {"node": TUNE})))
    again = await alice.ask("set", E("pubsub", NS, {}, E("create", NS, {"node": TUNE})))
    assert condition(again) == "conflict"
    configure = E("configure", OWNER_NS, {"node": TUNE}, form(access_model="open", max_items="5"))
    assert (await alice.ask("set", E("pubsub", OWNER_NS, {}, configure))).get("type") == "result"
    asked = await alice.ask("get", E("pubsub", OWNER_NS, {}, E("configure", OWNER_NS, {"node": TUNE})))
    (offered,) = asked.elements[0].elements[0].elements
    fields = read_form(offered)
    assert (fields["pubsub#access_model"], fields["pubsub#max_items"]) == (("open",), ("5",))
    await publish(alice, tune("One"), "1")
    await publish(alice, tune("Two"), "2")
    assert titles(await items(eve, bare("alice"))) == ["One", "Two"]
    retract = E("retract", NS, {"node": TUNE}, E("item", NS, {"id": "1"}))
    assert (await alice.ask("set", E("pubsub", NS, {}, retract))).get("type") == "result"
    assert condition(await alice.ask("set", E("pubsub", NS, {}, retract))) == "item-not-found"
    assert titles(await items(alice)) == ["Two"]
    await alice.ask("set", E("pubsub", OWNER_NS, {}, E("purge", OWNER_NS, {"node": TUNE})))
    assert titles(await items(alice)) == []
    await alice.ask("set", E("pubsub", OWNER_NS, {}, E("delete", OWNER_NS, {"node": TUNE})))
    assert condition(await items(alice)) == "item-not-found"


async def test_nobody_publishes_or_configures_for_another(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await publish(alice, tune("One"))
    for ns, command in (
        (NS, E("publish", NS, {"node": TUNE}, E("item", NS, {}, tune("Eve")))),
        (OWNER_NS, E("delete", OWNER_NS, {"node": TUNE})),
    ):
        assert condition(await bob.ask("set", E("pubsub", ns, {}, command), bare("alice"))) == "forbidden"
    assert titles(await items(alice)) == ["One"]


async def test_a_roster_node_is_for_the_groups_it_names(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob", "carol")
    alice, bob, carol = await xmpp.online("alice"), await xmpp.online("bob"), await xmpp.online("carol")
    item = E("item", "jabber:iq:roster", {"jid": bare("bob")}, E("group", "jabber:iq:roster", {}, "Band"))
    await alice.ask("set", E("query", "jabber:iq:roster", {}, item))
    await publish(alice, tune("One"), access_model="roster", roster_groups_allowed="Band")
    assert titles(await items(bob, bare("alice"))) == ["One"]
    assert pubsub_condition(await items(carol, bare("alice"))) == "not-in-roster-group"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (E("publish", NS, {}, E("item", NS, {}, tune("x"))), "bad-request"),
        (E("publish", NS, {"node": "n" * 513}, E("item", NS, {}, tune("x"))), "bad-request"),
        (E("publish", NS, {"node": TUNE}), "bad-request"),
        (E("publish", NS, {"node": TUNE}, E("item", NS)), "bad-request"),
        (E("publish", NS, {"node": TUNE}, E("item", NS, {}, tune("x"), tune("y"))), "bad-request"),
        (E("publish", NS, {"node": TUNE}, E("item", NS, {"id": "i" * 513}, tune("x"))), "bad-request"),
        (E("retract", NS, {"node": TUNE}, E("item", NS, {"id": "1"})), "item-not-found"),
        (E("subscribe", NS, {"node": TUNE, "jid": "alice@example.org"}), "item-not-found"),
        (E("options", NS, {"node": TUNE, "jid": "alice@example.org"}), "feature-not-implemented"),
    ],
)
async def test_bad_commands_are_refused(xmpp: Scene, command: Element, expected: str) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    assert condition(await alice.ask("set", E("pubsub", NS, {}, command))) == expected


@pytest.mark.parametrize(
    "options",
    [{"access_model": "authorize"}, {"max_items": "-1"}, {"max_items": "x"}, {"persist_items": "?"}],
)
async def test_values_nobody_can_keep_are_not_acceptable(xmpp: Scene, options: dict[str, str]) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    assert condition(await publish(alice, tune("x"), **options)) == "not-acceptable"
    assert condition(await items(alice)) == "item-not-found"


async def test_only_so_many_nodes_are_kept(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    for n in range(MAX_NODES):
        await publish(alice, tune("x"), node=f"urn:{n}")
    assert condition(await publish(alice, tune("x"), node="urn:more")) == "resource-constraint"


# --- being told -----------------------------------------------------------------------------------------


async def test_who_wants_to_hear_of_it_is_told_wherever_they_are(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    await xmpp.people("eve")
    alice = await interested(xmpp, "alice")
    phone = await interested(xmpp, "alice", "phone", node="xmpp-2")
    bob = await interested(xmpp, "bob", node="xmpp-2")
    deaf = await xmpp.online("bob", "deaf")
    eve = await interested(xmpp, "eve")
    for client in (alice, phone, bob, deaf, eve):
        client.heard()
    await publish(alice, tune("One"), "1")
    told = [(bare("alice"), TUNE, "One")]
    assert [events(c) for c in (phone, bob, deaf, eve)] == [told, told, [], []]
    only_messages(alice)
    assert events(alice) == told
    retract = E("retract", NS, {"node": TUNE, "notify": "1"}, E("item", NS, {"id": "1"}))
    await alice.ask("set", E("pubsub", NS, {}, retract))
    assert events(bob) == [(bare("alice"), TUNE, "retract 1")]
    await alice.ask("set", E("pubsub", OWNER_NS, {}, E("delete", OWNER_NS, {"node": TUNE})))
    assert events(bob) == [(bare("alice"), TUNE, "delete")]


async def test_what_is_private_is_told_to_ones_own_clients_alone(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await interested(xmpp, "alice"), await interested(xmpp, "bob")
    bob.heard()
    alice.heard()
    await publish(alice, tune("secret"), access_model="whitelist")
    assert events(bob) == []
    assert [title for _, _, title in events(alice)] == ["secret"]
    again = await interested(xmpp, "bob", "again")
    only_messages(again)
    assert events(again) == []


async def test_a_client_that_comes_online_is_shown_the_last_item_once(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice = await xmpp.online("alice")
    await publish(alice, tune("One"), "1", max_items="10")
    await publish(alice, tune("Two"), "2")
    bob = await interested(xmpp, "bob")
    only_messages(bob)
    (message,) = bob.heard_but_keep("message")
    assert message.find("delay", DELAY_NS) is not None
    assert events(bob) == [(bare("alice"), TUNE, "Two")]
    phone = await interested(xmpp, "alice", "phone")  # of oneself, too
    only_messages(phone)
    assert events(phone) == [(bare("alice"), TUNE, "Two")]
    await publish(alice, tune("Three"), send_last_published_item="on_sub_and_presence")
    third = await interested(xmpp, "bob", "third")  # its capabilities are known by now
    only_messages(third)
    assert [title for _, _, title in events(third)] == ["Three"]


async def test_the_blocked_are_neither_told_nor_shown(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await interested(xmpp, "bob")
    await publish(alice, tune("One"))
    await alice.ask("set", E("block", BLOCKING, {}, E("item", BLOCKING, {"jid": bare("bob")})))
    bob.heard()
    await publish(alice, tune("Two"))
    assert events(bob) == []
    assert condition(await items(bob, bare("alice"))) == "item-not-found"
    again = await interested(xmpp, "bob", "again")
    only_messages(again)
    assert events(again) == []


async def test_a_blocked_resource_is_neither_told_nor_shown(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await interested(xmpp, "bob")
    work = await interested(xmpp, "bob", "work", node="xmpp-2")
    await alice.ask("set", E("block", BLOCKING, {}, E("item", BLOCKING, {"jid": work.jid})))
    for client in (bob, work):
        client.heard()
    await publish(alice, tune("One"))
    assert (events(bob), events(work)) == ([(bare("alice"), TUNE, "One")], [])
    assert condition(await items(work, bare("alice"))) == "service-unavailable"
    await work.gone()
    work = await interested(xmpp, "bob", "work")
    only_messages(work)
    assert events(work) == []


async def test_what_another_version_sends_is_left_out(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    bob = await interested(xmpp, "bob")
    bob.heard()
    to = JID.of(bob.session.address)
    carried = Carried(EVENT_NS, TUNE, bare("alice"), to.full, "1", b"<event/>")
    await xmpp.nodes["xmpp-1"].service.relay(envelope(carried, to))
    await xmpp.settle()
    assert events(bob) == []


async def test_who_does_not_see_her_presence_is_not_told(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    await xmpp.roster("alice", "bob", Subscription.TO)
    await xmpp.roster("bob", "alice", Subscription.FROM)
    alice, bob = await xmpp.online("alice"), await interested(xmpp, "bob")
    bob.heard()
    await publish(alice, tune("One"))
    assert events(bob) == []


# --- members, and who asks to hear ---------------------------------------------------------------------


async def affiliate(client: Client, node: str = TUNE, **given: str) -> Element:
    """`bob="member"`."""
    listed = E("affiliations", OWNER_NS, {"node": node})
    for who, value in given.items():
        listed.child("affiliation", attrs={"jid": bare(who), "affiliation": value})
    return await client.ask("set", E("pubsub", OWNER_NS, {}, listed))


async def affiliations(client: Client, ns: str, of: str = "", **attrs: str) -> list[dict[str, str]]:
    answer = await client.ask("get", E("pubsub", ns, {}, E("affiliations", ns, attrs)), of)
    return [each.attrs for each in answer.elements[0].elements[0].elements]


async def test_the_members_of_a_whitelist_read_it_and_are_told(xmpp: Scene) -> None:
    """XEP-0060 §8.9."""
    await xmpp.friends("alice", "bob", "carol")
    alice = await xmpp.online("alice")
    bob, carol = await interested(xmpp, "bob", node="xmpp-2"), await interested(xmpp, "carol")
    await publish(alice, tune("One"), access_model="whitelist")
    assert pubsub_condition(await items(bob, bare("alice"))) == "closed-node"
    assert (await affiliate(alice, bob="member", carol="outcast")).get("type") == "result"
    for client in (bob, carol):
        only_messages(client)
        client.heard()
    assert titles(await items(bob, bare("alice"))) == ["One"]
    assert condition(await items(carol, bare("alice"))) == "forbidden"
    await publish(alice, tune("Two"))
    assert (events(bob), events(carol)) == ([(bare("alice"), TUNE, "Two")], [])
    assert await affiliations(alice, OWNER_NS, node=TUNE) == [
        {"jid": bare("alice"), "affiliation": "owner"},
        {"jid": bare("bob"), "affiliation": "member"},
        {"jid": bare("carol"), "affiliation": "outcast"},
    ]
    assert await affiliations(bob, NS, bare("alice")) == [{"node": TUNE, "affiliation": "member"}]
    await affiliate(alice, bob="none")
    assert pubsub_condition(await items(bob, bare("alice"))) == "closed-node"
    assert await affiliations(bob, NS, bare("alice")) == []


async def test_an_outcast_is_told_of_nothing(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await interested(xmpp, "bob")
    await publish(alice, tune("One"), access_model="open")
    await affiliate(alice, bob="outcast")
    bob.heard()
    await publish(alice, tune("Two"))
    assert events(bob) == []
    again = await interested(xmpp, "bob", "again")
    only_messages(again)
    assert events(again) == []


async def test_a_node_is_its_owners_alone(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await publish(alice, tune("One"))
    assert condition(await affiliate(alice, alice="none")) == "not-acceptable"
    assert condition(await affiliate(alice, bob="owner")) == "not-acceptable"
    refused = await affiliate(alice, bob="publisher", carol="member")
    assert (condition(refused), pubsub_condition(refused)) == ("feature-not-implemented", "unsupported")
    assert await affiliations(alice, OWNER_NS, node=TUNE) == [{"jid": bare("alice"), "affiliation": "owner"}]
    asked = E("pubsub", OWNER_NS, {}, E("affiliations", OWNER_NS, {"node": TUNE}))
    assert condition(await bob.ask("get", asked, bare("alice"))) == "forbidden"


async def subscribing(client: Client, jid: str, action: str = "subscribe", node: str = TUNE) -> Element:
    return await client.ask(
        "set", E("pubsub", NS, {}, E(action, NS, {"node": node, "jid": jid})), bare("alice")
    )


async def subscriptions(client: Client, **attrs: str) -> list[tuple[str, str, str]]:
    answer = await client.ask("get", E("pubsub", NS, {}, E("subscriptions", NS, attrs)), bare("alice"))
    found = answer.elements[0].elements[0].elements
    return [(each.get("node"), each.get("jid"), each.get("subscription")) for each in found]


async def test_who_does_not_see_her_asks_to_hear_of_what_is_open(xmpp: Scene) -> None:
    """XEP-0163 §4, XEP-0060 §6.1, §6.2."""
    await xmpp.people("alice", "bob")
    alice = await xmpp.online("alice")
    bob, sofa = await xmpp.online("bob", node="xmpp-2"), await xmpp.online("bob", "sofa")
    await publish(alice, tune("One"), access_model="open")
    await publish(alice, tune("Secret"), node="urn:secret")
    for client in (bob, sofa):
        client.heard()
    refused = await subscribing(bob, bare("bob"), node="urn:secret")
    assert pubsub_condition(refused) == "presence-subscription-required"
    assert pubsub_condition(await subscribing(bob, bare("alice"))) == "invalid-jid"
    answer = await subscribing(bob, bare("bob"))
    (subscription,) = answer.elements[0].elements
    assert subscription.attrs == {"node": TUNE, "jid": bare("bob"), "subscription": "subscribed"}
    assert events(bob) == [(bare("alice"), TUNE, "One")]
    await publish(alice, tune("Two"))
    await publish(alice, tune("More"), node="urn:secret")
    assert events(bob) == events(sofa) == [(bare("alice"), TUNE, "Two")]
    assert await subscriptions(bob) == [(TUNE, bare("bob"), "subscribed")]
    assert await subscriptions(bob, node="urn:secret") == []
    assert pubsub_condition(await subscribing(bob, bob.jid, "unsubscribe")) == "not-subscribed"
    assert (await subscribing(bob, bare("bob"), "unsubscribe")).get("type") == "result"
    await publish(alice, tune("Three"))
    assert (events(bob), await subscriptions(bob)) == ([], [])


async def test_a_resource_asks_for_itself_and_is_told_once(xmpp: Scene) -> None:
    """XEP-0163 §4.3.2."""
    await xmpp.friends("alice", "bob")
    alice = await xmpp.online("alice")
    bob, sofa = await interested(xmpp, "bob"), await xmpp.online("bob", "sofa", "xmpp-2")
    third = await xmpp.online("bob", "third")
    await publish(alice, tune("One"))
    for client in (bob, sofa):
        await subscribing(client, client.jid)
    await subscribing(third, bare("bob"))
    for client in (bob, sofa, third):
        client.heard()
    await publish(alice, tune("Two"))
    assert events(bob) == events(sofa) == [(bare("alice"), TUNE, "Two")]
    assert events(third) == []  # it does not say that it wants to, and is known


async def test_subscriptions_are_bounded_and_go_with_the_node(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await publish(alice, tune("One"), access_model="open")
    for number in range(MAX_OF_ONE):
        assert (await subscribing(bob, f"{bare('bob')}/{number}")).get("type") == "result"
    assert pubsub_condition(await subscribing(bob, bare("bob"))) == "too-many-subscriptions"
    await alice.ask("set", E("pubsub", OWNER_NS, {}, E("delete", OWNER_NS, {"node": TUNE})))
    await publish(alice, tune("Two"), access_model="open")
    assert await subscriptions(bob) == []


async def test_who_looks_through_nodes_is_charged_for_it(xmpp: Scene) -> None:
    """Whoever asks makes all subscribers and all lists of a stranger's nodes be read, in few bytes."""
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await publish(alice, tune("x" * 10_000), access_model="open")
    before = bob.charged
    await subscribing(bob, bare("bob"))
    assert bob.charged - before > 40_000
    before = bob.charged
    await subscriptions(bob, node=TUNE)
    one = bob.charged - before
    for number in range(9):
        await publish(alice, tune("One"), node=f"urn:{number}", access_model="open")
        await subscribing(bob, bare("bob"), node=f"urn:{number}")
    before = bob.charged
    await subscriptions(bob)
    assert bob.charged - before > 8 * one
    await affiliate(alice, **{f"p{number}": "outcast" for number in range(100)})
    before = bob.charged
    await affiliations(bob, NS, bare("alice"))
    assert bob.charged - before > 7000


async def test_whom_one_blocks_is_not_heard_either(xmpp: Scene) -> None:
    """XEP-0191 §3.3."""
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await interested(xmpp, "bob")
    await publish(alice, tune("One"), access_model="open")
    await subscribing(bob, bare("bob"))
    await bob.ask("set", E("block", BLOCKING, {}, E("item", BLOCKING, {"jid": bare("alice")})))
    bob.heard()
    await publish(alice, tune("Two"))
    assert events(bob) == []


async def test_whom_one_blocks_is_not_heard_where_nobody_has_read_the_list_yet(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await publish(alice, tune("One"), access_model="open")
    await subscribing(bob, f"{bare('bob')}/quiet")
    await bob.ask("set", E("block", BLOCKING, {}, E("item", BLOCKING, {"jid": bare("alice")})))
    quiet = await xmpp.connect("bob", "quiet", "xmpp-2")
    await publish(alice, tune("Two"))
    assert events(quiet) == []
    await bob.ask("set", E("unblock", BLOCKING))
    await publish(alice, tune("Three"))
    assert events(quiet) == [(bare("alice"), TUNE, "Three")]


# --- discovery ------------------------------------------------------------------------------------------


async def test_an_account_shows_its_nodes_to_whom_may_read_them(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await publish(alice, tune("One"))
    await publish(alice, tune("x"), node="urn:secret", access_model="whitelist")

    async def nodes(client: Client) -> list[str]:
        query = E("query", "http://jabber.org/protocol/disco#items")
        answer = await client.ask("get", query, bare("alice"))
        return [item.get("node") for item in answer.elements[0].elements]

    assert await nodes(alice) == [TUNE, "urn:secret"]
    assert await nodes(bob) == [TUNE]
    info = await bob.ask("get", E("query", INFO_NS), bare("alice"))
    identities = [(i.get("category"), i.get("type")) for i in info.elements[0].findall("identity")]
    assert identities == [("account", "registered"), ("pubsub", "pep")]


async def test_a_node_says_what_it_is_to_whom_may_read_it(xmpp: Scene) -> None:
    """XEP-0060 §5.3, §5.5."""
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await publish(alice, tune("One"), "current")
    info = (await bob.ask("get", E("query", INFO_NS, {"node": TUNE}), bare("alice"))).elements[0]
    assert [(each.get("category"), each.get("type")) for each in info.findall("identity")] == [
        ("pubsub", "leaf")
    ]
    listed = (await bob.ask("get", E("query", ITEMS_NS, {"node": TUNE}), bare("alice"))).elements[0]
    assert [each.get("name") for each in listed.elements] == ["current"]
    await affiliate(alice, bob="outcast")
    assert condition(await bob.ask("get", E("query", INFO_NS, {"node": TUNE}), bare("alice"))) == "forbidden"
    assert condition(await alice.ask("get", E("query", INFO_NS, {"node": "urn:none"}))) == "item-not-found"


async def test_nodes_are_not_changed_without_end(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    answers = [(await publish(alice, tune("x" * 200_000))).get("type") for _ in range(40)]
    assert answers.count("result") in range(20, 30)
    await xmpp.wait(5)
    assert (await publish(alice, tune("One"))).get("type") == "result"


async def test_groups_of_a_node_are_bounded(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    refused = await publish(alice, tune("One"), roster_groups_allowed="x" * 5000)
    assert read_error(refused).condition == "not-acceptable"
