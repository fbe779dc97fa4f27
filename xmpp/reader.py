"""Reading XML safely: expat driven by hand, with RFC 6120 §11.1's restrictions and limits of ours.

Comments, processing instructions, document types and entities beyond the predefined ones are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from xml.parsers import expat

from xmpp.element import XML_NS, XMLNS_NS, Element, joined

MAX_NAME = 512
"Characters of an element's or attribute's name with its namespace."
LONG_NAME = 64
"Characters beyond which a name with its namespace counts."
MAX_NAMES = 262_144
"""Characters of all names that count, in one stanza. A prefix is short and its namespace long: whoever writes
the stanza anew says the namespace again and again."""

TEXT = 1024
"""Bytes of text that come in one piece whatever is in it; longer text may come in several, at line breaks and
references. By itself a parser would have room for eight times as much, from its start to its end."""


class Restricted(Exception):
    """XML features that RFC 6120 §11.1 forbids."""


class Exceeded(Exception):
    """A limit of ours on what one peer may make us build."""


_MAX_CACHED = 4096
_names: dict[str, tuple[str, str]] = {}
"expat's `namespace}name` → (namespace, name). Bounded: peers choose names."


def split_name(qualified: str) -> tuple[str, str]:
    """expat's `namespace}name` as (namespace, name)."""
    try:
        return _names[qualified]
    except KeyError:
        pass
    if len(qualified) > MAX_NAME:
        raise Exceeded("name too long")
    ns, _, name = qualified.rpartition("}")
    if ns in (XML_NS, XMLNS_NS):
        raise Restricted("no elements live in the xml and xmlns namespaces")
    if len(_names) < _MAX_CACHED:
        _names[qualified] = ns, name
    return ns, name


def bracket_attributes(attrs: dict[str, str]) -> dict[str, str]:
    """Attributes as expat gives them, keyed the way `Element.attrs` wants them."""
    for key in attrs:
        if "}" in key or len(key) > MAX_NAME:
            break
    else:
        return attrs
    if any(len(key) > MAX_NAME for key in attrs):
        raise Exceeded("name too long")
    return {"{" + key if "}" in key else key: value for key, value in attrs.items()}


def weight(qualified: str, given: dict[str, str], attrs: dict[str, str]) -> int:
    """Characters of an element's names that count. `attrs`: what `bracket_attributes` made of the ones
    `given`."""
    size = len(qualified) if len(qualified) > LONG_NAME else 0
    return size if attrs is given else size + sum(len(key) for key in attrs if len(key) > LONG_NAME)


def new_expat(start: Callable[[str, dict[str, str]], None], end: Callable[[str], None],
              text: Callable[[str], None]) -> expat.XMLParserType:  # fmt: skip
    """A UTF-8 parser that calls back for elements and character data and raises `Restricted` for all else."""
    parser = expat.ParserCreate("UTF-8", "}", {})
    parser.buffer_size = TEXT
    parser.buffer_text = True
    if hasattr(parser, "SetReparseDeferralEnabled"):  # expat >= 2.6 would hold events back
        parser.SetReparseDeferralEnabled(False)
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.CommentHandler = _refuse
    parser.ProcessingInstructionHandler = _refuse
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.SkippedEntityHandler = _refuse
    return parser


def _refuse(*_: object) -> None:
    raise Restricted("comments, processing instructions, document types and entities are not allowed")


class _Builder:
    """Elements below an artificial root."""

    def __init__(self, max_depth: int) -> None:
        self.root = Element("root")
        self.max_depth = max_depth
        self.open: list[Element] = []

    def start(self, qualified: str, attrs: dict[str, str]) -> None:
        if not self.open:
            self.open.append(self.root)
            return
        if len(self.open) > self.max_depth:
            raise Exceeded("too deep")
        ns, name = split_name(qualified)
        element = Element(name, ns, bracket_attributes(attrs))
        self.open[-1].children.append(element)
        self.open.append(element)

    def end(self, _: str) -> None:
        self.open.pop()

    def text(self, data: str) -> None:
        if len(self.open) > 1:
            self.open[-1].children.append(data)


def parse_fragment(payload: bytes, *, max_depth: int = 64) -> list[Element]:
    """Elements of an opaque payload (`serialise_children`'s inverse); text between them is left out.

    Raises `ValueError` when it is not namespace-well-formed, too deep or uses what RFC 6120 §11.1 forbids.
    """
    if not payload:
        return []
    builder = _Builder(max_depth)
    parser = new_expat(builder.start, builder.end, builder.text)
    try:
        parser.Parse(b"<r>", False)
        parser.Parse(payload, False)
        if len(builder.open) != 1:
            raise ValueError("not a fragment: unbalanced")
        parser.Parse(b"</r>", True)
    except expat.ExpatError as broken:
        raise ValueError(f"not a fragment: {broken}") from None
    except (Restricted, Exceeded) as refused:
        raise ValueError(f"not a fragment: {refused}") from None
    return builder.root.elements


def merge_text(element: Element) -> None:
    """Make neighbouring pieces of character data one, in the whole tree."""
    waiting = [element]
    while waiting:
        current = waiting.pop()
        children = current.children
        if len(children) > 1:
            current.children = children = list(joined(children))
        waiting.extend(child for child in children if isinstance(child, Element))
