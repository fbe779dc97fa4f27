"""Nodes of a document: found, fetched, placed, removed (RFC 4825 §6.3, §8.2, §8.3, §8.4).

A change is made to the text, the result is read, and the selector tried on it: if it does not choose what was
just put, or still chooses something after a removal, the request was not idempotent and is refused.
"""

from __future__ import annotations

import re

from sip.xcap.conflicts import Conflicting, XcapError, no_parent
from sip.xcap.document import (
    Document,
    Element,
    Fragment,
    NotUtf8,
    NotWellFormed,
    Splice,
    parse_fragment,
    written,
)
from sip.xcap.selector import Name, Selector, Step, attribute_value

ELEMENT = "application/xcap-el+xml"
ATTRIBUTE = "application/xcap-att+xml"
BINDINGS = "application/xcap-ns+xml"

_ATT_VALUE = re.compile(r"""(?:[^<&]|&(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});)*""")
_WRITTEN = re.compile(rb"""([^\s=/>"']+)\s*=\s*("[^"]*"|'[^']*')""")


def chosen(children: list[Element], step: Step) -> list[Element]:
    """Those a step leaves of some siblings."""
    left = [each for each in children if step.name is None or each.name == step.name]
    if step.position is not None:
        left = left[step.position - 1 : step.position] if step.position else []
    if step.attribute is not None:
        name, value = step.attribute
        left = [each for each in left if each.attributes.get(name) == value]
    return left


def find(document: Document, steps: tuple[Step, ...]) -> Element | None:
    """The element; None where a step chooses none or several."""
    context = [document.root]
    found: Element | None = None
    for step in steps:
        left = chosen(context, step)
        if len(left) != 1:
            return None
        found = left[0]
        context = found.children
    return found


def fetch(document: Document, selector: Selector) -> tuple[bytes, str]:
    """A node and its media type (§8.3). Raises `XcapError` 404."""
    element = find(document, selector.steps)
    if element is None:
        raise XcapError(404, "No Such Node")
    if selector.bindings:
        return f"<{element.tag}{written(element.scope())}/>".encode(), BINDINGS
    if selector.attribute is not None:
        return _written(document, element, selector.attribute)[1], ATTRIBUTE
    return document.source(element), ELEMENT


def put(document: Document, selector: Selector, body: bytes) -> tuple[Document, bool]:
    """The document with a node placed in it, and whether it is new (§8.2). Raises `XcapError`: 405,
    `Conflicting`."""
    if selector.bindings:
        raise XcapError(405, "Bindings Cannot Be Set", (("Allow", "GET"),))
    if selector.attribute is not None:
        return _put_attribute(document, selector, selector.attribute, body)
    return _put_element(document, selector, body)


def delete(document: Document, selector: Selector) -> Document:
    """The document without a node (§8.4). Raises `XcapError`: 404, 405, `Conflicting`."""
    if selector.bindings:
        raise XcapError(405, "Bindings Cannot Be Set", (("Allow", "GET"),))
    element = find(document, selector.steps)
    if element is None:
        raise XcapError(404, "No Such Node")
    if selector.attribute is not None:
        at, _ = _written(document, element, selector.attribute)
        return _again(document, Splice(*at, b""))
    if element.parent is None:
        raise Conflicting("cannot-delete", "a document has a root")
    left = _again(document, document.removal(element))
    if find(left, selector.steps) is not None:
        raise Conflicting("cannot-delete")
    return left


def _put_element(document: Document, selector: Selector, body: bytes) -> tuple[Document, bool]:
    *above, last = selector.steps
    parent = find(document, tuple(above)) if above else None
    if above and parent is None:
        raise no_parent(_ancestor(document, tuple(above)))
    siblings = parent.children if parent is not None else [document.root]
    present = chosen(siblings, last)
    if len(present) > 1:
        raise Conflicting("cannot-insert", "the selector chooses several elements")
    fragment = parse_fragment(body, parent.scope() if parent is not None else {})
    if present:
        (old,) = present
        at, after = old.start, _again(document, Splice(old.start, old.end, fragment.text))
    else:
        if parent is None:
            raise Conflicting("cannot-insert", "a document has one root")
        at, splice = _insertion(document, parent, last, fragment)
        after = _again(document, splice)
    placed = find(after, selector.steps)
    if placed is None or placed.start != at:
        raise Conflicting("cannot-insert")
    return after, not present


def _insertion(document: Document, parent: Element, step: Step, new: Fragment) -> tuple[int, Splice]:
    """Where a new element goes (§8.2.3): the offset it will have, and the change."""
    siblings = parent.children
    same = [each for each in siblings if each.name == new.name]
    counted = siblings if step.name is None else [each for each in siblings if each.name == step.name]
    position = step.position
    if position is not None and position > 1:
        if len(counted) < position - 1:
            raise Conflicting("cannot-insert", "there are not so many elements before it")
        at = counted[position - 2].end
    elif position == 1 and counted:
        at = counted[0].start
    elif same:
        at = same[-1].end
    else:
        at = parent.close
    splice = document.inserted(parent, at, new.text)
    if document.is_empty_tag(parent):
        at = parent.start + len(document.opened(parent))
    return at, splice


def _put_attribute(document: Document, selector: Selector, name: Name, body: bytes) -> tuple[Document, bool]:
    element = find(document, selector.steps)
    if element is None:
        raise no_parent(_ancestor(document, selector.steps))
    value = _attribute_text(body)
    if name in element.attributes:
        (start, end), _ = _written(document, element, name)
        old = document.data[start:end]
        kept = old[: old.index(b"=") + 1]
        splice = Splice(start, end, kept + value)
    else:
        tag = document.tag_source(element)
        at = element.start + len(tag.removesuffix(b">").removesuffix(b"/").rstrip())
        splice = Splice(at, at, f" {_attribute_name(element, name)}=".encode() + value)
    after = _again(document, splice)
    placed = find(after, selector.steps)
    if placed is None or placed.attributes.get(name) != attribute_value(value[1:-1].decode()):
        raise Conflicting("cannot-insert")
    return after, name not in element.attributes


def _attribute_text(body: bytes) -> bytes:
    """An AttValue with its quotes; clients that leave them out are understood."""
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        raise Conflicting("not-utf-8") from None
    quoted = len(text) > 1 and text[0] in "\"'" and text[-1] == text[0]
    mark = text[0] if quoted else '"'
    inner = text[1:-1] if quoted else text
    if mark in inner or _ATT_VALUE.fullmatch(inner) is None:
        raise Conflicting("not-xml-att-value")
    return f"{mark}{inner}{mark}".encode()


def _attribute_name(element: Element, name: Name) -> str:
    """As it is to be written in that element."""
    namespace, local = name
    if not namespace:
        return local
    for prefix, bound in element.scope().items():
        if prefix and bound == namespace:
            return f"{prefix}:{local}"
    raise Conflicting("cannot-insert", "no prefix is bound to the attribute's namespace there")


def _written(document: Document, element: Element, name: Name) -> tuple[tuple[int, int], bytes]:
    """Where an attribute stands, with the white space before it, and its value with the quotes. Raises
    `XcapError` 404."""
    if name in element.attributes:
        tag, scope = document.tag_source(element), element.scope()
        scope["xml"] = "http://www.w3.org/XML/1998/namespace"
        for match in _WRITTEN.finditer(tag, len(element.tag.encode()) + 1):
            prefix, _, local = match.group(1).decode().rpartition(":")
            if (scope.get(prefix, "") if prefix else "", local) == name and match.group(1) != b"xmlns":
                start = len(tag[: match.start()].rstrip())
                return (element.start + start, element.start + match.end()), match.group(2)
    raise XcapError(404, "No Such Node")


def _again(document: Document, splice: Splice) -> Document:
    try:
        return document.spliced([splice]).read()
    except NotWellFormed as error:
        raise Conflicting("not-xml-frag", str(error)) from None
    except NotUtf8:
        raise Conflicting("not-utf-8") from None


def _ancestor(document: Document, steps: tuple[Step, ...]) -> str:
    """The closest element that does exist, as a selector relative to the document."""
    for length in range(len(steps) - 1, 0, -1):
        element = find(document, steps[:length])
        if element is not None:
            return "~~/" + path_of(element)
    return ""


def path_of(element: Element) -> str:
    """A selector by positions, without namespaces: wildcards name everything."""
    parts: list[str] = []
    while element.parent is not None:
        parts.append(f"*%5B{element.parent.children.index(element) + 1}%5D")
        element = element.parent
    return "/".join(("*", *reversed(parts)))
