"""RFC 7081 §3.1: vCards name the address under which people are reached by SIP."""

from __future__ import annotations

import pytest

from presence.address import Address
from tests.xmpp.scene import Client, Scene, bare
from tests.xmpp.test_avatars import read_card
from tests.xmpp.test_belongings import condition
from tests.xmpp.test_pep import interested, items, publish
from tests.xmpp.test_vcard4 import NEW_CARD, OLD_CARD, new, old
from xmpp.element import E, Element
from xmpp.extensions.rfc_7081_cusax import SipNames, provide
from xmpp.extensions.xep_0054_vcard import NS as OLD
from xmpp.extensions.xep_0292_vcard4 import ITEM, NODE
from xmpp.pubsub import EVENT_NS

SIP = "sip:alice@example.org"
TEL = old("TEL", old("VOICE"), old("NUMBER", SIP))
VOICE = new("tel", new("parameters", new("type", new("text", "voice"))), new("uri", SIP))
IMPP = new("impp", new("uri", SIP))


def uri(address: Address) -> str:
    return f"sip:{address}"


async def people(xmpp: Scene, *, calls: bool = True) -> tuple[Client, Client]:
    """Alice and bob, who sees her."""
    await xmpp.friends("alice", "bob")
    clients = await xmpp.online("alice"), await xmpp.online("bob")
    for router in xmpp.nodes.values():
        provide(router, SipNames(uri, calls))
    return clients


async def read_new(client: Client, whose: str) -> Element:
    (listed,) = (await items(client, bare(whose), NODE)).elements[0].elements
    ((card,),) = (item.elements for item in listed.elements)
    return card


async def test_both_cards_name_the_address_for_calls_and_messages(xmpp: Scene) -> None:
    alice, bob = await people(xmpp)
    await alice.ask("set", OLD_CARD)
    assert await read_card(bob, bare("alice")) == OLD_CARD.copy().append(TEL)
    assert await read_new(bob, "alice") == NEW_CARD.copy().append(VOICE).append(IMPP)


async def test_where_no_calls_get_through_nobody_is_given_a_number(xmpp: Scene) -> None:
    alice, bob = await people(xmpp, calls=False)
    await alice.ask("set", OLD_CARD)
    assert await read_card(bob, bare("alice")) == OLD_CARD
    assert await read_new(bob, "alice") == NEW_CARD.copy().append(IMPP)


async def test_a_client_that_writes_back_what_it_read_doubles_nothing(xmpp: Scene) -> None:
    alice, bob = await people(xmpp)
    await alice.ask("set", OLD_CARD)
    for _ in range(2):
        card = await read_card(alice, bare("alice"))
        assert TEL in card.elements
        await alice.ask("set", card)
        await publish(alice, await read_new(alice, "alice"), ITEM, NODE)
    assert await read_card(bob, bare("alice")) == OLD_CARD.copy().append(TEL)
    assert await read_new(bob, "alice") == NEW_CARD.copy().append(VOICE).append(IMPP)
    for router in xmpp.nodes.values():
        router.extra.clear()
    assert await read_card(bob, bare("alice")) == OLD_CARD
    assert await read_new(bob, "alice") == NEW_CARD


async def test_events_say_what_the_card_says(xmpp: Scene) -> None:
    alice, _ = await people(xmpp)
    phone = await interested(xmpp, "bob", "phone", topic=NODE)
    await publish(alice, NEW_CARD, ITEM, NODE)
    tablet = await interested(xmpp, "bob", "tablet", topic=NODE)
    for client in (phone, tablet):
        (message,) = client.heard("message")
        event = message.find("event", EVENT_NS)
        assert event is not None
        assert event.elements[0].elements[0].elements == [NEW_CARD.copy().append(VOICE).append(IMPP)]


@pytest.mark.parametrize(
    ("field", "converted"),
    [
        (new("tel", new("uri", "sip:alice@pbx.example")), True),
        (new("impp", new("uri", "sips:alice@pbx.example")), False),
    ],
)
async def test_who_names_another_sip_address_is_left_with_it(
    xmpp: Scene, field: Element, converted: bool
) -> None:
    alice, bob = await people(xmpp)
    card = new("vcard", new("fn", new("text", "Alice")), field)
    await publish(alice, card, ITEM, NODE)
    assert await read_new(bob, "alice") == card
    assert (TEL in (await read_card(bob, bare("alice"))).elements) is not converted


async def test_who_has_no_card_has_one_for_those_who_see_them_and_nobody_else(xmpp: Scene) -> None:
    alice, bob = await people(xmpp)
    await xmpp.people("carol")
    carol = await xmpp.online("carol")
    assert await read_card(bob, bare("alice")) == E("vCard", OLD, {}, TEL)
    assert await read_card(alice, bare("alice")) == E("vCard", OLD, {}, TEL)
    for whom in ("alice", "nobody"):
        answer = await carol.ask("get", E("vCard", OLD), bare(whom))
        assert condition(answer) == "item-not-found"
