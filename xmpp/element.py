"""XML elements as values (RFC 6120 §8, §11; Namespaces in XML 1.0)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

XML_NS = "http://www.w3.org/XML/1998/namespace"
XMLNS_NS = "http://www.w3.org/2000/xmlns/"
STREAM_NS = "http://etherx.jabber.org/streams"
CLIENT_NS = "jabber:client"
STANZAS_NS = "urn:ietf:params:xml:ns:xmpp-stanzas"
LANG = f"{{{XML_NS}}}lang"
"Key of `xml:lang` in `Element.attrs`."


class Element:
    """One XML element. Mutable: its reader owns it; whoever keeps one and shares it takes a `copy`."""

    __slots__ = ("attrs", "children", "name", "ns")

    def __init__(
        self,
        name: str,
        ns: str = "",
        attrs: dict[str, str] | None = None,
        children: list[Element | str] | None = None,
    ) -> None:
        self.name = name
        self.ns = ns
        "Namespace URI; empty for none."
        self.attrs: dict[str, str] = {} if attrs is None else attrs
        "Plain names as they are; prefixed ones as `{namespace}name`."
        self.children: list[Element | str] = [] if children is None else children
        "Elements and character data in document order."

    @property
    def text(self) -> str:
        """Character data directly inside this element."""
        children = self.children
        if len(children) == 1:
            only = children[0]
            return only if isinstance(only, str) else ""
        return "".join(c for c in children if isinstance(c, str))

    @property
    def elements(self) -> list[Element]:
        """Child elements without the character data between them."""
        return [c for c in self.children if isinstance(c, Element)]

    def get(self, attr: str, default: str = "") -> str:
        """An attribute's value, `default` when it is absent."""
        return self.attrs.get(attr, default)

    def find(self, name: str, ns: str | None = None) -> Element | None:
        """First child element of that name; in this element's own namespace unless `ns` is given."""
        wanted = self.ns if ns is None else ns
        for child in self.children:
            if isinstance(child, Element) and child.name == name and child.ns == wanted:
                return child
        return None

    def findall(self, name: str, ns: str | None = None) -> list[Element]:
        """All child elements of that name; in this element's own namespace unless `ns` is given."""
        wanted = self.ns if ns is None else ns
        return [c for c in self.children if isinstance(c, Element) and c.name == name and c.ns == wanted]

    def child(
        self, name: str, ns: str | None = None, attrs: dict[str, str] | None = None, text: str = ""
    ) -> Element:
        """Append a new child element, in this element's namespace unless `ns` is given, and return it."""
        new = Element(name, self.ns if ns is None else ns, attrs, [text] if text else None)
        self.children.append(new)
        return new

    def append(self, child: Element | str) -> Element:
        """Append a child and return this element."""
        self.children.append(child)
        return self

    def copy(self) -> Element:
        """A deep copy."""
        return Element(
            self.name,
            self.ns,
            dict(self.attrs),
            [c.copy() if isinstance(c, Element) else c for c in self.children],
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Element):
            return NotImplemented
        return (
            self.name == other.name
            and self.ns == other.ns
            and self.attrs == other.attrs
            and list(joined(self.children)) == list(joined(other.children))
        )

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"<Element {{{self.ns}}}{self.name} {sorted(self.attrs)} +{len(self.children)}>"


def E(name: str, ns: str, attrs: dict[str, str] | None = None, /, *children: Element | str) -> Element:
    """Build an element: `E("message", CLIENT_NS, {"to": jid}, E("body", CLIENT_NS, {}, "hi"))`."""
    return Element(name, ns, attrs, list(children))


def joined(children: Iterable[Element | str]) -> Iterator[Element | str]:
    """Children with neighbouring character data made one and empty data left out."""
    run = ""
    for child in children:
        if isinstance(child, str):
            run += child
            continue
        if run:
            yield run
            run = ""
        yield child
    if run:
        yield run
