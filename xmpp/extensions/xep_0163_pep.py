"""XEP-0163 Personal Eventing: every account is a small publish-subscribe service (XEP-0060) of its owner.

Who is told what is published is in `xmpp.events`, who may read it in `xmpp.nodes`. There is one publisher of
a node, its owner. Left out: subscriptions to the collection of all nodes, which can be listed, and
`replyto` in events (§4.3.1).
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from presence.address import Address
from presence.policy import Standing
from presence.ports import Kept, KeptStore
from xmpp import belongings, nodes, pubsub
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.events import capable, heard, show_newest, tell
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.extensions.xep_0030_disco import INFO_NS, ITEMS_NS
from xmpp.forms import NS as FORM_NS
from xmpp.forms import read_form, write_form
from xmpp.nodes import CONFIGS, ITEMS
from xmpp.pubsub import CONFIG_FORM, NS, OWNER_NS, Access, NodeConfig, decode_config, encode_config
from xmpp.rate import Paces
from xmpp.reader import parse_fragment
from xmpp.serialiser import serialise_children

if TYPE_CHECKING:
    from xmpp.router import XmppRouter

MAX_NODES = 200
MAX_NAME = 512
"Characters of a node's name and of an item's id."
CHANGES_PER_SECOND, CHANGES_AT_ONCE = 10.0, 300
"Of one person's nodes and items."
CHANGING = 10_000
"People at a time."
WEIGHT = 16_384
"Bytes of an item that count as one change more."
MAX_ANSWER = 1_048_576
"Bytes of items in one answer."
LOOKED_THROUGH = 1024
"Bytes that a node counts as whose subscribers are looked through."


# --- nodes ----------------------------------------------------------------------------------------------


async def _config(request: Request, node: str) -> NodeConfig:
    """Raises `StanzaError` when there is no such node."""
    found = await request.router.service.belongings.kept(request.to.bare, CONFIGS, node)
    if not found:
        raise StanzaError("item-not-found")
    return decode_config(found[0].data)


async def _save(kept: KeptStore, owner: Address, node: str, config: NodeConfig) -> None:
    await kept.keep(owner, CONFIGS, node, encode_config(config), MAX_NODES)


async def _make(kept: KeptStore, owner: Address, node: str, config: NodeConfig) -> None:
    if len(await kept.kept(owner, CONFIGS)) >= MAX_NODES:
        raise StanzaError("resource-constraint", "wait", "too many nodes")
    await _save(kept, owner, node, config)


def _node(action: Element) -> str:
    node = action.get("node")
    if not 0 < len(node) <= MAX_NAME:
        raise pubsub.error("bad-request", "nodeid-required", "modify")
    return node


def _form(parent: Element | None) -> dict[str, tuple[str, ...]]:
    form = parent.find("x", FORM_NS) if parent is not None else None
    return read_form(form) if form is not None else {}


# --- what the owner does --------------------------------------------------------------------------------


async def _publish(request: Request, action: Element) -> Element | None:
    node = _node(action)
    items = action.findall("item")
    if len(items) != 1:
        raise pubsub.error("bad-request", "item-required", "modify")
    payload = items[0].elements
    if len(payload) != 1:
        raise pubsub.error("bad-request", "invalid-payload" if payload else "payload-required", "modify")
    id = items[0].get("id") or secrets.token_urlsafe(12)
    if len(id) > MAX_NAME:
        raise StanzaError("bad-request", text="an id too long")
    payload = belongings.taken(request.router, request.session.address, ITEMS + node, payload)
    options = _form(request.payload.find("publish-options"))
    size = len(serialise_children(payload))
    await belongings.weigh(request, size)
    _paced(request, size // WEIGHT)
    await put(request.router, request.session.address, node, id, payload, options)
    await _changed(request, node, payload)
    return E("pubsub", NS, {}, E("publish", NS, {"node": node}, E("item", NS, {"id": id})))


async def put(
    router: XmppRouter,
    owner: Address,
    node: str,
    id: str,
    payload: list[Element],
    options: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> None:
    """Publish an item on the owner's behalf. Raises `StanzaError`: precondition-not-met, too many nodes."""
    kept = router.service.belongings
    found = await kept.kept(owner, CONFIGS, node)
    config = decode_config(found[0].data) if found else NodeConfig().with_fields(options)
    if not found:
        await _make(kept, owner, node, config)
    elif config.with_fields(options) != config:
        raise pubsub.error("conflict", "precondition-not-met")
    if config.persist:
        await kept.keep(owner, ITEMS + node, id, serialise_children(payload), config.max_items)
    shown = belongings.shown(router, owner, ITEMS + node, payload)
    await tell(router, owner, node, config, pubsub.item_event(node, id, shown))


async def take_back(
    router: XmppRouter, owner: Address, node: str, id: str, *, silently: bool = False
) -> None:
    """Retract an item on the owner's behalf. Raises `StanzaError` when there is none."""
    kept = router.service.belongings
    found = await kept.kept(owner, CONFIGS, node)
    if not found or not await kept.discard(owner, ITEMS + node, id):
        raise StanzaError("item-not-found")
    if not silently:
        await tell(router, owner, node, decode_config(found[0].data), pubsub.retract_event(node, id))


async def _retract(request: Request, action: Element) -> Element | None:
    node = _node(action)
    items = action.findall("item")
    if len(items) != 1 or not items[0].get("id"):
        raise pubsub.error("bad-request", "item-required", "modify")
    silently = action.get("notify") not in ("1", "true")
    await take_back(request.router, request.session.address, node, items[0].get("id"), silently=silently)
    await _changed(request, node, [])
    return None


async def _changed(request: Request, node: str, payload: list[Element]) -> None:
    for hook in request.router.registry.kept:
        await hook(request, ITEMS + node, payload)


async def _create(request: Request, action: Element) -> Element | None:
    node = _node(action)
    owner, kept = request.session.address, request.router.service.belongings
    if await kept.kept(owner, CONFIGS, node):
        raise StanzaError("conflict")
    await _make(kept, owner, node, NodeConfig().with_fields(_form(request.payload.find("configure"))))
    return None


async def _configuration(request: Request, action: Element) -> Element | None:
    node = _node(action)
    form = write_form("form", CONFIG_FORM, (await _config(request, node)).fields())
    return E("pubsub", OWNER_NS, {}, E("configure", OWNER_NS, {"node": node}, form))


async def _configure(request: Request, action: Element) -> Element | None:
    node = _node(action)
    config = await _config(request, node)
    form = action.find("x", FORM_NS)
    if form is None:
        raise StanzaError("bad-request", text="a form is wanted")
    if form.get("type") != "cancel":
        kept = request.router.service.belongings
        await _save(kept, request.session.address, node, config.with_fields(read_form(form)))
    return None


async def _affiliated(request: Request, action: Element) -> Element | None:
    """§8.9.1."""
    node = _node(action)
    return nodes.write_affiliations(await _config(request, node), request.session.address, node)


async def _affiliate(request: Request, action: Element) -> Element | None:
    """§8.9.2."""
    node, owner = _node(action), request.session.address
    config = nodes.change_affiliations(await _config(request, node), owner, action)
    await belongings.weigh(request, len(encode_config(config)))
    await _save(request.router.service.belongings, owner, node, config)
    return None


async def _purge(request: Request, action: Element) -> Element | None:
    node = _node(action)
    config = await _config(request, node)
    await request.router.service.belongings.discard(request.session.address, ITEMS + node)
    await tell(request.router, request.session.address, node, config, pubsub.node_event(node, "purge"))
    await _changed(request, node, [])
    return None


async def _delete(request: Request, action: Element) -> Element | None:
    node = _node(action)
    config = await _config(request, node)
    owner, kept = request.session.address, request.router.service.belongings
    await kept.discard(owner, ITEMS + node)
    await kept.discard(owner, CONFIGS, node)
    await tell(request.router, request.session.address, node, config, pubsub.node_event(node, "delete"))
    await kept.discard(owner, nodes.SUBSCRIBERS + node)
    await _changed(request, node, [])
    return None


# --- what others may do ---------------------------------------------------------------------------------


async def _items(request: Request, action: Element) -> Element | None:
    """§6.5; the latest ones that fit into an answer."""
    node = _node(action)
    await _readable(request, node)
    found = await request.router.service.belongings.kept(request.to.bare, ITEMS + node)
    wanted = {item.get("id") for item in action.findall("item")}
    if wanted:
        found = [each for each in found if each.name in wanted]
    most = action.get("max_items")
    if most.isascii() and most.isdigit() and len(most) < 10:
        found = found[max(0, len(found) - int(most)) :]
    answer = E("items", NS, {"node": node})
    for each in _fitting(found):
        kept = parse_fragment(each.data)
        shown = belongings.shown(request.router, request.to.bare, ITEMS + node, kept)
        answer.append(E("item", NS, {"id": each.name}, *shown))
    return E("pubsub", NS, {}, answer)


async def _readable(request: Request, node: str) -> NodeConfig:
    """Of a node that the sender may read. Raises `StanzaError`."""
    standing = await belongings.standing(request, "item-not-found")
    config = await _config(request, node)
    if request.target is Target.USER:
        asker, item = request.session.address, None
        if config.access is Access.ROSTER:
            item = await request.router.service.item(request.to.bare, asker)
        if not config.admits(asker, standing, item):
            raise config.refusal(asker)
    return config


async def _subscribe(request: Request, action: Element) -> Element | None:
    """§6.1; without approval. The client is sent what was published last."""
    node = _node(action)
    session, owner = request.session, request.to.bare
    jid = nodes.subscriber(action, session.address, pubsub.error("bad-request", "invalid-jid", "modify"))
    config = await _readable(request, node)
    if request.target is Target.USER:  # owners hear of it in any case
        await nodes.subscribe(request.router.service.belongings, owner, node, jid)
        if config.send_last and jid.resource in ("", session.jid.resource):
            session.runtime.spawn(show_newest(session, owner, node))
    return E("pubsub", NS, {}, nodes.write_subscription(node, jid.full, "subscribed"))


async def _unsubscribe(request: Request, action: Element) -> Element | None:
    """§6.2."""
    node = _node(action)
    jid = nodes.subscriber(action, request.session.address, StanzaError("forbidden"))
    await belongings.standing(request, "item-not-found")
    await _config(request, node)
    if request.target is Target.USER:
        await nodes.unsubscribe(request.router.service.belongings, request.to.bare, node, jid)
    return E("pubsub", NS, {}, nodes.write_subscription(node, jid.full, "none"))


async def _subscriptions(request: Request, action: Element) -> Element | None:
    await belongings.standing(request, "item-not-found")
    kept, owner, node = request.router.service.belongings, request.to.bare, action.get("node")
    among = [node] if node else await nodes.subscribed(kept, owner)
    request.session.charge(LOOKED_THROUGH * len(among))
    found = await nodes.subscriptions(kept, owner, request.session.address, among)
    return E("pubsub", NS, {}, E("subscriptions", NS, {"node": node} if node else {}, *found))


async def _affiliations(request: Request, action: Element) -> Element | None:
    """§5.7: the sender's; of all nodes, unless one is named."""
    await belongings.standing(request, "item-not-found")
    owner, asker, node = request.to.bare, request.session.address, action.get("node")
    listed = E("affiliations", NS, {"node": node} if node else {})
    found = await request.router.service.belongings.kept(owner, CONFIGS, node or None)
    request.session.charge(sum(len(each.data) for each in found))
    for each in found:
        mine = nodes.affiliation(decode_config(each.data), owner, asker)
        if mine != "none":
            listed.child("affiliation", attrs={"node": each.name, "affiliation": mine})
    return E("pubsub", NS, {}, listed)


def _fitting(found: list[Kept]) -> list[Kept]:
    """The latest whose sizes sum up to what one answer may have; always one."""
    size = 0
    for index in range(len(found) - 1, -1, -1):
        size += len(found[index].data)
        if size > MAX_ANSWER and index < len(found) - 1:
            return found[index + 1 :]
    return found


Action = Callable[[Request, Element], Awaitable[Element | None]]
_ACTIONS: dict[tuple[str, str, str], Action] = {
    ("set", NS, "publish"): _publish,
    ("set", NS, "retract"): _retract,
    ("set", NS, "create"): _create,
    ("get", NS, "items"): _items,
    ("set", NS, "subscribe"): _subscribe,
    ("set", NS, "unsubscribe"): _unsubscribe,
    ("get", NS, "subscriptions"): _subscriptions,
    ("get", NS, "affiliations"): _affiliations,
    ("get", OWNER_NS, "affiliations"): _affiliated,
    ("set", OWNER_NS, "affiliations"): _affiliate,
    ("get", OWNER_NS, "configure"): _configuration,
    ("set", OWNER_NS, "configure"): _configure,
    ("set", OWNER_NS, "purge"): _purge,
    ("set", OWNER_NS, "delete"): _delete,
}


_OF_OTHERS = (_items, _subscribe, _unsubscribe, _subscriptions, _affiliations)


def _paced(request: Request, weight: int) -> None:
    """All contacts are told of each change. Raises `StanzaError`."""
    paces: Paces = request.router.extra.setdefault(NS, Paces(CHANGES_PER_SECOND, CHANGES_AT_ONCE, CHANGING))
    if not paces.allow(request.session.address, request.router.clock(), weight):
        raise StanzaError("policy-violation", "wait", "too many changes at once")


async def _handle(request: Request) -> Element | None:
    children = request.payload.elements
    if not children:
        raise StanzaError("bad-request")
    act = _ACTIONS.get((request.stanza.get("type"), request.payload.ns, children[0].name))
    if act is None:
        raise StanzaError("feature-not-implemented")
    if act not in _OF_OTHERS:
        belongings.only_own(request)
    if request.stanza.get("type") == "set":
        _paced(request, 1)
    return await act(request, children[0])


# --- discovery ---------------------------------------------------------------------------------------------


async def _listed(request: Request) -> list[Element]:
    """The account's nodes (XEP-0060 §5.2): all to the owner, the readable ones to others."""
    found = await request.router.service.belongings.kept(request.to.bare, CONFIGS)
    own, who = request.target is Target.ACCOUNT, request.session.address
    request.session.charge(sum(len(each.data) for each in found))
    names = [
        each.name for each in found if own or decode_config(each.data).admits(who, Standing.ACTIVE, None)
    ]
    return [E("item", ITEMS_NS, {"jid": str(request.to.bare), "node": name}) for name in names]


async def _described(request: Request) -> Element:
    """A node (XEP-0060 §5.3, §5.5), to whom may read it."""
    node, ns = request.payload.get("node"), request.payload.ns
    await _readable(request, node)
    query = E("query", ns, {"node": node})
    if ns == INFO_NS:
        query.child("identity", attrs={"category": "pubsub", "type": "leaf"})
        query.child("feature", attrs={"var": NS})
        return query
    for each in await request.router.service.belongings.kept(request.to.bare, ITEMS + node):
        query.child("item", attrs={"jid": str(request.to.bare), "name": each.name})
    return query


FEATURES = (
    "access-open", "access-presence", "access-roster", "access-whitelist", "auto-create", "auto-subscribe",
    "config-node", "config-node-max", "create-and-configure", "create-nodes", "delete-items", "delete-nodes",
    "filtered-notifications", "item-ids", "last-published", "member-affiliation", "modify-affiliations",
    "multi-items", "outcast-affiliation", "persistent-items", "presence-notifications", "publish",
    "publish-options", "purge-nodes", "retract-items", "retrieve-affiliations", "retrieve-items",
    "retrieve-subscriptions", "subscribe",
)  # fmt: skip
TARGETS = frozenset({Target.ACCOUNT, Target.USER})

EXTENSION = Extension(
    spec="XEP-0163",
    name="Personal Eventing Protocol",
    version="1.2.2",
    status=Status.COMPLETE,
    notes="Without `replyto` in events (a SHOULD). The root collection is listed, not subscribed to.",
    account_features=(NS, *(f"{NS}#{feature}" for feature in FEATURES)),
    account_identities=(("pubsub", "pep"),),
    account_items=_listed,
    account_nodes=_described,
    iq=tuple(
        Iq(type=type_, ns=ns, name="pubsub", targets=TARGETS, handle=_handle, strangers=type_ == "get")
        for type_ in ("get", "set")
        for ns in (NS, OWNER_NS)
    ),
    words={pubsub.EVENT_NS: heard},
    capable=capable,
)
