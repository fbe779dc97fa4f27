"""Whose documents there are, and how they are kept.

A document is kept as it was written, among what its owner's clients keep with the server; what others see is
made of it by its usage.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from math import ceil
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from presence.address import Address
from presence.ports import Accounts
from presence.service import PresenceService
from sip.addressing import to_uri
from sip.xcap import buddies
from sip.xcap.conflicts import Conflicting, XcapError
from sip.xcap.document import Document, Element, NotUtf8, NotWellFormed
from sip.xcap.manipulation import find
from sip.xcap.naming import user_of
from sip.xcap.selector import parse_selector
from sip.xcap.usages import Place, Usage, usages

MAX_DOCUMENTS = 32
"Of one usage and user."
MAX_KEPT = 2_097_152
"Bytes of one document as it is kept."
MAX_WEIGHT = 8_388_608
"Bytes of all that one person keeps with the server."
MAX_LISTED = 2_000
"People one list is followed to."
_LARGE = 32_768
"Bytes of a document that takes milliseconds to read."
_READ_LATELY = 4
"Documents that stay read; each may take some ten megabytes."
_SEPARATOR = "~~"


T = TypeVar("T")


class Aside(Protocol):
    """Work whose end others need not wait for."""

    async def __call__(self, work: Callable[[], T]) -> T: ...


async def at_once(work: Callable[[], T]) -> T:
    """Where nobody else waits."""
    return work()


class Library:
    """`root`: the XCAP root as clients know it, without a slash at its end."""

    def __init__(
        self,
        service: PresenceService,
        accounts: Accounts,
        domains: Sequence[str],
        root: str,
        reserved: Collection[str],
        now: Callable[[], float],
        aside: Aside = at_once,
        asking: Callable[[Address, int, float], float] = lambda owner, people, now: 0.0,
    ) -> None:
        """`reserved`: user parts of addresses that are something already. `aside` does what is long.
        `asking`: the seconds somebody must wait before they ask so many people at once."""
        self._asking = asking
        self.service = service
        self.now = now
        self._accounts = accounts
        self.domains = tuple(domains)
        self.root = root
        self.reserved = reserved
        self._aside = aside
        self._lately: deque[Document] = deque(maxlen=_READ_LATELY)

    async def work(self, size: int, work: Callable[[], T]) -> T:
        """On so many bytes of XML: aside when they are many."""
        return await self._aside(work) if size > _LARGE else work()

    def admit(self, owner: Address, people: int) -> None:
        """The owner is about to ask so many people. Raises `XcapError` 429."""
        wait = self._asking(owner, people, self.now())
        if wait:
            raise XcapError(429, "Too Many People At Once", (("Retry-After", str(ceil(wait))),))

    async def show(self, place: Place) -> Document | None:
        """What a client may read."""
        return await place.usage.show(self, place)

    async def written(self, place: Place) -> Document | None:
        """As the client wrote it."""
        collection, name = place.usage.stored_as(place.name)
        kept = await self.service.belongings.kept(place.user, _collection(collection), name)
        try:
            return await self._read(kept[0].data) if kept else None
        except (NotWellFormed, NotUtf8):  # pragma: no cover - it was read before it was kept
            return None

    async def _read(self, data: bytes) -> Document:
        """Those read last are not read again: whoever watches a list asks about each in it."""
        document = next((each for each in self._lately if each.data == data), None)
        if document is None:
            document = await self.work(len(data), Document(data).read)
            self._lately.append(document)
        return document

    async def keep(self, place: Place, document: Document) -> None:
        """Raises `Conflicting` where there is no room."""
        collection, name = place.usage.stored_as(place.name)
        kept = self.service.belongings
        if len(document.data) > MAX_KEPT:
            raise Conflicting("constraint-failure", "the document is too large")
        there = await kept.kept(place.user, _collection(collection))
        if name not in {each.name for each in there} and len(there) >= MAX_DOCUMENTS:
            raise Conflicting("constraint-failure", "too many documents")
        if await kept.weight(place.user) + len(document.data) > MAX_WEIGHT:
            raise Conflicting("constraint-failure", "too much is kept for this account")
        await kept.keep(place.user, _collection(collection), name, document.data, MAX_DOCUMENTS)

    async def drop(self, place: Place) -> None:
        collection, name = place.usage.stored_as(place.name)
        await self.service.belongings.discard(place.user, _collection(collection), name)

    async def names(self, usage: Usage, owner: Address) -> list[str]:
        """Documents that were written."""
        collection = _collection(usage.stored_as("index")[0])
        return sorted(each.name for each in await self.service.belongings.kept(owner, collection))

    async def exists(self, address: Address) -> bool:
        """There is an account."""
        return await self._accounts.find(address) is not None

    async def lists(self, owner: Address) -> Document:
        """The owner's buddy lists as they are now."""
        place = Place(usages()["resource-lists"], owner, "index")
        document = await self.show(place)
        assert document is not None
        return document

    # --- addresses ------------------------------------------------------------------------------------

    def url(self, place: Place) -> str:
        return f"{self.root}/{self.path(place)}"

    def path(self, place: Place) -> str:
        """Relative to the root."""
        tree = f"users/{to_uri(place.owner)}" if place.owner is not None else "global"
        return f"{place.usage.auid}/{tree}/{place.name}"

    def place(self, path: str) -> Place:
        """From a path below the root, as it stands in a URI, without node selector. Raises `XcapError`
        404."""
        auid, _, rest = path.lstrip("/").partition("/")
        usage = usages().get(unquote(auid))
        tree, _, rest = rest.partition("/")
        if usage is None or tree not in ("users", "global"):
            raise XcapError(404, "No Such Document")
        if tree == "global":
            return Place(usage, None, unquote(rest))
        xui, _, name = rest.partition("/")
        owner = user_of(unquote(xui))
        if owner is None:
            raise XcapError(404, "No Such User")
        return Place(usage, owner, unquote(name))

    async def listed(self, owner: Address, anchors: Iterable[str]) -> dict[str, list[Address]]:
        """Who stands in the lists of one's own that URIs point to; nobody in those that cannot be followed
        from here."""
        found: dict[str, list[Address]] = {}
        for anchor in anchors:
            element = await self.list_at(owner, anchor)
            found[anchor] = list(buddies.people_in(element))[:MAX_LISTED] if element is not None else []
        return found

    async def list_at(self, owner: Address, anchor: str) -> Element | None:
        """The list of one's own an absolute URI points to."""
        parts = urlsplit(anchor.strip())
        path, separator, selector = parts.path.partition(f"/{_SEPARATOR}")
        start = path.find("resource-lists/users/")
        if start < 0 or not separator:
            return None
        try:
            place = self.place(path[start:])
            wanted = parse_selector(selector, parts.query, buddies.NAMESPACE)
        except XcapError:
            return None
        if place.owner != owner or wanted.attribute is not None or wanted.bindings:
            return None
        document = await self.show(place)
        if document is None:
            return None
        element = await self.work(len(document.data), partial(find, document, wanted.steps))
        return element if element is not None and element.name == (buddies.NAMESPACE, "list") else None


def etag(document: Document) -> str:
    """The same for the same text, whoever made it."""
    return hashlib.blake2b(document.data, digest_size=12).hexdigest()


def _collection(auid: str) -> str:
    return f"xcap {auid}"
