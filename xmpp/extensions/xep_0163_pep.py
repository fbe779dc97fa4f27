"""XEP-0163 Personal Eventing: every account is a small publish-subscribe service (XEP-0060) of its owner.

Whoever may see the owner's presence and says `NODE+notify` in its capabilities is told what is published, and
when it comes online what was published last. The process a client is connected to knows its capabilities: so
events go to all of a contact's processes, and each tells whom it concerns.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from presence.address import Address
from presence.blocking import NOBODY
from presence.errors import PresenceError
from presence.policy import Standing
from presence.ports import Kept, KeptStore
from xmpp import belongings, pubsub
from xmpp.capabilities import NOTIFY, features_of
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.forms import NS as FORM_NS
from xmpp.forms import read_form, write_form
from xmpp.jid import JID
from xmpp.pubsub import CONFIG_FORM, NS, OWNER_NS, Access, NodeConfig, decode_config, encode_config
from xmpp.rate import Paces
from xmpp.reader import parse_fragment
from xmpp.relay import Carried, envelope
from xmpp.serialiser import serialise_children

if TYPE_CHECKING:
    from xmpp.router import XmppRouter
    from xmpp.session import Session

CONFIGS = "pep"
"Collection of the nodes' configurations."
ITEMS = "pep:"
"What the names of the nodes' own collections begin with."
MAX_NODES = 200
MAX_NAME = 512
"Characters of a node's name and of an item's id."
PAUSE = 0.25
"Seconds between looks whether a client has taken what it was sent."
CHANGES_PER_SECOND, CHANGES_AT_ONCE = 10.0, 300
"Of one person's nodes and items."
CHANGING = 10_000
"People at a time."
WEIGHT = 16_384
"Bytes of an item that count as one change more."
LOOKED_UP = 8
"Bytes that a client's wish to hear of a node counts as for each contact."
MAX_ANSWER = 1_048_576
"Bytes of items in one answer."


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
    await _tell(router, owner, node, config, pubsub.item_event(node, id, shown))


async def take_back(
    router: XmppRouter, owner: Address, node: str, id: str, *, silently: bool = False
) -> None:
    """Retract an item on the owner's behalf. Raises `StanzaError` when there is none."""
    kept = router.service.belongings
    found = await kept.kept(owner, CONFIGS, node)
    if not found or not await kept.discard(owner, ITEMS + node, id):
        raise StanzaError("item-not-found")
    if not silently:
        await _tell(router, owner, node, decode_config(found[0].data), pubsub.retract_event(node, id))


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


async def _purge(request: Request, action: Element) -> Element | None:
    node = _node(action)
    config = await _config(request, node)
    await request.router.service.belongings.discard(request.session.address, ITEMS + node)
    await _tell(request.router, request.session.address, node, config, pubsub.node_event(node, "purge"))
    await _changed(request, node, [])
    return None


async def _delete(request: Request, action: Element) -> Element | None:
    node = _node(action)
    config = await _config(request, node)
    owner, kept = request.session.address, request.router.service.belongings
    await kept.discard(owner, ITEMS + node)
    await kept.discard(owner, CONFIGS, node)
    await _tell(request.router, request.session.address, node, config, pubsub.node_event(node, "delete"))
    await _changed(request, node, [])
    return None


# --- what others may do ---------------------------------------------------------------------------------


async def _items(request: Request, action: Element) -> Element | None:
    """§6.5; the latest ones that fit into an answer."""
    node = _node(action)
    standing = await belongings.standing(request, "item-not-found")
    config = await _config(request, node)
    if request.target is Target.USER:
        if not config.admits(standing, None) and config.access is not Access.ROSTER:
            raise config.refusal()
        if config.access is Access.ROSTER and not await _in_group(request, config):
            raise config.refusal()
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


async def _in_group(request: Request, config: NodeConfig) -> bool:
    _, items = await request.router.service.roster(request.to.bare)
    item = next((i for i in items if i.contact == request.session.address), None)
    return config.admits(Standing.PENDING, item)


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
    ("get", OWNER_NS, "configure"): _configuration,
    ("set", OWNER_NS, "configure"): _configure,
    ("set", OWNER_NS, "purge"): _purge,
    ("set", OWNER_NS, "delete"): _delete,
}


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
    if act is not _items:
        belongings.only_own(request)
    if request.stanza.get("type") == "set":
        _paced(request, 1)
    return await act(request, children[0])


# --- notifications --------------------------------------------------------------------------------------


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """What is told to all processes with clients of a contact."""

    event: bytes
    besides: tuple[str, ...] = ()
    "Resources that do not hear of it (XEP-0191)."


_encode_notice = msgspec.msgpack.Encoder().encode
_decode_notice = msgspec.msgpack.Decoder(Notice).decode


async def _tell(router: XmppRouter, owner: Address, node: str, config: NodeConfig, event: bytes) -> None:
    """In order of publication: the owner's next request waits for it."""
    whom, blocklist = [owner], NOBODY
    if config.access is not Access.WHITELIST:
        blocklist = await router.service.blocking.of(owner)
        _, items = await router.service.roster(owner)
        whom += [
            i.contact
            for i in items
            if i.seen and config.admits(Standing.ACTIVE, i) and not blocklist.covers(i.contact)
        ]
    sender = JID.of(owner)
    id = router.service.new_trace()
    for contact in whom:
        to = JID.of(contact)
        if router.service.serves(contact.domain):
            besides = tuple(blocklist.resources(contact)) if contact != owner else ()
            notice = _encode_notice(Notice(event, besides))
            carried = Carried(pubsub.EVENT_NS, node, sender.full, to.full, id, notice)
        else:  # through a component; nothing is known of their clients (§4.3.1)
            data = pubsub.write_notification(sender.full, to.full, id, event)
            carried = Carried("message", "headline", sender.full, to.full, id, data)
            to = JID("", contact.domain)
        await router.service.relay(envelope(carried, to))


def _heard(router: XmppRouter, carried: Carried, to: JID) -> None:
    """An event, for those of our clients that want to hear of its node (`Carried.type`)."""
    wanted = carried.type + NOTIFY
    notice = _decode_notice(carried.stanza)
    for session in router.sessions_of(to.bare):
        blocked = session.jid.resource in notice.besides
        if session.available and not blocked and wanted in features_of(session):
            data = pubsub.write_notification(carried.sender, session.jid.full, carried.id, notice.event)
            session.send(data, "message")


def _capable(session: Session, features: frozenset[str]) -> None:
    wanted = sorted(each.removesuffix(NOTIFY) for each in features if each.endswith(NOTIFY))
    if wanted:
        session.runtime.spawn(_show_last(session, wanted))


async def _show_last(session: Session, nodes: list[str]) -> None:
    """What was published last, of everybody the client's user may see (XEP-0163 §4.3.4)."""
    service, me = session.router.service, session.address
    try:
        _, items = await service.roster(me)
        hidden = await service.blocking.blocked_by(me, session.jid.resource)
        mine = await service.blocking.of(me)
        session.charge(LOOKED_UP * len(items) * len(nodes))
        owners = [me, *(i.contact for i in items if i.sees and i.contact not in hidden)]
        owners = [owner for owner in owners if owner == me or not mine.covers(owner)]
        configs = await service.belongings.kept_by(owners, CONFIGS, nodes)
        latest = await service.belongings.latest(owners, [ITEMS + node for node in nodes])
        for (owner, collection), item in latest.items():
            node = collection.removeprefix(ITEMS)
            found = configs.get((owner, node))
            if found is None or not session.available:
                continue
            while session.congested and not session.ended:
                await session.runtime.sleep(PAUSE)
            config = decode_config(found.data)
            if config.send_last and (owner == me or await _admitted(session, owner, config)):
                kept = parse_fragment(item.data)
                shown = belongings.shown(session.router, owner, collection, kept)
                event = pubsub.item_event(node, item.name, shown)
                id, to = service.new_trace(), session.jid.full
                data = pubsub.write_notification(str(owner), to, id, event, item.changed)
                session.send(data, "message")
    except PresenceError:
        session.router.metrics.count("xmpp_last_items_missed_total")


async def _admitted(session: Session, owner: Address, config: NodeConfig) -> bool:
    if config.access is not Access.ROSTER:
        return config.admits(Standing.ACTIVE, None)
    _, items = await session.router.service.roster(owner)
    return any(config.admits(Standing.ACTIVE, i) for i in items if i.contact == session.address)


async def _listed(request: Request) -> list[Element]:
    """The account's nodes (XEP-0060 §5.2): all to the owner, the readable ones to others."""
    found = await request.router.service.belongings.kept(request.to.bare, CONFIGS)
    own = request.target is Target.ACCOUNT
    names = [each.name for each in found if own or decode_config(each.data).admits(Standing.ACTIVE, None)]
    ns = "http://jabber.org/protocol/disco#items"
    return [E("item", ns, {"jid": str(request.to.bare), "node": name}) for name in names]


FEATURES = (
    "access-open", "access-presence", "access-roster", "access-whitelist", "auto-create", "auto-subscribe",
    "config-node", "config-node-max", "create-and-configure", "create-nodes", "delete-items", "delete-nodes",
    "filtered-notifications", "item-ids", "last-published", "multi-items", "persistent-items",
    "presence-notifications", "publish", "publish-options", "purge-nodes", "retract-items", "retrieve-items",
)  # fmt: skip
TARGETS = frozenset({Target.ACCOUNT, Target.USER})

EXTENSION = Extension(
    spec="XEP-0163",
    name="Personal Eventing Protocol",
    version="1.2.2",
    status=Status.PARTIAL,
    notes="Subscriptions come with presence alone; a whitelist is the owner.",
    account_features=(NS, *(f"{NS}#{feature}" for feature in FEATURES)),
    account_identities=(("pubsub", "pep"),),
    account_items=_listed,
    iq=tuple(
        Iq(type=type_, ns=ns, name="pubsub", targets=TARGETS, handle=_handle, strangers=type_ == "get")
        for type_ in ("get", "set")
        for ns in (NS, OWNER_NS)
    ),
    words={pubsub.EVENT_NS: _heard},
    capable=_capable,
)
