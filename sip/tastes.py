"""Which bodies each phone takes beside plain text: learned from what it sends, accepts and refuses, and from
what it says when it registers.

text/plain is the floor. A phone that refuses something with 415 is not sent it again, until it shows by its
own doing that it knows it. Kept in memory: after a restart it is learned anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from presence.address import Address

_MOST = 20_000
"Phones remembered."

Phone = tuple[Address, str]
"Account and endpoint."


class Tastes:
    def __init__(self) -> None:
        self._taken: OrderedDict[Phone, frozenset[str]] = OrderedDict()
        self._announced: OrderedDict[Phone, frozenset[str]] = OrderedDict()
        "What it said when it registered."

    def learn(self, phone: Phone, media: Iterable[str]) -> None:
        """It takes these, too."""
        known = self._taken.get(phone, frozenset())
        more = known.union(media)
        if more != known:
            self._taken[phone] = more
            self._taken.move_to_end(phone)
            if len(self._taken) > _MOST:
                self._taken.popitem(last=False)

    def announce(self, phone: Phone, media: Iterable[str]) -> None:
        """It says that it takes these: believed once, as it says so again whenever it registers."""
        said = frozenset(media)
        if self._announced.get(phone, frozenset()) != said:
            self._announced[phone] = said
            if len(self._announced) > _MOST:
                self._announced.popitem(last=False)
            self.learn(phone, said)

    def unlearn(self, phone: Phone, media: str) -> None:
        known = self._taken.get(phone)
        if known is not None:
            self._taken[phone] = known - {media}

    def takes(self, phone: Phone, media: str) -> bool:
        return media in self._taken.get(phone, ())
