"""An XML document as text, and where its elements stand in it.

XCAP promises that what a client put comes back as it was, with its white space, comments and namespace
declarations (RFC 4825 §6.3, §8.2.3). So documents are changed by cutting into their text and reading the
result again; nothing is ever written anew from a tree. A document type is refused: without one there are no
entities to expand and nothing to fetch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from xml.parsers import expat

from sip.xcap.conflicts import Conflicting
from sip.xcap.selector import Name
from sip.xml import escape

MAX_DEPTH = 32
MAX_ELEMENTS = 50_000
_CACHEABLE = 256
"Characters of a name that is remembered with its meaning."
_SEPARATOR = "\x0c"
"No XML document can have it."
_TAG_END = re.compile(rb"""[^"'>]*(?:(?:"[^"]*"|'[^']*')[^"'>]*)*>""")
_XML = "http://www.w3.org/XML/1998/namespace"


class NotWellFormed(Exception):
    """It cannot be read. The text says why."""


class NotUtf8(Exception):
    """It is in another encoding."""


@dataclass(frozen=True, slots=True)
class Splice:
    """Bytes that take the place of others."""

    start: int
    end: int
    text: bytes


@dataclass(slots=True, eq=False)
class Element:
    """Offsets are bytes of the document; compared by identity."""

    name: Name
    tag: str
    "As written, with its prefix."
    attributes: dict[Name, str]
    declarations: dict[str, str]
    "Prefix → namespace, of those declared here; the empty prefix for the default."
    parent: Element | None
    start: int
    inside: int
    "Behind its start tag."
    close: int = 0
    "Its end tag; that of an empty-element tag is behind it."
    end: int = 0
    children: list[Element] = field(default_factory=list)
    text: str = ""
    "Its own character data."

    @property
    def prefix(self) -> str:
        return self.tag.rpartition(":")[0]

    @property
    def local(self) -> str:
        return self.name[1]

    def get(self, name: str) -> str:
        """Value of an attribute in no namespace; empty when absent."""
        return self.attributes.get(("", name), "")

    def all(self, namespace: str, local: str) -> list[Element]:
        """Children of that name."""
        return [child for child in self.children if child.name == (namespace, local)]

    def first(self, namespace: str, local: str) -> Element | None:
        return next(iter(self.all(namespace, local)), None)

    def walk(self) -> Iterator[Element]:
        """Itself and all below, in document order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def scope(self) -> dict[str, str]:
        """Namespace bindings in force inside it."""
        outer = self.parent.scope() if self.parent is not None else {}
        return {p: n for p, n in (outer | self.declarations).items() if n}

    @property
    def qualifier(self) -> str:
        """What stands before the names of its siblings in its namespace: `rl:`, or nothing."""
        return f"{self.prefix}:" if self.prefix else ""


class Document:
    """Immutable. It is read when it is looked into: what is only sent as it is need not be."""

    __slots__ = ("_root", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._root: Element | None = None

    @property
    def root(self) -> Element:
        """Raises `NotWellFormed`, `NotUtf8`."""
        if self._root is None:
            self._root = _read(self.data)
        return self._root

    def read(self) -> Document:
        """Itself, if it can be read. Raises `NotWellFormed`, `NotUtf8`."""
        assert self.root is not None
        return self

    def source(self, element: Element) -> bytes:
        """The element as it stands in the text."""
        return self.data[element.start : element.end]

    def tag_source(self, element: Element) -> bytes:
        """Its start tag."""
        return self.data[element.start : element.inside]

    def is_empty_tag(self, element: Element) -> bool:
        """Written as `<a/>`."""
        return element.close == element.end

    def spliced(self, splices: Iterable[Splice]) -> Document:
        """Changed in several places; insertions at one place keep their order, and what falls into something
        that is replaced is left out."""
        parts: list[bytes] = []
        at = 0
        for splice in sorted(splices, key=lambda each: (each.start, each.end)):
            if splice.start < at:
                continue
            parts += (self.data[at : splice.start], splice.text)
            at = splice.end
        return Document(b"".join((*parts, self.data[at:])))

    def removal(self, element: Element) -> Splice:
        return Splice(element.start, element.end, b"")

    def inserted(self, parent: Element, at: int, text: bytes) -> Splice:
        """Put `text` into the parent at an offset of its content; an empty-element tag is opened for it."""
        if not self.is_empty_tag(parent):
            return Splice(at, at, text)
        return Splice(parent.start, parent.end, self.opened(parent) + text + f"</{parent.tag}>".encode())

    def opened(self, element: Element) -> bytes:
        """The start tag an empty-element tag would have if there were something in it."""
        return self.tag_source(element)[:-2].rstrip() + b">"


def _read(data: bytes) -> Element:
    try:
        data.decode()
    except UnicodeDecodeError:
        raise NotUtf8 from None
    reader = _Reader(data)
    parser = expat.ParserCreate("utf-8", _SEPARATOR)
    parser.namespace_prefixes = True
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartNamespaceDeclHandler = reader.declare
    parser.XmlDeclHandler = reader.declaration
    parser.StartDoctypeDeclHandler = reader.doctype
    reader.parser = parser
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise NotWellFormed(str(error)) from None
    assert reader.root is not None
    return reader.root


class _Reader:
    parser: expat.XMLParserType

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._open: list[Element] = []
        self._declared: dict[str, str] = {}
        self._count = 0
        self.root: Element | None = None

    def declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "us-ascii"):
            raise NotUtf8

    def doctype(self, *_: object) -> None:
        raise NotWellFormed("document type declarations are not allowed")

    def declare(self, prefix: str | None, namespace: str | None) -> None:
        self._declared[prefix or ""] = namespace or ""

    def start(self, name: str, attributes: list[str]) -> None:
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise NotWellFormed("too deep or too many elements")
        parent = self._open[-1] if self._open else None
        start = self.parser.CurrentByteIndex
        match = _TAG_END.match(self._data, start)
        assert match is not None
        expanded, prefix = _expanded(name)
        element = Element(
            name=expanded,
            tag=f"{prefix}:{expanded[1]}" if prefix else expanded[1],
            attributes={_expanded(key)[0]: value for key, value in zip(*[iter(attributes)] * 2, strict=True)},
            declarations=self._declared,
            parent=parent,
            start=start,
            inside=match.end(),
        )
        self._declared = {}
        if parent is None:
            self.root = element
        else:
            parent.children.append(element)
        self._open.append(element)

    def end(self, name: str) -> None:
        element = self._open.pop()
        at = self.parser.CurrentByteIndex
        if at <= element.start or self._data[element.inside - 2 : element.inside] == b"/>":
            element.close = element.end = element.inside
        else:
            element.close, element.end = at, self._data.index(b">", at) + 1

    def text(self, data: str) -> None:
        if self._open:
            self._open[-1].text += data


def _expanded(name: str) -> tuple[Name, str]:
    """Expat's triplet as an expanded name and a prefix."""
    return _known(name) if len(name) <= _CACHEABLE else _expand(name)


def _expand(name: str) -> tuple[Name, str]:
    parts = name.split(_SEPARATOR)
    if len(parts) == 1:
        return ("", parts[0]), ""
    if parts[0] == _XML:
        return (_XML, parts[1]), "xml"
    return (parts[0], parts[1]), parts[2] if len(parts) > 2 else ""


_known = lru_cache(maxsize=2048)(_expand)


def parse_document(data: bytes) -> Document:
    """What a client put. Raises `Conflicting`: not-well-formed, not-utf-8."""
    try:
        return Document(data.removeprefix(b"\xef\xbb\xbf")).read()
    except NotWellFormed as error:
        raise Conflicting("not-well-formed", str(error)) from None
    except NotUtf8:
        raise Conflicting("not-utf-8") from None


@dataclass(frozen=True, slots=True)
class Fragment:
    """One element on its own."""

    text: bytes
    name: Name


def parse_fragment(data: bytes, scope: dict[str, str]) -> Fragment:
    """One element, whose prefixes the scope may bind, without white space around it. Raises `Conflicting`:
    not-xml-frag, not-utf-8."""
    text = data.removeprefix(b"\xef\xbb\xbf").strip()
    try:
        wrapped = Document(b"".join((f"<f{written(scope)}>".encode(), text, b"</f>"))).read()
    except NotWellFormed as error:
        raise Conflicting("not-xml-frag", str(error)) from None
    except NotUtf8:
        raise Conflicting("not-utf-8") from None
    only = wrapped.root.children
    if len(only) != 1 or wrapped.source(only[0]) != text:
        raise Conflicting("not-xml-frag", "a single element is wanted")
    return Fragment(text, only[0].name)


def written(scope: dict[str, str]) -> str:
    """Bindings as declarations in a tag."""
    return "".join(
        f' xmlns{":" if prefix else ""}{prefix}="{escape(namespace)}"'
        for prefix, namespace in sorted(scope.items())
        if prefix != "xml"
    )
