"""What somebody follows of their documents, and how it differs from what they were told (RFC 5875 §4,
RFC 5874).

# GAP RFC 5874: documents are named with their entity-tags, without patches (`no-patching`, RFC 5875 §4.3)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from presence.address import Address
from sip.errors import ProtocolError
from sip.xcap.buddies import NAMESPACE as LISTS
from sip.xcap.conflicts import Conflicting, XcapError
from sip.xcap.document import Document, Element, parse_document
from sip.xcap.document import written as declarations
from sip.xcap.library import Library, etag
from sip.xcap.manipulation import fetch, find
from sip.xcap.selector import Selector, attribute_value, parse_selector
from sip.xcap.usages import Place, usages
from sip.xml import escape

MAX_SELECTIONS = 100
MAX_SHOWN = 524_288
"Characters of all components one subscription is shown; what has no room beside the others is left out."
DIFF = "urn:ietf:params:xml:ns:xcap-diff"


@dataclass(frozen=True, slots=True)
class Selection:
    """One URI of the list that came with a SUBSCRIBE (RFC 5875 §4.4)."""

    uri: str
    "As it was written; it comes back so."
    path: str
    "Below the XCAP root, without node selector; ends with a slash for a collection."
    selector: str = ""
    "Of a component, percent-encoded; empty for a document."
    query: str = ""


Told = dict[str, str]
"What a watcher knows: by element name and `sel`, an entity-tag or a component as it was shown."


def selections(body: bytes, root: str) -> tuple[Selection, ...]:
    """A flat resource list; no body: everything. What cannot be understood is ignored. Raises
    `ProtocolError` 400."""
    if not body.strip():
        return (Selection("", "/"),)
    try:
        document = parse_document(body)
    except Conflicting:
        raise ProtocolError(400, "Bad Resource List") from None
    uris = [each.get("uri") for each in document.root.walk() if each.name == (LISTS, "entry")]
    path = urlsplit(root).path.strip("/")
    return tuple(_selection(uri, path) for uri in dict.fromkeys(uris[:MAX_SELECTIONS]) if uri)


def _selection(uri: str, root: str) -> Selection:
    text, _, query = uri.partition("?")
    if "://" in text:
        text = urlsplit(text).path
    text = text.lstrip("/")
    if root and text.startswith(f"{root}/"):
        text = text[len(root) + 1 :]
    path, separator, selector = text.partition("/~~")
    return Selection(uri, path, selector.strip("/") if separator else "", query)


async def state_of(library: Library, owner: Address, chosen: Iterable[Selection]) -> Told:
    """What the owner would be shown now."""
    documents: dict[Place, Document | None] = {}

    async def show(place: Place) -> Document | None:
        if place not in documents:
            documents[place] = await library.show(place)
        return documents[place]

    now: Told = {}
    room = MAX_SHOWN
    for selection in chosen:
        if selection.path.endswith("/") or not selection.path:
            for place in await _collection(library, owner, selection.path.strip("/")):
                document = await show(place)
                if document is not None:
                    now[f"document {library.path(place)}"] = etag(document)
            continue
        try:
            place = library.place(selection.path)
            selector = (
                parse_selector(selection.selector, selection.query, place.usage.namespace)
                if selection.selector
                else None
            )
        except XcapError:
            continue
        if place.owner != owner or (selector is not None and selector.bindings):
            continue
        document = await show(place)
        if document is not None and selector is None:
            now[f"document {selection.uri}"] = etag(document)
        elif document is not None and selector is not None:
            component = partial(_component, document, selector, selection.uri)
            shown = await library.work(len(document.data), component)
            room -= sum(map(len, shown.values()))
            if room < 0:
                break
            now |= shown
    return now


async def _collection(library: Library, owner: Address, path: str) -> list[Place]:
    """All documents of one's own in it; in all usages for the root itself."""
    auid, _, rest = path.partition("/")
    if rest:
        try:
            if library.place(f"{path}/index").owner != owner:
                return []
        except XcapError:
            # `users/` itself: everybody's, of whom one sees oneself.
            if rest != "users":
                return []
    found: list[Place] = []
    for usage in usages().values():
        if auid not in ("", usage.auid):
            continue
        names = {*await library.names(usage, owner), *usage.always}
        found += [Place(usage, owner, name) for name in sorted(names)]
    return found


def _component(document: Document, selector: Selector, uri: str) -> Told:
    element = find(document, selector.steps)
    if element is None:
        return {}
    if selector.attribute is None:
        return {f"element {uri}": _shown(document, element)}
    try:
        value = fetch(document, selector)[0].decode()
    except XcapError:
        return {}
    return {f"attribute {uri}": escape(attribute_value(value[1:-1]))}


def _shown(document: Document, element: Element) -> str:
    """With the bindings it has from outside, which stand at the element around it."""
    outer = element.parent.scope() if element.parent is not None else {}
    return f"{declarations(outer)}>{document.source(element).decode()}"


def render(told: Told, now: Told, root: str, *, full: bool, bare: bool = False) -> bytes:
    """The difference (RFC 5874 §3), or all there is. `bare`: without the content of components."""
    parts = [
        f'<?xml version="1.0" encoding="UTF-8"?>\n<d:xcap-diff xmlns:d="{DIFF}" xmlns=""'
        f' xcap-root="{escape(root)}/">'
    ]
    for key in sorted({*told, *now}):
        before, after = told.get(key), now.get(key)
        if (before == after and not full) or (full and after is None):
            continue
        kind, _, sel = key.partition(" ")
        head = f'<d:{kind} sel="{escape(sel)}"'
        if kind == "document":
            new = f' new-etag="{after}"' if after is not None else ""
            old = f' previous-etag="{before}"' if before is not None and not full else ""
            parts.append(f"{head}{new}{old}/>")
        elif after is None:
            parts.append(f'{head} exists="false"/>')
        elif bare:
            parts.append(f"{head}/>")
        elif kind == "element":
            parts.append(f"{head}{after}</d:element>")
        else:
            parts.append(f"{head}>{after}</d:attribute>")
    parts.append("</d:xcap-diff>\n")
    return "".join(parts).encode()
