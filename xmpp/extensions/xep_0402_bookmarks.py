"""XEP-0402 PEP Native Bookmarks, unified with the bookmarks of old in private XML (XEP-0048, XEP-0049)."""

from __future__ import annotations

from presence.address import Address
from presence.errors import InvalidAddress
from presence.ports import Kept, KeptStore
from xmpp.element import E, Element
from xmpp.extensions import Extension, Request, Status
from xmpp.extensions.xep_0049_private_xml import COLLECTION as PRIVATE
from xmpp.extensions.xep_0049_private_xml import MAX_ELEMENTS
from xmpp.extensions.xep_0163_pep import put, take_back
from xmpp.jid import parse_jid
from xmpp.nodes import CONFIGS, ITEMS
from xmpp.pubsub import MAX_ITEMS
from xmpp.reader import parse_fragment
from xmpp.serialiser import serialise_children

NODE = "urn:xmpp:bookmarks:1"
OLD_NS = "storage:bookmarks"
OLD_KEY = f"{{{OLD_NS}}}storage"
OPTIONS = {
    "pubsub#access_model": ("whitelist",),
    "pubsub#max_items": ("max",),
    "pubsub#persist_items": ("true",),
    "pubsub#send_last_published_item": ("never",),
}
"As §3.2 wants the node."


async def _kept(request: Request, collection: str, elements: list[Element]) -> None:
    """A client changed its bookmarks one way: do it the other way, too."""
    if collection == ITEMS + NODE:
        await _into_storage(request.router.service.belongings, request.session.address)
    elif collection == PRIVATE:
        for element in elements:
            if (element.ns, element.name) == (OLD_NS, "storage"):
                await _into_node(request, element)


async def _into_storage(kept: KeptStore, owner: Address) -> None:
    before = await kept.kept(owner, PRIVATE, OLD_KEY)
    others = (
        [c for c in parse_fragment(before[0].data)[0].elements if c.name != "conference"] if before else []
    )
    rooms = [_old(each) for each in await kept.kept(owner, ITEMS + NODE)]
    data = serialise_children([E("storage", OLD_NS, {}, *others, *rooms)])
    await kept.keep(owner, PRIVATE, OLD_KEY, data, MAX_ELEMENTS)


async def _into_node(request: Request, storage: Element) -> None:
    router, owner = request.router, request.session.address
    kept = router.service.belongings
    known = {each.name: parse_fragment(each.data)[0] for each in await kept.kept(owner, ITEMS + NODE)}
    options = {} if await kept.kept(owner, CONFIGS, NODE) else OPTIONS
    wanted: dict[str, Element] = {}
    for room in storage.findall("conference")[:MAX_ITEMS]:
        try:
            jid = parse_jid(room.get("jid")).full
        except InvalidAddress:
            continue
        wanted[jid] = _new(room, known.get(jid))
    for jid, conference in wanted.items():
        if known.get(jid) != conference:
            await put(router, owner, NODE, jid, [conference], options)
            options = {}
    for jid in known.keys() - wanted.keys():
        await take_back(router, owner, NODE, jid)


def _old(item: Kept) -> Element:
    (conference,) = parse_fragment(item.data)
    room = E("conference", OLD_NS, {"jid": item.name, **_attributes(conference)})
    for child in conference.elements:
        if child.name in ("nick", "password"):
            room.append(E(child.name, OLD_NS, {}, child.text))
    return room


def _new(room: Element, before: Element | None) -> Element:
    """What the old form cannot say stays as it was."""
    conference = E("conference", NODE, _attributes(room))
    for child in room.elements:
        if child.name in ("nick", "password"):
            conference.append(E(child.name, NODE, {}, child.text))
    extensions = before.find("extensions") if before is not None else None
    return conference.append(extensions) if extensions is not None else conference


def _attributes(element: Element) -> dict[str, str]:
    return {name: element.get(name) for name in ("name", "autojoin") if name in element.attrs}


EXTENSION = Extension(
    spec="XEP-0402",
    name="PEP Native Bookmarks",
    version="1.2.0",
    status=Status.COMPLETE,
    notes="Unified with private XML storage, not with the single item of XEP-0048 1.1.",
    account_features=(f"{NODE}#compat",),
    kept=_kept,
)
