"""What is published, told to whom it concerns (XEP-0163 §4; XEP-0060 §7.1.2).

Whoever may see the owner's presence and says `NODE+notify` in its capabilities is told what is published, and
when it comes online what was published last; so is who asked for it. The process a client is connected to
knows its capabilities: so events go to all of a contact's processes, and each tells whom it concerns.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import structlog

from presence.address import Address
from presence.blocking import NOBODY, Blocklist
from presence.errors import PresenceError, Unavailable
from presence.policy import Standing
from presence.ports import Kept
from xmpp import belongings, pubsub
from xmpp.capabilities import NOTIFY, features_of
from xmpp.jid import JID, parse_jid
from xmpp.nodes import CONFIGS, ITEMS, subscribers
from xmpp.pubsub import Access, NodeConfig, decode_config
from xmpp.reader import parse_fragment
from xmpp.relay import Carried, envelope

if TYPE_CHECKING:
    from xmpp.router import XmppRouter
    from xmpp.session import Session

log = structlog.get_logger()

PAUSE = 0.25
"Seconds between looks whether a client has taken what it was sent."
LOOKED_UP = 8
"Bytes that a client's wish to hear of a node counts as for each contact."


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """What is told to all processes with clients of a contact."""

    event: bytes
    besides: tuple[str, ...] = ()
    "Resources that do not hear of it (XEP-0191)."
    automatic: bool = True
    "Clients that say in their capabilities that they want to, hear of it."
    named: tuple[str, ...] = ()
    "So do these resources, which asked for it; an empty one stands for all."


_encode_notice = msgspec.msgpack.Encoder().encode
_decode_notice = msgspec.msgpack.Decoder(Notice).decode


async def tell(router: XmppRouter, owner: Address, node: str, config: NodeConfig, event: bytes) -> None:
    """In order of publication: the owner's next request waits for it."""
    automatic: dict[Address, None] = {owner: None}
    asked: dict[Address, tuple[str, ...]] = {}
    blocklist = NOBODY
    if config.access is not Access.WHITELIST or config.members:
        blocklist = await router.service.blocking.of(owner)
        _, items = await router.service.roster(owner)
        admitted = [
            i
            for i in items
            if config.admits(i.contact, Standing.ACTIVE, i) and not blocklist.covers(i.contact)
        ]
        automatic |= dict.fromkeys(i.contact for i in admitted if i.seen)
        asked = await subscribers(router.service.belongings, owner, node)
        known = {i.contact: i for i in items} if asked else {}
        for each in list(asked):
            may = config.admits(each, Standing.PENDING, known.get(each)) and not blocklist.covers(each)
            if not may and each not in automatic:
                del asked[each]
    sender = JID.of(owner)
    id = router.service.new_trace()
    for contact in {**automatic, **asked}:
        to = JID.of(contact)
        if router.service.serves(contact.domain):
            besides = tuple(blocklist.resources(contact)) if contact != owner else ()
            named = asked.get(contact, ())
            if contact in automatic:  # what is known of their clients decides (§4.3.2)
                named = tuple(filter(None, named))
            notice = _encode_notice(Notice(event, besides, contact in automatic, named))
            carried = Carried(pubsub.EVENT_NS, node, sender.full, to.full, id, notice)
        else:  # through a component; nothing is known of their clients (§4.3.1)
            data = pubsub.write_notification(sender.full, to.full, id, event)
            carried = Carried("message", "headline", sender.full, to.full, id, data)
            to = JID("", contact.domain)
        await router.service.relay(envelope(carried, to))


def heard(router: XmppRouter, carried: Carried, to: JID) -> None:
    """An event, for those of our clients that want to hear of its node (`Carried.type`)."""
    try:
        notice = _decode_notice(carried.stanza)
    except msgspec.MsgspecError as broken:  # of another version of ours
        log.warning("relay_unreadable", address=str(to), reason=str(broken))
        return
    mine = router.service.blocking.known(to.bare)
    if mine is not None:
        _show(router, carried, to, notice, mine)
    elif router.sessions_of(to.bare):
        router.runtime.spawn(_show_unless_blocked(router, carried, to, notice))


async def _show_unless_blocked(router: XmppRouter, carried: Carried, to: JID, notice: Notice) -> None:
    with suppress(Unavailable):
        _show(router, carried, to, notice, await router.service.blocking.of(to.bare))


def _show(router: XmppRouter, carried: Carried, to: JID, notice: Notice, mine: Blocklist) -> None:
    wanted, sender = carried.type + NOTIFY, parse_jid(carried.sender).bare
    if sender != to.bare and mine.covers(sender):
        return
    for session in router.sessions_of(to.bare):
        resource = session.jid.resource
        if resource in notice.besides:
            continue
        asked = resource in notice.named or (session.available and "" in notice.named)
        if asked or (session.available and notice.automatic and wanted in features_of(session)):
            data = pubsub.write_notification(carried.sender, session.jid.full, carried.id, notice.event)
            session.send(data, "message")


def capable(session: Session, features: frozenset[str]) -> None:
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
                _show_item(session, owner, node, item)
    except PresenceError:
        session.router.metrics.count("xmpp_last_items_missed_total")


async def show_newest(session: Session, owner: Address, node: str) -> None:
    """To a client that asked to hear of the node (XEP-0060 §6.1.7)."""
    try:
        for item in (await session.router.service.belongings.latest([owner], [ITEMS + node])).values():
            session.charge(len(item.data))
            _show_item(session, owner, node, item)
    except PresenceError:
        session.router.metrics.count("xmpp_last_items_missed_total")


def _show_item(session: Session, owner: Address, node: str, item: Kept) -> None:
    shown = belongings.shown(session.router, owner, ITEMS + node, parse_fragment(item.data))
    event = pubsub.item_event(node, item.name, shown)
    id, to = session.router.service.new_trace(), session.jid.full
    session.send(pubsub.write_notification(str(owner), to, id, event, item.changed), "message")


async def _admitted(session: Session, owner: Address, config: NodeConfig) -> bool:
    item = None
    if config.access is Access.ROSTER:
        item = await session.router.service.item(owner, session.address)
    return config.admits(session.address, Standing.ACTIVE, item)
