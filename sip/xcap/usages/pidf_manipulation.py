"""pidf-manipulation: a presence document that stays (RFC 4827): a source of its owner, as a PUBLISHed one
is, until it is deleted."""

from __future__ import annotations

from presence.address import Address
from presence.model import Source
from presence.ports import Lease, SourceWrite, Update
from sip.errors import ProtocolError
from sip.pidf import CONTENT_TYPE, parse_pidf
from sip.xcap.conflicts import Conflicting
from sip.xcap.document import Document
from sip.xcap.library import Library
from sip.xcap.usages import Change, Place, Usage, register

SOURCE = "sip-xcap:index"
KEEPERS = "xcap pidf-manipulation owners"
"Collection of a domain: who has such a document."
MAX_KEEPERS = 1_000_000


class PresenceDocuments(Usage):
    auid = "pidf-manipulation"
    content_type = CONTENT_TYPE
    namespace = "urn:ietf:params:xml:ns:pidf"
    namespaces = (namespace,)
    schema = "pidf"
    names = ("index",)

    async def check(self, library: Library, place: Place, document: Document) -> None:
        _source(place.user, document, 0.0)

    async def apply(self, library: Library, place: Place, change: Change) -> None:
        await super().apply(library, place, change)
        owner, kept = place.user, library.service.belongings
        domain = Address("", owner.domain)
        if change.after is None:
            await library.service.publish(owner, Update(drop_sources=(SOURCE,)))
            await kept.discard(domain, KEEPERS, owner.local)
        else:
            await kept.keep(domain, KEEPERS, owner.local, b"", MAX_KEEPERS)
            await publish(library, owner, change.after)


async def publish(library: Library, owner: Address, document: Document) -> None:
    now = library.now()
    write = SourceWrite(source=_source(owner, document, now), lease=Lease())
    await library.service.publish(owner, Update(put_sources=(write,)))


async def withdraw(library: Library, owner: Address) -> None:
    """There is no such account any more."""
    await library.service.publish(owner, Update(drop_sources=(SOURCE,)))
    await library.service.belongings.discard(Address("", owner.domain), KEEPERS, owner.local)


async def restate(library: Library) -> None:
    """Put them all once more: the bus may have lost them."""
    for name in library.domains:
        for keeper in await library.service.belongings.kept(Address("", name), KEEPERS):
            owner = Address(keeper.name, name)
            document = await library.written(Place(_usage, owner, "index"))
            if document is not None:
                await publish(library, owner, document)


def _source(owner: Address, document: Document, now: float) -> Source:
    try:
        published = parse_pidf(document.data, now)
    except ProtocolError as error:
        raise Conflicting("constraint-failure", error.reason) from None
    if published.entity != owner:
        raise Conflicting("constraint-failure", "entity: one's own address is wanted")
    return Source(id=SOURCE, tuples=published.tuples, person=published.person, since=now)


_usage = PresenceDocuments()
register(_usage)
