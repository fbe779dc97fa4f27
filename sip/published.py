"""What a PUBLISHed document says, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass

from presence.address import Address
from presence.model import Person, PresenceTuple
from sip.calls import DialogInfo


@dataclass(frozen=True, slots=True)
class Published:
    """What a phone says about its user."""

    entity: Address | None
    "Whom the document is about; None when its entity is no address."
    tuples: tuple[PresenceTuple, ...] = ()
    person: Person | None = None
    calls: DialogInfo | None = None
    "Their calls, where that is what it is about."
