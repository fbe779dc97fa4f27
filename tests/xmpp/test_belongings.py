"""XEP-0054 vCards and XEP-0049 private XML."""

from __future__ import annotations

import pytest

from tests.xmpp.scene import Client, Scene, bare
from xmpp.belongings import MAX_BYTES
from xmpp.element import E, Element
from xmpp.errors import read_error
from xmpp.extensions.xep_0049_private_xml import MAX_ELEMENTS
from xmpp.extensions.xep_0049_private_xml import NS as PRIVATE

VCARD = "vcard-temp"
BLOCKING = "urn:xmpp:blocking"


def card(name: str) -> Element:
    return E("vCard", VCARD, {}, E("FN", VCARD, {}, name))


def condition(stanza: Element) -> str:
    return read_error(stanza).condition


async def stored(client: Client, element: Element) -> Element:
    answer = await client.ask("get", E("query", PRIVATE, {}, element))
    return answer.elements[0].elements[0]


async def test_a_card_is_read_by_everybody_and_written_by_its_owner(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    assert (await alice.ask("get", E("vCard", VCARD))).elements == [E("vCard", VCARD)]
    assert condition(await bob.ask("get", E("vCard", VCARD), bare("alice"))) == "item-not-found"
    for name in ("Alice", "Alice <A> & Co"):
        assert (await alice.ask("set", card(name))).get("type") == "result"
    assert (await alice.ask("get", E("vCard", VCARD))).elements == [card("Alice <A> & Co")]
    assert (await bob.ask("get", E("vCard", VCARD), bare("alice"))).elements == [card("Alice <A> & Co")]
    assert condition(await bob.ask("set", card("Eve"), bare("alice"))) == "forbidden"


async def test_nobody_learns_from_a_card_who_exists_or_who_blocks_them(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await alice.ask("set", card("Alice"))
    await alice.ask("set", E("block", BLOCKING, {}, E("item", BLOCKING, {"jid": bare("bob")})))
    await xmpp.people("carol")  # who has no card
    for whom in ("alice", "nobody", "carol"):
        assert condition(await bob.ask("get", E("vCard", VCARD), bare(whom))) == "item-not-found"


async def test_private_elements_are_kept_by_namespace_and_name(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice, phone = await xmpp.online("alice"), await xmpp.online("alice", "phone", node="xmpp-2")
    bookmarks = E("storage", "storage:bookmarks", {}, E("conference", "storage:bookmarks", {"jid": "a@b"}))
    notes = E("storage", "storage:rosternotes", {}, "x")
    assert (await alice.ask("set", E("query", PRIVATE, {}, bookmarks, notes))).get("type") == "result"
    assert await stored(phone, E("storage", "storage:bookmarks")) == bookmarks
    assert await stored(phone, E("storage", "storage:rosternotes")) == notes
    assert await stored(phone, E("other", "storage:rosternotes")) == E("other", "storage:rosternotes")
    await phone.ask("set", E("query", PRIVATE, {}, E("storage", "storage:bookmarks")))
    assert await stored(alice, E("storage", "storage:bookmarks")) == E("storage", "storage:bookmarks")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (E("query", PRIVATE), "bad-request"),
        (E("query", PRIVATE, {}, E("roster", "jabber:iq:roster")), "not-acceptable"),
        (E("query", PRIVATE, {}, E("x", "")), "not-acceptable"),
        (E("query", PRIVATE, {}, *(E("x", f"urn:{n}") for n in range(MAX_ELEMENTS + 1))), "bad-request"),
        (E("query", PRIVATE, {}, E("x", "urn:x", {}, "y" * (MAX_BYTES + 1))), "resource-constraint"),
    ],
)
async def test_what_cannot_be_kept_is_refused(xmpp: Scene, payload: Element, expected: str) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    assert condition(await alice.ask("set", payload)) == expected


async def test_only_so_many_kinds_are_kept(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    many = (E("x", f"urn:{n}") for n in range(MAX_ELEMENTS))
    assert (await alice.ask("set", E("query", PRIVATE, {}, *many))).get("type") == "result"
    one_more = E("query", PRIVATE, {}, E("x", "urn:more"))
    assert condition(await alice.ask("set", one_more)) == "resource-constraint"


async def test_nobody_else_reads_or_writes_private_elements(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    bob = await xmpp.online("bob")
    for kind in ("get", "set"):
        query = E("query", PRIVATE, {}, E("x", "urn:x"))
        assert condition(await bob.ask(kind, query, bare("alice"))) == "forbidden"
