"""resource-lists: `index` is the roster (RFC 4826 §3, `sip.xcap.buddies`); other documents are only kept.

A client that writes or deletes all of `index` without having read it (no If-Match) takes nobody out of the
roster who is only there: it cannot know them.

# GAP RFC 4826 §3.1: entry-ref and external are kept, and not followed into the roster
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from presence.address import Address
from presence.errors import Condition, Refused
from presence.service import PresenceService
from presence.subscriptions import Act, RosterItem
from sip.xcap import buddies
from sip.xcap.buddies import NAMESPACE, Wishes
from sip.xcap.conflicts import Conflicting, XcapError, not_unique
from sip.xcap.document import Document, Element
from sip.xcap.library import Library
from sip.xcap.manipulation import path_of
from sip.xcap.usages import Change, Place, Usage, pres_rules, register

_ITEM = 64
"Bytes of a roster item in a document, about."
_UNIQUE = {"list": "name", "entry": "uri", "entry-ref": "ref", "external": "anchor"}


class ResourceLists(Usage):
    auid = "resource-lists"
    content_type = "application/resource-lists+xml"
    namespace = NAMESPACE
    namespaces = (NAMESPACE,)
    schema = "resource-lists"
    always = ("index",)

    async def show(self, library: Library, place: Place) -> Document | None:
        written = await library.written(place)
        if place.name != "index":
            return written
        _, items = await library.service.roster(place.user)
        size = (len(written.data) if written is not None else 0) + _ITEM * len(items)
        return await library.work(size, partial(buddies.shown, written, place.user, items))

    async def check(self, library: Library, place: Place, document: Document) -> None:
        await library.work(len(document.data), lambda: check_lists(document.root))

    async def apply(self, library: Library, place: Place, change: Change) -> None:
        if place.name != "index":
            await super().apply(library, place, change)
            return
        written = await library.written(place)
        size = len(change.after.data) if change.after is not None else 0
        wishes = await library.work(size, partial(_wishes, place.user, written, change))
        roster = await _roster(library.service, place.user)
        if fresh := sum(address not in roster for address, _ in wishes.put):
            library.admit(place.user, fresh)
        before = await pres_rules.pointing(library, place.user)
        if change.after is None:
            if written is None and not wishes.remove:
                raise XcapError(404, "No Such Document")
            await library.drop(place)
        else:
            await library.keep(place, change.after)
        await _fulfil(library.service, place.user, wishes, roster)
        after = await pres_rules.pointing(library, place.user)
        if before is not None and after is not None:
            await pres_rules.enforce(library, place.user, before, after, whole=False)
            await library.service.privacy.give(place.user, after.grants())


def _wishes(owner: Address, written: Document | None, change: Change) -> Wishes:
    before = buddies.buddies_of(change.before, owner) if change.before is not None else {}
    after = buddies.buddies_of(change.after, owner) if change.after is not None else {}
    wishes = buddies.wishes(before, after)
    if not change.whole or change.aware:
        return wishes
    known = buddies.buddies_of(written, owner) if written is not None else {}
    return Wishes(wishes.put, tuple(address for address in wishes.remove if address in known))


async def _roster(service: PresenceService, owner: Address) -> dict[Address, RosterItem]:
    _, items = await service.roster(owner)
    return {item.contact: item for item in items}


async def _fulfil(
    service: PresenceService, owner: Address, wishes: Wishes, roster: Mapping[Address, RosterItem]
) -> None:
    """Raises `Conflicting` for what the roster does not take; what came before that stays done."""
    for address in wishes.remove:
        if address in roster and roster[address].listed:
            await service.remove_item(owner, address)
    for address, buddy in wishes.put:
        try:
            item = await service.set_item(owner, address, buddy.name, buddy.groups)
            if not (item.sees or item.ask) and service.serves(address.domain):
                await service.act(owner, address, Act.SUBSCRIBE)
        except Refused as error:
            if error.condition is not Condition.REMOTE_NOT_FOUND:
                raise Conflicting("constraint-failure", error.text or str(error)) from None


def check_lists(root: Element) -> None:
    """RFC 4826 §3.4.5, of a list and all in it. Raises `Conflicting`."""
    for element in root.walk():
        seen: set[tuple[str, str]] = set()
        for each in element.children:
            attribute = _UNIQUE.get(each.local) if each.name[0] == NAMESPACE else None
            value = each.attributes.get(("", attribute)) if attribute is not None else None
            if value is None:
                continue
            if (each.local, value) in seen:
                raise not_unique(f"{path_of(each)}/@{attribute}")
            seen.add((each.local, value))
        if element.name == (NAMESPACE, "entry-ref") and _absolute(element.get("ref")):
            raise Conflicting("constraint-failure", "ref: a path relative to the XCAP root is wanted")
        if element.name == (NAMESPACE, "external") and not _is_http(element.get("anchor")):
            raise Conflicting("constraint-failure", "anchor: an absolute HTTP URI is wanted")


def _absolute(ref: str) -> bool:
    return ref.startswith("/") or ":" in ref.partition("/")[0]


def _is_http(anchor: str) -> bool:
    return anchor.startswith(("http://", "https://"))


register(ResourceLists())
