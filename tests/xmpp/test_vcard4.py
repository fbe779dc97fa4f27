"""XEP-0292: one card, whichever way a client writes it."""

from __future__ import annotations

from tests.xmpp.scene import Scene, bare
from tests.xmpp.test_avatars import read_card
from tests.xmpp.test_pep import items, publish
from xmpp.element import E, Element
from xmpp.extensions.xep_0054_vcard import NS as OLD
from xmpp.extensions.xep_0292_vcard4 import ITEM, NODE, NS, to_vcard4, to_vcard_temp


def old(name: str, *children: Element | str) -> Element:
    return E(name, OLD, {}, *children)


def new(name: str, *children: Element | str) -> Element:
    return E(name, NS, {}, *children)


OLD_CARD = old(
    "vCard",
    old("FN", "Alice Liddell"),
    old("N", old("FAMILY", "Liddell"), old("GIVEN", "Alice")),
    old("BDAY", "1852-05-04"),
    old("ADR", old("WORK"), old("STREET", "Broad St"), old("LOCALITY", "Oxford")),
    old("TEL", old("HOME"), old("NUMBER", "+44 1865 1")),
    old("EMAIL", old("USERID", "alice@example.org")),
    old("ORG", old("ORGNAME", "Wonderland & Sons")),
    old("URL", "https://example.org/"),
)
NEW_CARD = new(
    "vcard",
    new("fn", new("text", "Alice Liddell")),
    new("n", new("surname", "Liddell"), new("given", "Alice"), *map(new, ("additional", "prefix", "suffix"))),
    new("bday", new("date", "1852-05-04")),
    new(
        "adr",
        new("parameters", new("type", new("text", "work"))),
        new("pobox"), new("ext"), new("street", "Broad St"), new("locality", "Oxford"), new("region"),
        new("code"), new("country"),
    ),
    new("tel", new("parameters", new("type", new("text", "home"))), new("text", "+44 1865 1")),
    new("email", new("text", "alice@example.org")),
    new("org", new("text", "Wonderland & Sons")),
    new("url", new("uri", "https://example.org/")),
)  # fmt: skip


def test_each_says_what_the_other_says() -> None:
    assert to_vcard4(OLD_CARD) == NEW_CARD
    assert to_vcard_temp(NEW_CARD) == OLD_CARD


def test_a_telephone_number_may_be_a_uri() -> None:
    card = new("vcard", new("tel", new("uri", "tel:+1-303-308-3282")))
    assert to_vcard_temp(card) == old("vCard", old("TEL", old("NUMBER", "+1-303-308-3282")))


def test_what_only_one_of_them_can_say_stays_there() -> None:
    photo, gender = old("PHOTO", old("BINVAL", "aGk=")), new("gender", new("sex", "F"))
    name = new("fn", new("text", "A"))
    assert to_vcard_temp(new("vcard", name), old("vCard", old("FN", "B"), photo)) == old(
        "vCard", old("FN", "A"), photo
    )
    assert to_vcard4(old("vCard", old("FN", "A")), new("vcard", gender)) == new("vcard", name, gender)


async def test_what_a_client_of_old_writes_one_of_today_reads_and_the_other_way(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await alice.ask("set", OLD_CARD)
    (listed,) = (await items(bob, bare("alice"), NODE)).elements[0].elements
    assert [item.elements for item in listed.elements] == [[NEW_CARD]]
    await publish(alice, new("vcard", new("fn", new("text", "The Queen"))), ITEM, NODE)
    assert await read_card(bob, bare("alice")) == old("vCard", old("FN", "The Queen"))
