"""Nodes of a personal eventing service as values: their configuration (XEP-0060 §16.4.4), events (§7.1.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from presence.address import Address
from presence.policy import Standing
from presence.subscriptions import RosterItem
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StanzaError
from xmpp.serialiser import escape_attribute, serialise
from xmpp.timestamps import stamp

NS = "http://jabber.org/protocol/pubsub"
EVENT_NS = f"{NS}#event"
OWNER_NS = f"{NS}#owner"
ERRORS_NS = f"{NS}#errors"
CONFIG_FORM = f"{NS}#node_config"
MAX_ITEMS = 1000
"Items of one node; what `max` means."

MAX_GROUPS = 100
MAX_GROUP_NAMES = 4096
"Characters of them together."


class Access(StrEnum):
    """§4.5. Who may read a node."""

    OPEN = "open"
    PRESENCE = "presence"
    ROSTER = "roster"
    WHITELIST = "whitelist"
    "The owner and the members."


class NodeConfig(msgspec.Struct, frozen=True, array_like=True):
    """Defaults as XEP-0163 §5 has them."""

    access: Access = Access.PRESENCE
    max_items: int = 1
    persist: bool = True
    send_last: bool = True
    groups: tuple[str, ...] = ()
    "Roster groups allowed by `roster`."
    members: tuple[str, ...] = ()
    "Addresses allowed by `whitelist`."
    outcasts: tuple[str, ...] = ()
    "Who may read it in no case."

    def fields(self) -> dict[str, tuple[str, ...]]:
        return {
            "pubsub#access_model": (self.access.value,),
            "pubsub#max_items": (str(self.max_items),),
            "pubsub#persist_items": (str(int(self.persist)),),
            "pubsub#send_last_published_item": ("on_sub_and_presence" if self.send_last else "never",),
            "pubsub#roster_groups_allowed": self.groups,
        }

    def with_fields(self, fields: Mapping[str, tuple[str, ...]]) -> NodeConfig:
        """What a form makes of it; fields that are not kept here are left out. Raises `StanzaError`."""
        changes: dict[str, object] = {}
        for name, values in fields.items():
            value = values[0] if values else ""
            match name.removeprefix("pubsub#"):
                case "access_model":
                    changes["access"] = _access(value)
                case "max_items":
                    changes["max_items"] = _max_items(value)
                case "persist_items":
                    changes["persist"] = _boolean(value)
                case "send_last_published_item":
                    changes["send_last"] = value == "on_sub_and_presence"
                case "roster_groups_allowed":
                    changes["groups"] = _groups(values)
        return msgspec.structs.replace(self, **changes)

    def admits(self, who: Address, standing: Standing, item: RosterItem | None) -> bool:
        """Whether somebody else may read: from where they stand with the owner, and the owner's item for
        them, which is only needed for `roster`."""
        if self.outcasts and str(who) in self.outcasts:
            return False
        match self.access:
            case Access.OPEN:
                return True
            case Access.PRESENCE:
                return standing is Standing.ACTIVE
            case Access.ROSTER:
                return item is not None and not set(self.groups).isdisjoint(item.groups)
            case Access.WHITELIST:
                return str(who) in self.members

    def refusal(self, who: Address) -> StanzaError:
        """For whom it does not admit (XEP-0060 §6.1.3, §6.5.9)."""
        if str(who) in self.outcasts:
            return StanzaError("forbidden")
        match self.access:
            case Access.ROSTER:
                return error("not-authorized", "not-in-roster-group")
            case Access.WHITELIST:
                return error("not-allowed", "closed-node")
            case _:
                return error("not-authorized", "presence-subscription-required")


def _access(value: str) -> Access:
    try:
        return Access(value)
    except ValueError:
        raise StanzaError("not-acceptable", text="no such access model here") from None


def _max_items(value: str) -> int:
    if value == "max":
        return MAX_ITEMS
    if not (value.isascii() and value.isdigit() and 0 < len(value) < 10 and int(value) > 0):
        raise StanzaError("not-acceptable", text="max_items is a number, or max")
    return min(int(value), MAX_ITEMS)


def _groups(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(values) > MAX_GROUPS or sum(map(len, values)) > MAX_GROUP_NAMES:
        raise StanzaError("not-acceptable", text="too many groups")
    return values


def _boolean(value: str) -> bool:
    if value not in ("0", "1", "true", "false"):
        raise StanzaError("not-acceptable", text="true or false")
    return value in ("1", "true")


encode_config = msgspec.msgpack.Encoder().encode
decode_config = msgspec.msgpack.Decoder(NodeConfig).decode


def error(condition: str, pubsub: str, type: str = "") -> StanzaError:
    """With the application-specific condition of XEP-0060."""
    return StanzaError(condition, type, extra=E(pubsub, ERRORS_NS))


def item_event(node: str, id: str, payload: Iterable[Element]) -> bytes:
    return _event(E("items", EVENT_NS, {"node": node}, E("item", EVENT_NS, {"id": id}, *payload)))


def retract_event(node: str, id: str) -> bytes:
    return _event(E("items", EVENT_NS, {"node": node}, E("retract", EVENT_NS, {"id": id})))


def node_event(node: str, what: str) -> bytes:
    """`what`: `purge` or `delete`."""
    return _event(E(what, EVENT_NS, {"node": node}))


def _event(inner: Element) -> bytes:
    return serialise(E("event", EVENT_NS, {}, inner), CLIENT_NS).encode()


def write_notification(owner: str, to: str, id: str, event: bytes, at: float | None = None) -> bytes:
    """`at`: when it was published, for what is not new (§7.1.2.1)."""
    head = f"<message from='{escape_attribute(owner)}' to='{escape_attribute(to)}' type='headline' id='{id}'>"
    delay = "" if at is None else f"<delay xmlns='urn:xmpp:delay' stamp='{stamp(at)}'/>"
    return head.encode() + event + delay.encode() + b"</message>"
