"""rls-services: an address for a list of people, to be subscribed to (RFC 4826 §4, RFC 4662).

The lists are their owner's: nobody else can subscribe to them. The union of all (`global/index`, §4.4.8) is
kept as an index of who has which address, and is shown to nobody (§4.4.9).

# GAP RFC 4826 §4.5: of a list, entry-ref is not followed, and external to one's own lists only
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, urlsplit

from presence.address import Address
from presence.ports import Kept
from sip.addressing import to_uri
from sip.xcap import buddies
from sip.xcap.conflicts import Conflicting, not_unique
from sip.xcap.document import Document, Element
from sip.xcap.library import MAX_LISTED, Library
from sip.xcap.manipulation import path_of
from sip.xcap.naming import address_of, user_of
from sip.xcap.usages import Change, Place, Usage, register
from sip.xcap.usages.resource_lists import check_lists

NAMESPACE = "urn:ietf:params:xml:ns:rls-services"
ADDRESSES = "xcap rls-services addresses"
"Collection of a domain: whose list an address is."
MAX_SERVICES = 100
"Of one user."
_CLAIMED = 60.0
"Seconds an address is its claimer's though no document of theirs has it yet."
_TRIES = 4
_EMPTY = f'<?xml version="1.0" encoding="UTF-8"?>\n<rls-services xmlns="{NAMESPACE}"></rls-services>\n'


class ListServices(Usage):
    auid = "rls-services"
    content_type = "application/rls-services+xml"
    namespace = NAMESPACE
    namespaces = (NAMESPACE, buddies.NAMESPACE)
    schema = "rls-services"
    always = ("index",)

    async def show(self, library: Library, place: Place) -> Document | None:
        written = await library.written(place)
        return Document(_EMPTY.encode()) if written is None and place.name == "index" else written

    async def check(self, library: Library, place: Place, document: Document) -> None:
        services = services_of(document)
        if len(services) > MAX_SERVICES:
            raise Conflicting("constraint-failure", "too many services")
        seen: set[Address] = set()
        for service in services:
            check_lists(service)
            anchor = _anchor(service)
            if anchor and not _own_list(anchor, place.user):
                raise Conflicting("constraint-failure", "resource-list: an absolute URI of one's own list")
            address = address_of(service.get("uri"))
            if address is None or not library.service.serves(address.domain):
                raise Conflicting("constraint-failure", "uri: an address of this server is wanted")
            if place.name == "index" and (address in seen or await _taken(library, place.user, address)):
                raise await _not_free(library, place.user, document, address, service)
            seen.add(address)

    async def apply(self, library: Library, place: Place, change: Change) -> None:
        """Addresses are claimed before the document has them, and given back when it has not any more: of two
        who want one at the same time, one has it."""
        if place.name != "index":
            await super().apply(library, place, change)
            return
        before, after = _addresses(change.before), _addresses(change.after)
        claimed: list[Address] = []
        try:
            for address in sorted(after - before):
                if not await _claim(library, place.user, address):
                    assert change.after is not None
                    raise await _not_free(library, place.user, change.after, address)
                claimed.append(address)
            await super().apply(library, place, change)
        except BaseException:
            await _give_back(library, place.user, claimed)
            raise
        await _give_back(library, place.user, sorted(before - after))


def services_of(document: Document) -> list[Element]:
    return document.root.all(NAMESPACE, "service")


def packages_of(service: Element) -> tuple[str, ...]:
    """Event packages the list may be subscribed with; none: all."""
    packages = service.first(NAMESPACE, "packages")
    return tuple(each.text.strip() for each in packages.all(NAMESPACE, "package")) if packages else ()


async def people(library: Library, owner: Address, service: Element) -> dict[Address, str] | None:
    """Who is in a service's list, with the names it gives them; None where it points to no list."""
    inline = service.first(NAMESPACE, "list")
    element = inline if inline is not None else await library.list_at(owner, _anchor(service))
    if element is None:
        return None
    names: dict[Address, str] = {}
    traversed: set[str] = set()
    pending = [element]
    while pending and len(names) < MAX_LISTED:
        for each in pending.pop().walk():
            if each.name == (buddies.NAMESPACE, "entry"):
                address = address_of(each.get("uri"))
                if address is not None:
                    display = each.first(buddies.NAMESPACE, "display-name")
                    names.setdefault(address, display.text.strip() if display is not None else "")
            elif each.name == (buddies.NAMESPACE, "external") and each.get("anchor") not in traversed:
                traversed.add(each.get("anchor"))
                further = await library.list_at(owner, each.get("anchor"))
                pending += [further] if further is not None else []
    return names


async def members(
    library: Library, watcher: Address, address: Address, event: str
) -> dict[Address, str] | None:
    """Who is in the watcher's own list of that address; None where it has none for this event package
    (RFC 4826 §4.2)."""
    written = await library.written(Place(_usage, watcher, "index"))
    for service in services_of(written) if written is not None else ():
        if address_of(service.get("uri")) == address:
            packages = packages_of(service)
            return await people(library, watcher, service) if not packages or event in packages else None
    return None


def _anchor(service: Element) -> str:
    pointer = service.first(NAMESPACE, "resource-list")
    return pointer.text.strip() if pointer is not None else ""


def _own_list(anchor: str, owner: Address) -> bool:
    """RFC 4826 §4.4.5; it is not looked up."""
    parts = urlsplit(anchor)
    segments = parts.path.split("/")
    if not parts.scheme or not parts.netloc or "resource-lists" not in segments:
        return False
    behind = segments[segments.index("resource-lists") + 1 :]
    return len(behind) > 2 and behind[0] == "users" and user_of(unquote(behind[1])) == owner


def _addresses(document: Document | None) -> set[Address]:
    found = services_of(document) if document is not None else []
    return {address for each in found if (address := address_of(each.get("uri"))) is not None}


async def _taken(library: Library, owner: Address, address: Address) -> bool:
    """It is somebody's address, or a list of somebody else."""
    if address.local in library.reserved or await library.exists(address):
        return True
    kept = await _claimer(library, address)
    return kept is not None and await _holds(library, owner, address, kept)


async def _claimer(library: Library, address: Address) -> Kept | None:
    kept = await library.service.belongings.kept(Address("", address.domain), ADDRESSES, address.local)
    return kept[0] if kept else None


async def _holds(library: Library, owner: Address, address: Address, kept: Kept) -> bool:
    """Somebody else has the address, or is about to."""
    if kept.data == str(owner).encode():
        return False
    other = user_of(kept.data.decode())
    if other is None or not await library.exists(other):
        return False
    if kept.changed > library.now() - _CLAIMED:
        return True
    theirs = await library.written(Place(_usage, other, "index"))
    return address in _addresses(theirs)


async def _claim(library: Library, owner: Address, address: Address) -> bool:
    """The address is the owner's from now on. False: it is somebody else's."""
    domain, mine = Address("", address.domain), str(owner).encode()
    for _ in range(_TRIES):
        kept = await _claimer(library, address)
        if kept is not None and await _holds(library, owner, address, kept):
            return False
        old = kept.data if kept is not None else None
        if await library.service.belongings.swap(domain, ADDRESSES, address.local, old, mine):
            return True
    return False


async def _give_back(library: Library, owner: Address, addresses: Iterable[Address]) -> None:
    mine = str(owner).encode()
    for address in addresses:
        await library.service.belongings.swap(
            Address("", address.domain), ADDRESSES, address.local, mine, None
        )


async def _not_free(
    library: Library, owner: Address, document: Document, address: Address, service: Element | None = None
) -> Conflicting:
    """What its client hears, with addresses that are free."""
    named = (each for each in services_of(document) if address_of(each.get("uri")) == address)
    element = service or next(named)
    return not_unique(f"{path_of(element)}/@uri", await _alternatives(library, owner, address))


async def _alternatives(library: Library, owner: Address, address: Address) -> tuple[str, ...]:
    wanted = _candidates(owner, address)
    return tuple([to_uri(each) for each in wanted if not await _taken(library, owner, each)])


def _candidates(owner: Address, address: Address) -> Iterator[Address]:
    for suffix in (owner.local, secrets.token_hex(3)):
        yield Address(f"{address.local}-{suffix}", address.domain)


_usage = ListServices()
register(_usage)
