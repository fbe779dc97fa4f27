"""The roster on the wire (RFC 6121 §2): reading sets, writing results and pushes, versioning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from presence.address import Address
from presence.errors import InvalidAddress
from presence.subscriptions import RosterItem
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StanzaError
from xmpp.jid import parse_jid
from xmpp.presence import Addressable
from xmpp.serialiser import escape_attribute, serialise

ROSTER_NS = "jabber:iq:roster"
MAX_TEXT = 1023
"Bytes of a name or group (§2.3.3)."
MAX_GROUPS = 64


@dataclass(frozen=True, slots=True)
class RosterSet:
    contact: Address
    name: str = ""
    groups: tuple[str, ...] = ()
    remove: bool = False


def read_set(query: Element) -> RosterSet:
    """A roster set's one item. Raises `StanzaError` as §2.3.3 wants."""
    items = query.findall("item")
    if len(items) != 1:
        raise StanzaError("bad-request", text="a roster set has one item")
    item = items[0]
    if "jid" not in item.attrs:
        raise StanzaError("bad-request", text="an item has a jid")
    try:
        contact = parse_jid(item.get("jid")).bare
    except InvalidAddress as broken:
        raise StanzaError("jid-malformed", text=str(broken)) from None
    if item.get("subscription") == "remove":
        return RosterSet(contact, remove=True)
    groups = [group.text for group in item.findall("group")]
    if len(set(groups)) != len(groups):
        raise StanzaError("bad-request", text="the same group twice")
    if any(not group for group in groups):
        raise StanzaError("not-acceptable", text="an empty group")
    name = item.get("name")
    if len(groups) > MAX_GROUPS or any(len(text.encode()) > MAX_TEXT for text in (name, *groups)):
        raise StanzaError("not-acceptable", text="too long or too many")
    return RosterSet(contact, name, tuple(groups))


def write_item(item: RosterItem) -> Element:
    """§2.1.2. An item that is no longer listed is one that was removed (§2.5)."""
    attrs = {"jid": str(item.contact)}
    if not item.listed:
        return Element("item", ROSTER_NS, attrs | {"subscription": "remove"})
    if item.name:
        attrs["name"] = item.name
    attrs["subscription"] = item.subscription.value
    if item.ask:
        attrs["ask"] = "subscribe"
    if item.approved:
        attrs["approved"] = "true"
    return Element("item", ROSTER_NS, attrs, [E("group", ROSTER_NS, {}, group) for group in item.groups])


def write_roster(known: str | None, version: str, items: Iterable[RosterItem]) -> Element | None:
    """The payload of a roster result; None when the client's version is the current one (§2.6.3).

    `known` is the client's `ver`, None when it has none to say: it does not use versions.
    """
    if known is not None and known == version:
        return None
    query = Element("query", ROSTER_NS, {} if known is None else {"ver": version})
    query.children.extend(write_item(item) for item in items if item.listed)
    return query


def write_push(item: RosterItem, version: str, number: str) -> Addressable:
    """A roster push (§2.1.6) for every interested resource; `number` becomes its id."""
    attrs = {"ver": version} if version else {}
    payload = serialise(Element("query", ROSTER_NS, attrs, [write_item(item)]), CLIENT_NS)
    head = f"<iq type='set' id='{escape_attribute(number)}' to='"
    return Addressable(head.encode(), f"'>{payload}</iq>".encode())
