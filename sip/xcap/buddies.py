"""The roster as a resource-lists document, and back (RFC 4826 §3).

A list is a group: its display name, or else its name. Some lists are no groups: what stands in `buddies` and
in the lists phones keep all their buddies in is in the roster without a group; the lists OMA clients keep for
their rules are not about the roster at all. An entry whose URI names nobody a roster can hold stays as it
is. Everything else in the document is the client's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from presence.address import Address
from presence.subscriptions import RosterItem
from sip.addressing import to_uri
from sip.xcap.document import Document, Element, Splice
from sip.xcap.naming import address_of
from sip.xml import escape

NAMESPACE = "urn:ietf:params:xml:ns:resource-lists"
EMPTY = f'<?xml version="1.0" encoding="UTF-8"?>\n<resource-lists xmlns="{NAMESPACE}"></resource-lists>\n'
BUDDIES = "buddies"
"The list of those without a group."
_UNGROUPED = (BUDDIES, "oma_buddylist", "RootGroup", "sipsimple_presence_rls")
"Lists whose entries are in the roster, in no group: ours, OMA's, Jitsi's, Blink's."
_OURS_TO_FILL = _UNGROUPED[:3]
"Blink makes its own anew from its address book."
_NOT_PEOPLE = ("oma_", "sipsimple_", "dialog_")
"Names of lists that are about rules and subscriptions begin with one of these."


@dataclass(frozen=True, slots=True)
class Buddy:
    """What lists say of somebody."""

    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    element: Element
    address: Address
    group: str
    "Empty for none."


def group_of(element: Element, outer: str | None = "") -> str | None:
    """The group a list is; empty for none, None for a list that is not about the roster."""
    name = element.get("name")
    if outer is None:
        return None
    if name in _UNGROUPED:
        return ""
    if name.startswith(_NOT_PEOPLE):
        return None
    return _display(element) or name


def lists_of(document: Document) -> Iterator[tuple[Element, str]]:
    """Lists of people at any depth, with their groups."""

    def below(element: Element, outer: str | None) -> Iterator[tuple[Element, str]]:
        for each in element.all(NAMESPACE, "list"):
            group = group_of(each, outer)
            if group is not None:
                yield each, group
            yield from below(each, group)

    yield from below(document.root, "")


def entries_of(document: Document, owner: Address) -> Iterator[Entry]:
    """Entries that are buddies."""
    for element, group in lists_of(document):
        for entry in element.all(NAMESPACE, "entry"):
            address = address_of(entry.get("uri"))
            if address is not None and address != owner:
                yield Entry(entry, address, group)


def buddies_of(document: Document, owner: Address) -> dict[Address, Buddy]:
    names: dict[Address, str] = {}
    groups: dict[Address, dict[str, None]] = {}
    for entry in entries_of(document, owner):
        names[entry.address] = names.get(entry.address) or _display(entry.element)
        mine = groups.setdefault(entry.address, {})
        if entry.group:
            mine[entry.group] = None
    return {address: Buddy(names[address], tuple(groups[address])) for address in groups}


def people_in(element: Element) -> Iterator[Address]:
    """Everybody in a list, and in the lists in it."""
    for each in element.walk():
        if each.name == (NAMESPACE, "entry") and (address := address_of(each.get("uri"))) is not None:
            yield address


# --- the view ---------------------------------------------------------------------------------------


def shown(written: Document | None, owner: Address, items: Sequence[RosterItem]) -> Document:
    """What was written, made true: who left the roster is out, who came is in, names are theirs."""
    document = written or Document(EMPTY.encode())
    roster = {item.contact: item for item in items if item.listed}
    splices: list[Splice] = []
    there: set[tuple[Address, str]] = set()
    for entry in entries_of(document, owner):
        item = roster.get(entry.address)
        if item is None or (entry.group and entry.group not in _groups(item)):
            splices.append(document.removal(entry.element))
            continue
        there.add((entry.address, entry.group))
        if _display(entry.element) != item.name.strip():
            splices.append(_renamed(document, entry.element, item.name.strip()))
    missing: dict[str, list[RosterItem]] = {}
    for item in roster.values():
        for group in _groups(item) or ("",):
            # Who is in no group may stand in any list that is none.
            if (item.contact, group) not in there:
                missing.setdefault(group, []).append(item)
    if written is None:
        missing.setdefault("", [])
    document = document.spliced(splices) if splices else document
    return _filled(document, missing) if missing else document


def _groups(item: RosterItem) -> tuple[str, ...]:
    return tuple(name for group in item.groups if (name := group.strip()))


def _filled(document: Document, missing: Mapping[str, list[RosterItem]]) -> Document:
    homes: dict[str, Element] = {}
    for element, group in lists_of(document):
        if group or element.get("name") in ("", *_OURS_TO_FILL):
            homes.setdefault(group, element)
    splices: list[Splice] = []
    fresh: list[str] = []
    taken = {each.get("name") for each in document.root.all(NAMESPACE, "list")}
    for group in sorted(missing):
        items = sorted(missing[group], key=lambda item: item.contact)
        home = homes.get(group)
        if home is not None:
            text = "".join(_entry(item, home.qualifier) for item in items)
            splices.append(document.inserted(home, _place(home), text.encode()))
        else:
            fresh.append(_list(group, items, document.root.qualifier, taken))
    if fresh:
        splices.append(document.inserted(document.root, document.root.close, "".join(fresh).encode()))
    return document.spliced(splices)


def _place(element: Element) -> int:
    """Behind the last of what the schema wants before foreign elements."""
    known = [child for child in element.children if child.name[0] == NAMESPACE]
    return known[-1].end if known else element.inside


def _entry(item: RosterItem, qualifier: str) -> str:
    uri, name = escape(to_uri(item.contact)), item.name.strip()
    if not name:
        return f'\n    <{qualifier}entry uri="{uri}"/>'
    display = f"<{qualifier}display-name>{escape(name)}</{qualifier}display-name>"
    return f'\n    <{qualifier}entry uri="{uri}">{display}</{qualifier}entry>'


def _list(group: str, items: list[RosterItem], qualifier: str, taken: set[str]) -> str:
    name = group or BUDDIES
    if group and (name in _UNGROUPED or name.startswith(_NOT_PEOPLE)):
        name = f"group-{name}"
    wanted, number = name, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    taken.add(name)
    display = f"\n    <{qualifier}display-name>{escape(group)}</{qualifier}display-name>" if group else ""
    entries = "".join(_entry(item, qualifier) for item in items)
    tail = "\n  " if display or entries else ""
    return f'\n  <{qualifier}list name="{escape(name)}">{display}{entries}{tail}</{qualifier}list>'


def _renamed(document: Document, entry: Element, name: str) -> Splice:
    old = entry.first(NAMESPACE, "display-name")
    tag = f"{entry.qualifier}display-name"
    new = f"<{tag}>{escape(name)}</{tag}>".encode() if name else b""
    if old is not None:
        return Splice(old.start, old.end, new)
    return document.inserted(entry, entry.inside, new)


def _display(element: Element) -> str:
    found = element.first(NAMESPACE, "display-name")
    return found.text.strip() if found is not None else ""


# --- the wishes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a changed document asks of the roster."""

    put: tuple[tuple[Address, Buddy], ...] = ()
    "New ones, and those whose name or groups changed."
    remove: tuple[Address, ...] = ()


def wishes(before: Mapping[Address, Buddy], after: Mapping[Address, Buddy]) -> Wishes:
    """From what the client saw to what it wrote; what it did not touch is left alone."""
    changed = [
        (address, buddy)
        for address, buddy in after.items()
        if address not in before
        or before[address].name != buddy.name
        or set(before[address].groups) != set(buddy.groups)
    ]
    return Wishes(tuple(changed), tuple(address for address in before if address not in after))
