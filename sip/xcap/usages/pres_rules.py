"""pres-rules: who may see one's presence (RFC 5025), also under the name OMA gave it.

The rules are a view of the one table: `allow` is a subscription of the watcher, `block` and `polite-block` an
entry of the blocklist, `confirm` means that the owner is asked. What is said of nobody in particular becomes
standing orders (`presence.orders`), and what is shown to whom goes to `presence.privacy`. There is one such
document for each user, whatever it is called.

# GAP RFC 5025 §3.2.1: somebody who is blocked stays allowed in the view where a list of OMA's allows them
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from presence.address import Address, parse_address
from presence.errors import InvalidAddress, Refused
from presence.orders import Handling
from presence.subscriptions import Act, RosterItem
from sip.xcap import rules
from sip.xcap.conflicts import Conflicting
from sip.xcap.document import Document
from sip.xcap.library import Library
from sip.xcap.rules import Changed, Rules
from sip.xcap.transformations import RULES
from sip.xcap.usages import Change, Place, Usage, register

_BLOCKING = (Handling.BLOCK, Handling.POLITE_BLOCK)


_PERSON = 64
"Bytes of somebody in a rule, about."


class PresenceRules(Usage):
    content_type = "application/auth-policy+xml"
    namespace = RULES
    namespaces = (RULES, rules.COMMON)
    schema = "pres-rules"
    always = ("index",)
    names = ("index", "pres-rules")

    def __init__(self, auid: str) -> None:
        self.auid = auid

    def stored_as(self, name: str) -> tuple[str, str]:
        return "pres-rules", "index"

    async def show(self, library: Library, place: Place) -> Document | None:
        owner = place.user
        written = await library.written(place) or await _unwritten(library, owner)
        _, items = await library.service.roster(owner)
        blocked = await _blocked(library, owner)
        allowed = {item.contact for item in items if item.seen or item.approved} - blocked
        read_rules = await read(library, owner, written)
        size = len(written.data) + _PERSON * (len(allowed) + len(blocked))
        return await library.work(size, partial(rules.shown, read_rules, owner, allowed, blocked))

    async def check(self, library: Library, place: Place, document: Document) -> None:
        await library.work(len(document.data), partial(rules.check, document))

    async def apply(self, library: Library, place: Place, change: Change) -> None:
        await super().apply(library, place, change)
        owner = place.user
        if change.after is None:
            # Whoever was allowed or blocked stays so; the rules that name nobody go.
            await library.service.orders.give(owner, None)
            await library.service.privacy.give(owner, ())
            return
        assert change.before is not None
        before, after = await read(library, owner, change.before), await read(library, owner, change.after)
        await library.service.orders.give(owner, after.orders())
        await library.service.privacy.give(owner, await library.work(len(change.after.data), after.grants))
        await enforce(library, owner, before, after, whole=change.whole)


async def pointing(library: Library, owner: Address) -> Rules | None:
    """The rules as they were written, where they point to lists; else None."""
    written = await library.written(Place(_usage, owner, "index"))
    return await read(library, owner, written) if written is not None and rules.anchors(written) else None


async def read(library: Library, owner: Address, document: Document) -> Rules:
    """With the lists it points to."""
    size = len(document.data)
    listed = await library.listed(owner, await library.work(size, partial(rules.anchors, document)))
    return await library.work(size, partial(Rules, document, lambda anchor: listed.get(anchor, ()), owner))


async def enforce(library: Library, owner: Address, before: Rules, after: Rules, *, whole: bool) -> None:
    """Do to the roster and the blocklist what the rules say differently now. Raises `Conflicting`."""
    service = library.service
    _, items = await service.roster(owner)
    roster = {item.contact: item for item in items}
    changed = rules.changes(before, after, owner, roster, whole=whole)
    block = [str(each.person) for each in changed if _blocks(each.after) and not _blocks(each.before)]
    unblock = [str(each.person) for each in changed if _blocks(each.before) and not _blocks(each.after)]
    try:
        if block:
            await service.blocking.block(owner, block)
        if unblock:
            await service.blocking.unblock(owner, unblock)
        for each in changed:
            act = _act(each, roster)
            if act is not None:
                await service.act(owner, each.person, act)
    except Refused as error:
        raise Conflicting("constraint-failure", error.text or str(error)) from None


def _blocks(verdict: rules.Verdict) -> bool:
    """Only who is named is on the blocklist; others are refused when they come."""
    return verdict.named and verdict.handling in _BLOCKING


def _act(each: Changed, roster: Mapping[Address, RosterItem]) -> Act | None:
    item = roster.get(each.person, RosterItem(contact=each.person))
    if each.after.handling is Handling.ALLOW:
        wanted = not item.seen and (item.pending_in or (each.after.named and not item.approved))
        return Act.SUBSCRIBED if wanted else None
    if _blocks(each.after):
        return None
    taken_back = item.seen or item.approved
    refused = item.pending_in and each.after.handling in _BLOCKING
    return Act.UNSUBSCRIBED if taken_back or refused else None


async def _unwritten(library: Library, owner: Address) -> Document:
    orders = await library.service.in_place(owner)
    handling = {Act.SUBSCRIBED: Handling.ALLOW, Act.UNSUBSCRIBED: Handling.BLOCK}
    said = handling.get(orders, Handling.CONFIRM) if orders is not None else Handling.CONFIRM
    return rules.unwritten(library.domains, said)


async def _blocked(library: Library, owner: Address) -> set[Address]:
    """People on the blocklist. Domains and single clients of theirs are XMPP's affair."""
    return set(_people((await library.service.blocking.of(owner)).names))


def _people(names: Iterable[str]) -> Iterable[Address]:
    for name in names:
        if "@" in name and "/" not in name:
            try:
                yield parse_address(name)
            except InvalidAddress:
                continue


_usage = PresenceRules("pres-rules")
register(_usage, PresenceRules("org.openmobilealliance.pres-rules"))
