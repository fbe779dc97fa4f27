"""Application usages (RFC 4825 §5): one file each, with one registration; xcap-caps follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from presence.address import Address
from presence.discovery import load
from sip.xcap.conflicts import Conflicting, XcapError
from sip.xcap.document import Document

if TYPE_CHECKING:
    from sip.xcap.library import Library


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document is."""

    usage: Usage
    owner: Address | None
    "None: in the global tree."
    name: str

    @property
    def user(self) -> Address:
        assert self.owner is not None, "only documents of users are written"
        return self.owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A document before and after a request."""

    before: Document | None
    after: Document | None
    "None: it was deleted."
    whole: bool
    "The client wrote or deleted all of it, not one node."
    aware: bool
    "It said which version it knew (If-Match)."


class Usage:
    """Documents that are only kept. What differs, differs in a subclass."""

    auid = ""
    content_type = ""
    namespace = ""
    "Of elements without a prefix in selectors (§5.2)."
    namespaces: tuple[str, ...] = ()
    "That its schema knows."
    schema = ""
    "File in `schemas/`, without its ending."
    names: tuple[str, ...] = ()
    "The only documents there can be; empty: any."

    always: tuple[str, ...] = ()
    "Documents everybody has, written or not."

    def stored_as(self, name: str) -> tuple[str, str]:
        """Usage and name it is kept under: some documents have several names."""
        return self.auid, name

    async def show(self, library: Library, place: Place) -> Document | None:
        """What a client sees; None where there is nothing."""
        return await library.written(place)

    async def check(self, library: Library, place: Place, document: Document) -> None:
        """What the schema cannot say (§5.3). Raises `Conflicting`."""

    async def apply(self, library: Library, place: Place, change: Change) -> None:
        """Keep it, and do what follows from it. Raises `Conflicting`, `Unavailable`."""
        if change.after is None:
            if await library.written(place) is None:
                raise XcapError(404, "No Such Document")
            await library.drop(place)
        else:
            await library.keep(place, change.after)

    def refuse_name(self, name: str) -> None:
        """Raises `Conflicting` for a document there cannot be."""
        if self.names and name not in self.names:
            raise Conflicting("constraint-failure", f"documents of {self.auid}: {', '.join(self.names)}")


_usages: dict[str, Usage] = {}


def register(*usages: Usage) -> None:
    """Called once by each module here; a usage may be known under several names."""
    _usages.update((usage.auid, usage) for usage in usages)


@cache
def usages() -> dict[str, Usage]:
    """All of them, by AUID."""
    load(__name__)
    return _usages
