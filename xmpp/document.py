"""Whole XML documents, as they come over WebSocket and BOSH: each one an element with its own namespaces."""

from __future__ import annotations

from xml.parsers import expat

from xmpp.element import Element
from xmpp.errors import StreamError
from xmpp.reader import (
    LONG_NAME,
    MAX_NAMES,
    Exceeded,
    Restricted,
    bracket_attributes,
    merge_text,
    new_expat,
    split_name,
    weight,
)
from xmpp.stream import MAX_ELEMENTS, check_declaration, parse_error


class _Document:
    def __init__(self, max_depth: int) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._max_depth = max_depth
        self._count = 0
        self._names = 0
        self.ragged = False

    def start(self, qualified: str, attrs: dict[str, str]) -> None:
        ns, name = split_name(qualified)
        given = attrs
        attrs = bracket_attributes(given) if given else given
        if len(qualified) > LONG_NAME or attrs is not given:
            self._names += weight(qualified, given, attrs)
            if self._names > MAX_NAMES:
                raise Exceeded(f"the namespaces in a stanza may have {MAX_NAMES} characters")
        element = Element(name, ns, attrs)
        stack = self._open
        if stack:
            if len(stack) >= self._max_depth:
                raise Exceeded(f"a stanza may have {self._max_depth} levels")
            self._count += 1
            if self._count > MAX_ELEMENTS:
                raise Exceeded(f"a stanza may have {MAX_ELEMENTS} elements")
            stack[-1].children.append(element)
        else:
            self.root = element
        stack.append(element)

    def end(self, _: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        children = self._open[-1].children
        if children and isinstance(children[-1], str):
            self.ragged = True
        children.append(data)


def parse_document(data: bytes, *, max_depth: int) -> Element:
    """The element `data` is. Raises `StreamError`: the XML that RFC 6120 §11.1 forbids is refused here,
    too."""
    document = _Document(max_depth)
    parser = new_expat(document.start, document.end, document.text)
    parser.XmlDeclHandler = check_declaration
    try:
        parser.Parse(data, True)
    except expat.ExpatError as broken:
        raise parse_error(broken.code, data, parser.ErrorByteIndex) from None
    except Restricted as refused:
        raise StreamError("restricted-xml", str(refused)) from None
    except Exceeded as refused:
        raise StreamError("policy-violation", str(refused)) from None
    root = document.root
    assert root is not None  # expat does not take an empty document
    if document.ragged:
        merge_text(root)
    return root
