"""XEP-0292 vCard4 Over XMPP, at the node `urn:xmpp:vcard4`; the same card as vcard-temp (XEP-0054), as far as
both have a word for it, whichever of the two a client wrote last.

Names, nicknames, addresses, telephone numbers, mail, organisation, role, birthday, pages and notes are
converted; photos are avatars' (XEP-0398), and what only one of the two can say stays there.
"""

from __future__ import annotations

from dataclasses import dataclass

from presence.ports import KeptStore
from xmpp.element import E, Element
from xmpp.extensions import Extension, Request, Status
from xmpp.extensions.xep_0054_vcard import COLLECTION as CARD
from xmpp.extensions.xep_0054_vcard import NS as OLD
from xmpp.extensions.xep_0163_pep import put
from xmpp.nodes import CONFIGS, ITEMS
from xmpp.reader import parse_fragment
from xmpp.serialiser import serialise_children

NS = "urn:ietf:params:xml:ns:vcard-4.0"
NODE = "urn:xmpp:vcard4"
ITEM = "current"
OPTIONS = {"pubsub#access_model": ("open",), "pubsub#persist_items": ("true",), "pubsub#max_items": ("1",)}
_MAX = 50
"Of one kind of field."


@dataclass(frozen=True, slots=True)
class Field:
    """One field of both: its name in each, and what its parts are called in each, in order."""

    old: str
    new: str
    parts: tuple[tuple[str, str], ...] = ()
    "(old, new) for each part; none: the field is its text."
    kind: str = "text"
    "vCard4's element around a plain value."
    typed: bool = False
    "Work or home is said of it."


FIELDS = (
    Field("FN", "fn"),
    Field("N", "n", (("FAMILY", "surname"), ("GIVEN", "given"), ("MIDDLE", "additional"),
                     ("PREFIX", "prefix"), ("SUFFIX", "suffix"))),
    Field("NICKNAME", "nickname"),
    Field("BDAY", "bday", kind="date"),
    Field("ADR", "adr", (("POBOX", "pobox"), ("EXTADD", "ext"), ("STREET", "street"),
                         ("LOCALITY", "locality"), ("REGION", "region"), ("PCODE", "code"),
                         ("CTRY", "country")), typed=True),
    Field("TEL", "tel", (("NUMBER", "text"),), typed=True),
    Field("EMAIL", "email", (("USERID", "text"),), typed=True),
    Field("ORG", "org", (("ORGNAME", "text"),)),
    Field("TITLE", "title"),
    Field("ROLE", "role"),
    Field("URL", "url", kind="uri"),
    Field("DESC", "note"),
)  # fmt: skip
_BY_NEW = {field.new: field for field in FIELDS}
_BY_OLD = {field.old: field for field in FIELDS}
_TYPES = ("WORK", "HOME")


def to_vcard4(card: Element, before: Element | None = None) -> Element:
    """What a vcard-temp says; the rest of `before`, the vCard4 there was, stays."""
    kept = [child for child in before.elements if child.name not in _BY_NEW] if before is not None else []
    made = [_new(field, each) for field in FIELDS for each in card.findall(field.old)[:_MAX]]
    return E("vcard", NS, {}, *[each for each in made if each is not None], *kept)


def to_vcard_temp(card: Element, before: Element | None = None) -> Element:
    """What a vCard4 says; the rest of `before`, the vcard-temp there was, stays."""
    kept = [child for child in before.elements if child.name not in _BY_OLD] if before is not None else []
    made = [_old(field, each) for field in FIELDS for each in card.findall(field.new)[:_MAX]]
    return E("vCard", OLD, {}, *[each for each in made if each is not None], *kept)


def _new(field: Field, given: Element) -> Element | None:
    made = E(field.new, NS)
    if field.typed:
        types = [name.lower() for name in _TYPES if given.find(name) is not None]
        if types:
            texts = [E("text", NS, {}, name) for name in types]
            made.append(E("parameters", NS, {}, E("type", NS, {}, *texts)))
    if not field.parts:
        return made.append(E(field.kind, NS, {}, given.text.strip())) if given.text.strip() else None
    said = False
    for old, new in field.parts:
        part = given.find(old)
        text = part.text.strip() if part is not None else ""
        said = said or bool(text)
        if text or len(field.parts) > 1:
            made.append(E(new, NS, {}, text) if text else E(new, NS))
    return made if said else None


def _old(field: Field, given: Element) -> Element | None:
    made = E(field.old, OLD)
    if field.typed:
        parameters = given.find("parameters")
        kinds = parameters.find("type") if parameters is not None else None
        names = {text.text.strip().upper() for text in kinds.elements} if kinds is not None else set()
        made.children.extend(E(name, OLD) for name in _TYPES if name in names)
    if not field.parts:
        text = _value(given)
        return made.append(text) if text else None
    said = False
    for old, new in field.parts:
        part = given.find(new)
        text = (part.text.strip() if part is not None else "") or (_value(given) if new == "text" else "")
        if text:
            said = True
            made.append(E(old, OLD, {}, text))
    return made if said else None


def _value(given: Element) -> str:
    """The text of a value of whatever kind; a `tel:` URI as the number it is."""
    for each in given.elements:
        if each.name != "parameters" and each.text.strip():
            return each.text.strip().removeprefix("tel:")
    return ""


async def _kept(request: Request, collection: str, elements: list[Element]) -> None:
    """A client wrote one of the two cards: write the other."""
    owner, store = request.session.address, request.router.service.belongings
    if collection == CARD:
        before = await _read(store, request, ITEMS + NODE, ITEM)
        card = to_vcard4(elements[0], before)
        if card != before and (card.elements or before is not None):
            options = {} if await store.kept(owner, CONFIGS, NODE) else OPTIONS
            await put(request.router, owner, NODE, ITEM, [card], options)
    elif collection == ITEMS + NODE and elements and (elements[0].ns, elements[0].name) == (NS, "vcard"):
        card = to_vcard_temp(elements[0], await _read(store, request, CARD, ""))
        await store.keep(owner, CARD, "", serialise_children([card]), 1)


async def _read(store: KeptStore, request: Request, collection: str, name: str) -> Element | None:
    found = await store.kept(request.session.address, collection, name)
    return parse_fragment(found[0].data)[0] if found else None


EXTENSION = Extension(
    spec="XEP-0292",
    name="vCard4 Over XMPP",
    version="0.12.0",
    status=Status.COMPLETE,
    notes="By personal eventing; converted from and to vcard-temp.",
    kept=_kept,
)
