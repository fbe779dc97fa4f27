"""XEP-0313, XEP-0441, XEP-0059, XEP-0359 and XEP-0334 over two servers' sessions, stanza by stanza."""

from __future__ import annotations

import pytest

from presence.archive import position_at
from presence.messages import InstantMessage
from presence.model import Text
from tests.xmpp.scene import Client, Scene, address, bare
from xmpp.element import CLIENT_NS, E, Element
from xmpp.extensions import registry
from xmpp.extensions.xep_0313_archive import LARGEST_PAGE, LARGEST_PAGE_BYTES, MAX_IDS
from xmpp.presence import DELAY_NS
from xmpp.timestamps import stamp

MAM, RSM, SID, FORWARD = (
    "urn:xmpp:mam:2",
    "http://jabber.org/protocol/rsm",
    "urn:xmpp:sid:0",
    "urn:xmpp:forward:0",
)
HINTS, RECEIPTS, STATES = "urn:xmpp:hints", "urn:xmpp:receipts", "http://jabber.org/protocol/chatstates"


def form(**fields: str | list[str]) -> Element:
    x = E("x", "jabber:x:data", {"type": "submit"})
    for name, value in {"FORM_TYPE": MAM, **fields}.items():
        field = x.child("field", attrs={"var": name.replace("_", "-") if name.islower() else name})
        for each in [value] if isinstance(value, str) else value:
            field.child("value", text=each)
    return x


def rsm(**words: str) -> Element:
    made = E("set", RSM)
    for name, text in words.items():
        made.child(name, text=text)
    return made


def query(*children: Element, **attrs: str) -> Element:
    return E("query", MAM, attrs, *children)


class Results:
    """What one query brought."""

    def __init__(self, client: Client, answer: Element) -> None:
        self.error = _condition(answer)
        results = [m.find("result", MAM) for m in client.heard("message")]
        self.results = [result for result in results if result is not None]
        self.ids = [result.get("id") for result in self.results]
        self.messages = [_forwarded(result) for result in self.results]
        self.texts = [body.text for m in self.messages if (body := m.find("body")) is not None]
        fin = answer.find("fin", MAM)
        self.complete = fin is not None and fin.get("complete") == "true"
        page = fin.find("set", RSM) if fin is not None else None
        self.page = {each.name: each.text for each in page.elements} if page is not None else {}


def _forwarded(result: Element) -> Element:
    forwarded = result.find("forwarded", FORWARD)
    assert forwarded is not None
    message = forwarded.find("message", CLIENT_NS)
    assert message is not None
    return message


def _condition(answer: Element) -> str:
    error = answer.find("error", CLIENT_NS)
    return error.elements[0].name if error is not None else ""


async def asked(client: Client, *children: Element, to: str = "", **attrs: str) -> Results:
    client.heard()
    return Results(client, await client.ask("set", query(*children, **attrs), to))


@pytest.fixture
async def alice(xmpp: Scene) -> Client:
    await xmpp.people("alice", "bob", "carol")
    return await xmpp.online("alice")


async def chatter(xmpp: Scene, alice: Client, count: int) -> list[str]:
    """So many messages to Bob; their ids."""
    for number in range(count):
        await alice.message(bare("bob"), f"m{number}")
    return (await asked(alice, rsm(max=str(count)))).ids


# --- what is in it -------------------------------------------------------------------------------------


async def test_both_have_the_message_under_the_id_it_was_delivered_with(xmpp: Scene, alice: Client) -> None:
    bob = await xmpp.online("bob")
    await alice.message(bare("bob"), "hello", E("origin-id", SID, {"id": "o1"}), id="x1")
    (live,) = bob.heard("message")
    told = live.find("stanza-id", SID)
    assert told is not None
    assert told.get("by") == bare("bob")
    for client in (alice, bob):
        found = await asked(client, queryid="q7")
        (result,) = found.results
        assert (result.get("queryid"), result.get("id")) == ("q7", told.get("id"))
        (message,) = found.messages
        assert (message.get("from"), message.get("to")) == ("alice@example.org/desk", bare("bob"))
        assert (message.get("id"), message.get("type")) == ("x1", "chat")
        assert message.find("origin-id", SID) == E("origin-id", SID, {"id": "o1"})
        assert found.texts == ["hello"]
        assert found.complete
        stored = message.find("stanza-id", SID)
        assert stored is not None
        assert (stored.get("by"), stored.get("id")) == (str(client.session.address), told.get("id"))


async def test_results_come_before_the_answer_from_the_own_account_with_their_time(
    xmpp: Scene, alice: Client
) -> None:
    await alice.message(bare("bob"), "hello")
    alice.heard()
    await alice.say(E("iq", CLIENT_NS, {"type": "set", "id": "i"}, query()))
    result, fin = alice.heard()
    assert (result.name, fin.name) == ("message", "iq")
    assert (result.get("from"), result.get("to")) == (bare("alice"), alice.jid)
    found = result.find("result", MAM)
    forwarded = found.find("forwarded", FORWARD) if found is not None else None
    delay = forwarded.find("delay", DELAY_NS) if forwarded is not None else None
    assert delay is not None
    bounds = await xmpp.nodes["xmpp-1"].service.history.bounds(address("alice"))  # type: ignore[union-attr]
    assert bounds is not None
    assert delay.get("stamp") == stamp(bounds[0].at)


async def test_a_phones_message_is_there_like_any_other(xmpp: Scene, alice: Client) -> None:
    message = InstantMessage(
        id="", trace="", sender=address("bob"), sender_endpoint="sip:1", sender_tuple="snom",
        recipient=address("alice"), bodies=(Text("from the desk phone"),), created=0.0,
    )  # fmt: skip
    await xmpp.nodes["xmpp-1"].service.submit(message)
    await xmpp.settle()
    found = await asked(alice, form(**{"with": f"{bare('bob')}/snom"}))
    assert found.texts == ["from the desk phone"]
    assert found.messages[0].get("from") == f"{bare('bob')}/snom"


async def test_what_was_sent_while_away_is_there(xmpp: Scene, alice: Client) -> None:
    await alice.message(bare("bob"), "are you there?")
    bob = await xmpp.connect("bob")
    assert (await asked(bob)).texts == ["are you there?"]


KEPT = [
    ([E("received", RECEIPTS, {"id": "1"})], True),
    ([E("displayed", "urn:xmpp:chat-markers:0", {"id": "1"})], True),
    (
        [
            E(
                "reactions",
                "urn:xmpp:reactions:0",
                {"id": "1"},
                E("reaction", "urn:xmpp:reactions:0", {}, "👋"),
            )
        ],
        True,
    ),
    ([E("retract", "urn:xmpp:message-retract:1", {"id": "1"})], True),
    ([E("replace", "urn:xmpp:message-correct:0", {"id": "1"}), E("body", CLIENT_NS, {}, "better")], True),
    ([E("composing", STATES)], False),
    ([E("composing", STATES), E("origin-id", SID, {"id": "1"})], False),
    ([E("composing", STATES), E("store", HINTS)], True),
    ([E("body", CLIENT_NS, {}, "hi")], True),
    ([E("body", CLIENT_NS, {}, "hi"), E("no-store", HINTS)], False),
    ([E("body", CLIENT_NS, {}, "hi"), E("no-permanent-store", HINTS)], False),
    ([E("body", CLIENT_NS, {}, "hi"), E("no-copy", HINTS)], True),
    ([E("subject", CLIENT_NS, {}, "about")], True),
    ([E("no-copy", HINTS)], False),
]


@pytest.mark.parametrize(("payload", "kept"), KEPT)
async def test_what_matters_later_is_kept_unless_it_says_otherwise(
    xmpp: Scene, alice: Client, payload: list[Element], kept: bool
) -> None:
    bob = await xmpp.online("bob")
    await alice.message(bare("bob"), "", *payload)
    (live,) = bob.heard("message")
    assert (live.find("stanza-id", SID) is not None) is kept
    assert len((await asked(alice)).ids) == kept


async def test_headlines_are_not_kept(xmpp: Scene, alice: Client) -> None:
    await xmpp.online("bob")
    await alice.message(bare("bob"), "news", type="headline")
    assert (await asked(alice)).ids == []


@pytest.mark.parametrize(("hint", "waits"), [("no-store", False), ("no-permanent-store", True)])
async def test_only_no_store_keeps_a_message_from_waiting(
    xmpp: Scene, alice: Client, hint: str, waits: bool
) -> None:
    await alice.message(bare("bob"), "now or never", E(hint, HINTS))
    bob = await xmpp.connect("bob")
    await bob.here()
    assert len(bob.heard("message")) == waits


# --- XEP-0359 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [bare("bob"), bare("alice"), "BOB@Example.ORG", "example.org", "", "@"])
async def test_ids_in_the_name_of_our_accounts_are_taken_out(xmpp: Scene, alice: Client, by: str) -> None:
    bob = await xmpp.online("bob")
    await alice.message(bare("bob"), "hi", E("stanza-id", SID, {"by": by, "id": "forged"}))
    (got,) = bob.heard("message")
    assert [each.get("id") == "forged" for each in got.findall("stanza-id", SID)] == [False]


async def test_ids_of_others_stay(xmpp: Scene, alice: Client) -> None:
    bob = await xmpp.online("bob")
    foreign = E("stanza-id", SID, {"by": "room@elsewhere.example", "id": "theirs"})
    await alice.message(bare("bob"), "hi", foreign)
    (got,) = bob.heard("message")
    assert foreign in got.findall("stanza-id", SID)


async def test_what_is_not_archived_has_no_id(xmpp: Scene, alice: Client) -> None:
    bob = await xmpp.online("bob")
    spoofed = E("stanza-id", SID, {"by": bare("bob"), "id": "forged"})
    await alice.message(bare("bob"), "", E("composing", STATES), spoofed)
    (got,) = bob.heard("message")
    assert got.findall("stanza-id", SID) == []


# --- filters -------------------------------------------------------------------------------------------


async def test_one_conversation(xmpp: Scene, alice: Client) -> None:
    await alice.message(bare("bob"), "to bob")
    await alice.message(f"{bare('carol')}/sofa", "to carol's sofa")
    await alice.message(bare("carol"), "to carol")
    await alice.message(bare("alice"), "to myself")
    for with_, texts in {
        "Bob@example.org": ["to bob"],
        bare("carol"): ["to carol's sofa", "to carol"],
        f"{bare('carol')}/sofa": ["to carol's sofa"],
        bare("alice"): ["to myself"],
        "nobody@example.org": [],
    }.items():
        found = await asked(alice, form(**{"with": with_}))
        assert found.texts == texts, with_
        assert found.complete


async def test_a_time(xmpp: Scene, alice: Client) -> None:
    await alice.message(bare("bob"), "before")
    xmpp.clock.now += 60
    start = xmpp.clock.now
    await alice.message(bare("bob"), "between")
    end = xmpp.clock.now
    xmpp.clock.now += 60
    await alice.message(bare("bob"), "after")
    assert (await asked(alice, form(start=stamp(start)))).texts == ["between", "after"]
    assert (await asked(alice, form(end=stamp(end)))).texts == ["before", "between"]
    assert (await asked(alice, form(start=stamp(start), end=stamp(end)))).texts == ["between"]
    assert (await asked(alice, form(start=stamp(end + 600)))).texts == []


async def test_both_ends_of_a_time_are_inside_it(xmpp: Scene, alice: Client) -> None:
    await alice.message(bare("bob"), "at that very moment")
    (bounds, _) = await xmpp.nodes["xmpp-1"].service.history.bounds(address("alice"))  # type: ignore[misc,union-attr]
    moment = stamp(bounds.at)
    assert (await asked(alice, form(start=moment, end=moment))).texts == ["at that very moment"]


async def test_between_ids(xmpp: Scene, alice: Client) -> None:
    names = await chatter(xmpp, alice, 5)
    assert (await asked(alice, form(after_id=names[1]))).texts == ["m2", "m3", "m4"]
    assert (await asked(alice, form(before_id=names[1]))).texts == ["m0"]
    assert (await asked(alice, form(after_id=names[0], before_id=names[3]))).texts == ["m1", "m2"]
    crossed = await asked(alice, form(after_id=names[3], before_id=names[1]))
    assert (crossed.texts, crossed.complete) == ([], True)


async def test_named_messages_in_order(xmpp: Scene, alice: Client) -> None:
    names = await chatter(xmpp, alice, 4)
    found = await asked(alice, form(ids=[names[3], names[1]]))
    assert (found.texts, found.complete) == (["m1", "m3"], True)


BAD = {
    "no such field": (form(colour="red"), "feature-not-implemented"),
    "another form": (form(FORM_TYPE="urn:example"), "bad-request"),
    "no date": (form(start="yesterday"), "bad-request"),
    "no zone": (form(end="2026-01-01T00:00:00"), "bad-request"),
    "no address": (form(**{"with": "@"}), "bad-request"),
    "no boolean": (form(include_groupchat="perhaps"), "bad-request"),
    "two values": (form(start=["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]), "bad-request"),
    "unknown id": (form(ids=["none"]), "item-not-found"),
    "unknown after-id": (form(after_id="none"), "item-not-found"),
    "unknown before-id": (form(before_id="none"), "item-not-found"),
    "unknown after": (rsm(after="none"), "item-not-found"),
    "unknown before": (rsm(before="none"), "item-not-found"),
    "an index": (rsm(index="3"), "feature-not-implemented"),
    "no number": (rsm(max="-1"), "bad-request"),
    "a number of another script": (rsm(max="٣"), "bad-request"),
    "a huge number": (rsm(max="9" * 5000), "bad-request"),
    "too many ids": (form(ids=[str(n) for n in range(MAX_IDS + 1)]), "policy-violation"),
    "a long id": (form(after_id="x" * 10_000), "bad-request"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_wrong_question_gets_the_error_for_it(xmpp: Scene, alice: Client, case: str) -> None:
    child, condition = BAD[case]
    found = await asked(alice, child)
    assert (found.error, found.ids) == (condition, [])


async def test_include_groupchat_is_understood(xmpp: Scene, alice: Client) -> None:
    await chatter(xmpp, alice, 1)
    for value in ("true", "false", "0", "1"):
        assert (await asked(alice, form(include_groupchat=value))).texts == ["m0"]


async def test_a_node_is_no_archive_of_ours(xmpp: Scene, alice: Client) -> None:
    assert (await asked(alice, node="urn:xmpp:microblog:0")).error == "item-not-found"


async def test_nobody_reads_anothers_archive(xmpp: Scene, alice: Client) -> None:
    assert (await asked(alice, to=bare("bob"))).error == "forbidden"
    for payload in (E("prefs", MAM), E("metadata", MAM)):
        assert _condition(await alice.ask("get", payload, bare("bob"))) == "forbidden"


async def test_the_own_address_may_be_named(xmpp: Scene, alice: Client) -> None:
    await chatter(xmpp, alice, 1)
    assert (await asked(alice, to=bare("alice"))).texts == ["m0"]


# --- pages ---------------------------------------------------------------------------------------------


async def test_paging_forwards_shows_everything_once_in_order(xmpp: Scene, alice: Client) -> None:
    names = await chatter(xmpp, alice, 5)
    first = await asked(alice, rsm(max="2"))
    assert (first.ids, first.complete) == (names[:2], False)
    assert first.page == {"first": names[0], "last": names[1]}
    second = await asked(alice, rsm(max="2", after=names[1]))
    assert (second.ids, second.complete) == (names[2:4], False)
    third = await asked(alice, rsm(max="2", after=names[3]))
    assert (third.ids, third.complete) == (names[4:], True)
    end = await asked(alice, rsm(max="2", after=names[4]))
    assert (end.ids, end.complete, end.page) == ([], True, {})


async def test_paging_backwards_begins_with_the_last_page(xmpp: Scene, alice: Client) -> None:
    names = await chatter(xmpp, alice, 5)
    last = await asked(alice, rsm(max="2", before=""))
    assert (last.ids, last.complete) == (names[3:], False)
    assert last.page == {"first": names[3], "last": names[4]}
    middle = await asked(alice, rsm(max="2", before=names[3]))
    assert (middle.ids, middle.complete) == (names[1:3], False)
    first = await asked(alice, rsm(max="2", before=names[1]))
    assert (first.ids, first.complete) == (names[:1], True)


@pytest.mark.parametrize("page", [rsm(max="3"), rsm(max="3", before="")])
async def test_a_flipped_page_has_the_same_messages_newest_first(
    xmpp: Scene, alice: Client, page: Element
) -> None:
    await chatter(xmpp, alice, 5)
    plain = await asked(alice, page)
    flipped = await asked(alice, page, E("flip-page", MAM))
    assert flipped.ids == plain.ids[::-1]
    assert flipped.page == plain.page


async def test_max_0_asks_how_many_there_are(xmpp: Scene, alice: Client) -> None:
    assert (await asked(alice, rsm(max="0"))).page == {"count": "0"}
    await chatter(xmpp, alice, 3)
    await alice.message(bare("carol"), "hi")
    found = await asked(alice, rsm(max="0"))
    assert (found.page, found.ids, found.complete) == ({"count": "4"}, [], False)
    assert (await asked(alice, form(**{"with": bare("bob")}), rsm(max="0"))).page == {"count": "3"}


async def test_no_page_is_larger_than_the_largest(xmpp: Scene, alice: Client) -> None:
    service = xmpp.nodes["xmpp-1"].service
    for number in range(LARGEST_PAGE + 1):
        await service.submit(
            InstantMessage(
                id=f"n{number}", trace="t", sender=address("alice"), recipient=address("bob"),
                bodies=(Text("x"),), created=1.0, store=number > 0,
            )
        )  # fmt: skip
        await xmpp.bus.settle(address("bob"), f"n{number}", "none", "delivered", 1.0)  # type: ignore[arg-type]
    found = await asked(alice, rsm(max="999999"))
    assert (len(found.ids), found.complete) == (LARGEST_PAGE, True)


@pytest.mark.parametrize(("page", "shown"), [(rsm(), slice(0, 3)), (rsm(before=""), slice(2, 5))])
async def test_a_page_of_large_messages_ends_early(
    xmpp: Scene, alice: Client, page: Element, shown: slice
) -> None:
    for _ in range(5):
        await alice.message(bare("bob"), "x" * (LARGEST_PAGE_BYTES // 4))
    names = (await asked(alice, form(), rsm(max="1"))).ids
    while len(names) < 5:
        names += (await asked(alice, rsm(max="1", after=names[-1]))).ids
    found = await asked(alice, page)
    assert (found.ids, found.complete) == (names[shown], False)


# --- form, metadata, preferences -----------------------------------------------------------------------


async def test_the_form_names_every_field(xmpp: Scene, alice: Client) -> None:
    answer = await alice.ask("get", query())
    found = answer.find("query", MAM)
    x = found.find("x", "jabber:x:data") if found is not None else None
    assert x is not None
    assert [(f.get("type"), f.get("var")) for f in x.elements] == [
        ("hidden", "FORM_TYPE"),
        ("jid-single", "with"),
        ("text-single", "start"),
        ("text-single", "end"),
        ("text-single", "before-id"),
        ("text-single", "after-id"),
        ("list-multi", "ids"),
        ("boolean", "include-groupchat"),
    ]


async def test_metadata_names_the_first_and_the_last(xmpp: Scene, alice: Client) -> None:
    assert (await alice.ask("get", E("metadata", MAM))).elements == [E("metadata", MAM)]
    names = await chatter(xmpp, alice, 3)
    (metadata,) = (await alice.ask("get", E("metadata", MAM))).elements
    assert [(e.name, e.get("id")) for e in metadata.elements] == [("start", names[0]), ("end", names[2])]
    assert all(e.get("timestamp").endswith("Z") for e in metadata.elements)


def prefs(default: str, always: tuple[str, ...] = (), never: tuple[str, ...] = ()) -> Element:
    made = E("prefs", MAM, {"default": default}, E("always", MAM), E("never", MAM))
    for part, listed in zip(made.elements, (always, never), strict=True):
        for jid in listed:
            part.child("jid", text=jid)
    return made


async def test_preferences_begin_with_everything_and_are_what_was_set(xmpp: Scene, alice: Client) -> None:
    assert (await alice.ask("get", E("prefs", MAM))).elements == [prefs("always")]
    wanted = prefs("roster", (bare("bob"),), (f"{bare('carol')}/sofa",))
    assert (await alice.ask("set", wanted)).elements == [wanted]
    assert (await alice.ask("get", E("prefs", MAM))).elements == [wanted]


async def test_who_is_never_kept_is_not_in_this_archive_but_in_the_others(xmpp: Scene, alice: Client) -> None:
    await alice.ask("set", prefs("always", never=(bare("bob"),)))
    await alice.message(bare("bob"), "off the record")
    await alice.message(bare("carol"), "on the record")
    assert (await asked(alice)).texts == ["on the record"]
    bob = await xmpp.connect("bob")
    assert (await asked(bob)).texts == ["off the record"]


@pytest.mark.parametrize(
    ("wrong", "condition"),
    [
        (prefs("sometimes"), "bad-request"),
        (E("prefs", MAM), "bad-request"),
        (prefs("always", ("@",)), "bad-request"),
        (prefs("always", tuple(f"u{n}@example.org" for n in range(501))), "policy-violation"),
    ],
)
async def test_wrong_preferences_change_nothing(
    xmpp: Scene, alice: Client, wrong: Element, condition: str
) -> None:
    assert _condition(await alice.ask("set", wrong)) == condition
    assert (await alice.ask("get", E("prefs", MAM))).elements == [prefs("always")]


# --- discovery -----------------------------------------------------------------------------------------


def test_the_account_says_what_it_can_and_nothing_when_nothing_is_archived() -> None:
    for feature in (MAM, f"{MAM}#extended", SID):
        assert feature in registry().account_features
    without = registry(frozenset({"XEP-0313", "XEP-0441"}))
    assert not [f for f in without.account_features if f.startswith(MAM)]


def test_a_moment_of_the_archive_is_a_position() -> None:
    assert position_at(1.0) > position_at(0.999)
