"""Nodes of a personal eventing service: where they are kept, who may read them, and who asked to hear of
them, beside those who do as they see the owner's presence (XEP-0060 §5.6, §5.7, §6.1, §6.2, §8.9)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from presence.address import Address
from presence.errors import InvalidAddress
from presence.ports import KeptStore
from xmpp import pubsub
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.jid import JID, parse_jid
from xmpp.pubsub import ERRORS_NS, NS, OWNER_NS, NodeConfig

CONFIGS = "pep"
"Collection of the nodes' configurations."
ITEMS = "pep:"
"What the names of the nodes' own collections begin with."
SUBSCRIBERS = "pep-subscribers:"
"What the names of collections begin with that have the JIDs that asked to hear of a node."
MAX_SUBSCRIBERS = 500
"Of one node."
MAX_OF_ONE = 5
"JIDs of one person among them."
MAX_JID = 512
"Characters of a JID that asks to hear of a node."
MAX_AFFILIATED = 500
"Members and outcasts of one node, each."


# --- affiliations (§4.1) -----------------------------------------------------------------------------


def affiliation(config: NodeConfig, owner: Address, who: Address) -> str:
    """`owner`, `member`, `outcast` or `none`."""
    if who == owner:
        return "owner"
    name = str(who)
    return "outcast" if name in config.outcasts else "member" if name in config.members else "none"


def write_affiliations(config: NodeConfig, owner: Address, node: str) -> Element:
    """§8.9.1."""
    listed = E("affiliations", OWNER_NS, {"node": node})
    everybody = {str(owner): "owner", **dict.fromkeys(config.members, "member")}
    for jid, value in (everybody | dict.fromkeys(config.outcasts, "outcast")).items():
        listed.child("affiliation", attrs={"jid": jid, "affiliation": value})
    return E("pubsub", OWNER_NS, {}, listed)


def change_affiliations(config: NodeConfig, owner: Address, action: Element) -> NodeConfig:
    """§8.9.2: all of them, or none. Raises `StanzaError`."""
    members, outcasts = dict.fromkeys(config.members), dict.fromkeys(config.outcasts)
    for each in action.findall("affiliation"):
        try:
            who = parse_jid(each.get("jid")).bare
        except InvalidAddress:
            raise StanzaError("jid-malformed") from None
        wanted = each.get("affiliation")
        if (who == owner) != (wanted == "owner"):
            raise StanzaError("not-acceptable", text="a node here is its owner's, and nobody else's")
        if wanted not in ("", "owner", "member", "outcast", "none"):
            feature = f"{wanted}-affiliation" if wanted in ("publisher", "publish-only") else ""
            unsupported = E("unsupported", ERRORS_NS, {"feature": feature} if feature else {})
            raise StanzaError("feature-not-implemented", extra=unsupported)
        if wanted in ("", "owner"):
            continue
        members.pop(str(who), None)
        outcasts.pop(str(who), None)
        if wanted != "none":
            (members if wanted == "member" else outcasts)[str(who)] = None
    if max(len(members), len(outcasts)) > MAX_AFFILIATED:
        raise StanzaError("resource-constraint", "wait", "too many affiliations")
    return msgspec.structs.replace(config, members=tuple(members), outcasts=tuple(outcasts))


# --- subscriptions -----------------------------------------------------------------------------------


def subscriber(action: Element, asker: Address, otherwise: StanzaError) -> JID:
    """The JID a subscription is for (§6.1.3.1). Raises `StanzaError`: `otherwise` for somebody else's."""
    try:
        jid = parse_jid(action.get("jid"))
    except InvalidAddress:
        raise pubsub.error("bad-request", "invalid-jid", "modify") from None
    if jid.bare != asker:
        raise otherwise
    if len(jid.full) > MAX_JID:
        raise StanzaError("bad-request", text="the JID is too long")
    return jid


async def subscribe(kept: KeptStore, owner: Address, node: str, jid: JID) -> None:
    """Raises `StanzaError` when there are too many."""
    there = await kept.kept(owner, SUBSCRIBERS + node)
    names = {each.name for each in there}
    mine = [name for name in names if parse_jid(name).bare == jid.bare]
    if jid.full not in names and (len(names) >= MAX_SUBSCRIBERS or len(mine) >= MAX_OF_ONE):
        raise pubsub.error("policy-violation", "too-many-subscriptions", "wait")
    await kept.keep(owner, SUBSCRIBERS + node, jid.full, b"", MAX_SUBSCRIBERS)


async def unsubscribe(kept: KeptStore, owner: Address, node: str, jid: JID) -> None:
    """Raises `StanzaError` when there is no such subscription (§6.2.3.2)."""
    if not await kept.discard(owner, SUBSCRIBERS + node, jid.full):
        raise pubsub.error("unexpected-request", "not-subscribed", "cancel")


async def subscribers(kept: KeptStore, owner: Address, node: str) -> dict[Address, tuple[str, ...]]:
    """Who asked to hear of it → their resources; an empty one stands for all."""
    found: dict[Address, tuple[str, ...]] = {}
    for each in await kept.kept(owner, SUBSCRIBERS + node):
        jid = parse_jid(each.name)
        found[jid.bare] = (*found.get(jid.bare, ()), jid.resource)
    return found


async def subscribed(kept: KeptStore, owner: Address) -> list[str]:
    """Nodes that somebody asked to hear of."""
    found = await kept.collections(owner)
    return [each.removeprefix(SUBSCRIBERS) for each in found if each.startswith(SUBSCRIBERS)]


async def subscriptions(
    kept: KeptStore, owner: Address, asker: Address, among: Iterable[str]
) -> list[Element]:
    """§5.6: the asker's, of these nodes."""
    return [
        write_subscription(node, each.name, "subscribed")
        for node in among
        for each in await kept.kept(owner, SUBSCRIBERS + node)
        if parse_jid(each.name).bare == asker
    ]


def write_subscription(node: str, jid: str, state: str) -> Element:
    return E("subscription", NS, {"node": node, "jid": jid, "subscription": state})
