"""xmpp.roster: RFC 6121 §2."""

from __future__ import annotations

import pytest

from presence.address import Address
from presence.subscriptions import RosterItem, Subscription
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.roster import ROSTER_NS, RosterSet, read_set, write_item, write_push, write_roster

NURSE = Address("nurse", "example.com")


def query(*items: Element) -> Element:
    return E("query", ROSTER_NS, {}, *items)


def item(*groups: str, **attrs: str) -> Element:
    given = {"jid": "Nurse@example.com", **attrs}
    return E("item", ROSTER_NS, given, *(E("group", ROSTER_NS, {}, g) for g in groups))


def test_a_set_is_read_with_what_clients_may_not_set_ignored() -> None:
    given = item("Servants", "Friends", name="Nurse", subscription="both", ask="subscribe", approved="true")
    assert read_set(query(given)) == RosterSet(NURSE, "Nurse", ("Servants", "Friends"))


def test_remove_is_the_one_subscription_a_client_may_set() -> None:
    assert read_set(query(item(subscription="remove"))) == RosterSet(NURSE, remove=True)


@pytest.mark.parametrize(
    ("given", "condition"),
    [
        (query(), "bad-request"),
        (query(item(), item()), "bad-request"),
        (query(E("item", ROSTER_NS)), "bad-request"),
        (query(item("a", "a")), "bad-request"),
        (query(item(jid="@")), "jid-malformed"),
        (query(item("")), "not-acceptable"),
        (query(item(name="x" * 1024)), "not-acceptable"),
        (query(item("x" * 1024)), "not-acceptable"),
        (query(item(*(str(n) for n in range(65)))), "not-acceptable"),
    ],
)
def test_a_wrong_set_is_refused_as_section_2_3_3_wants(given: Element, condition: str) -> None:
    with pytest.raises(StanzaError) as refused:
        read_set(given)
    assert refused.value.condition == condition


def test_an_item_is_written_with_its_sub_states() -> None:
    written = write_item(
        RosterItem(
            contact=NURSE,
            subscription=Subscription.FROM,
            ask=True,
            approved=True,
            listed=True,
            name="N",
            groups=("S",),
        )
    )
    assert written.attrs == {
        "jid": "nurse@example.com",
        "name": "N",
        "subscription": "from",
        "ask": "subscribe",
        "approved": "true",
    }
    assert [g.text for g in written.findall("group")] == ["S"]


def test_an_item_that_is_only_pending_in_is_not_shown() -> None:
    result = write_roster(None, "v1", [RosterItem(contact=NURSE, pending_in=True)])
    assert result == E("query", ROSTER_NS)


def test_the_roster_is_not_repeated_to_a_client_that_has_it() -> None:
    known = [RosterItem(contact=NURSE, listed=True)]
    assert write_roster("v7", "v7", known) is None
    fresh = write_roster("", "v7", known)
    assert fresh is not None
    assert (fresh.get("ver"), len(fresh.elements)) == ("v7", 1)


def test_a_removed_item_is_pushed_as_remove() -> None:
    pushed = write_push(RosterItem(contact=NURSE), "v8", "push-1").to(b"juliet@example.com")
    assert pushed.decode() == (
        "<iq type='set' id='push-1' to='juliet@example.com'><query xmlns='jabber:iq:roster' ver='v8'>"
        "<item jid='nurse@example.com' subscription='remove'/></query></iq>"
    )
