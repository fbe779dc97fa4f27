"""RFC 7081 CUSAX: vCards (XEP-0054, XEP-0292) name the address under which their owner is reached by SIP.

It is in what is given out, not in what is kept: cards from before have it, and none does when it is switched
off. A client that reads its own card, changes something and writes it leaves it out of what is kept, so that
it is there once. Who has put another SIP address into the card has said otherwise, and nothing is added.

As a telephone number (§3.1) only where calls get there: Tandem carries none, a proxy in front of it does.
Whether a phone is registered is not told: whoever may read a card would learn it, who may not see presence.

# GAP RFC 7081 §3.1: nobody is said to have video
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from presence.address import Address
from xmpp.element import E, Element
from xmpp.extensions import Extension, Status
from xmpp.extensions.xep_0054_vcard import COLLECTION
from xmpp.extensions.xep_0054_vcard import NS as OLD
from xmpp.extensions.xep_0292_vcard4 import NODE
from xmpp.extensions.xep_0292_vcard4 import NS as NEW
from xmpp.nodes import ITEMS

if TYPE_CHECKING:
    from xmpp.router import XmppRouter

_NAMES = "rfc-7081"
_FIELDS = frozenset({"TEL", "tel", "impp"})
_VALUES = frozenset({"NUMBER", "uri", "text"})
_SCHEMES = ("sip:", "sips:")


@dataclass(frozen=True, slots=True)
class SipNames:
    """Under which names people here are reached by SIP."""

    uri: Callable[[Address], str]
    calls: bool
    "With calls, too; else with messages, and for their presence."


def provide(router: XmppRouter, names: SipNames) -> None:
    """Without it nothing is added."""
    router.extra[_NAMES] = names


def _values(field: Element) -> list[str]:
    if field.name not in _FIELDS:
        return []
    return [each.text.strip().casefold() for each in field.elements if each.name in _VALUES]


def _says_otherwise(card: Element) -> bool:
    return any(value.startswith(_SCHEMES) for each in card.elements for value in _values(each))


def _show(router: XmppRouter, owner: Address, card: Element) -> Element:
    names: SipNames | None = router.extra.get(_NAMES)
    if names is None or _says_otherwise(card):
        return card
    uri, more = names.uri(owner), []
    if (card.ns, card.name) == (OLD, "vCard") and names.calls:
        more = [E("TEL", OLD, {}, E("VOICE", OLD), E("NUMBER", OLD, {}, uri))]
    elif (card.ns, card.name) == (NEW, "vcard"):
        kind = E("parameters", NEW, {}, E("type", NEW, {}, E("text", NEW, {}, "voice")))
        more = [E("tel", NEW, {}, kind, E("uri", NEW, {}, uri))] if names.calls else []
        more.append(E("impp", NEW, {}, E("uri", NEW, {}, uri)))
    return E(card.name, card.ns, card.attrs, *card.children, *more)


def _take(router: XmppRouter, owner: Address, card: Element) -> Element:
    names: SipNames | None = router.extra.get(_NAMES)
    if names is None:
        return card
    ours = names.uri(owner).casefold()
    left = [each for each in card.children if isinstance(each, str) or ours not in _values(each)]
    return E(card.name, card.ns, card.attrs, *left)


CARDS = (COLLECTION, ITEMS + NODE)

EXTENSION = Extension(
    spec="RFC 7081",
    name="CUSAX: Combined Use of SIP and XMPP",
    version="2013",
    status=Status.PARTIAL,
    notes="What a server can do: vCards name SIP addresses; phones are told XMPP addresses in Call-Info.",
    shows=dict.fromkeys(CARDS, _show),
    takes=dict.fromkeys(CARDS, _take),
)
