"""Node selectors (RFC 4825 §6.3) and the namespace bindings that come with them (§6.4).

What the grammar does not know is an extension, and there are none here: such a URI names nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from sip.xcap.conflicts import XcapError

Name = tuple[str, str]
"Namespace and local name."

MAX_SELECTOR = 8192
_MAX_STEPS = 32
_NCNAME = r"[^\W\d][\w.\-]*"
_QNAME = rf"(?:{_NCNAME}:)?{_NCNAME}"
_LITERAL = r'"[^"]*"|\'[^\']*\''
"Clients write `<` and `&` as they are, and as XML has them: both are understood."
_STEP = re.compile(
    rf"(?P<name>\*|{_QNAME})(?:\[(?P<position>[0-9]{{1,9}})\])?"
    rf"(?:\[@(?P<attribute>{_QNAME})=(?P<value>{_LITERAL})\])?"
)
_ATTRIBUTE = re.compile(rf"@({_QNAME})")
_REFERENCE = re.compile(r"&(?:#x([0-9a-fA-F]{1,6})|#([0-9]{1,7})|(amp|lt|gt|quot|apos));")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_POINTER = re.compile(r"(?<![\w.\-:])([\w.\-:]+)\(((?:[^()^]|\^[()^])*)\)")
"A scheme is looked for where a word begins only: a long word must not be read once per letter."


@dataclass(frozen=True, slots=True)
class Step:
    """Chooses one child element."""

    name: Name | None
    "None for the wildcard."
    position: int | None = None
    "From 1, among those of that name."
    attribute: tuple[Name, str] | None = None
    "That it must have, with this value."


@dataclass(frozen=True, slots=True)
class Selector:
    steps: tuple[Step, ...]
    attribute: Name | None = None
    "The attribute selected; None: the element is, or its bindings are."
    attribute_prefix: str = ""
    bindings: bool = False
    "The namespace bindings in scope of the element."


def parse_selector(raw: str, query: str, default: str) -> Selector:
    """From a URI's path behind `~~/` and its query, both percent-encoded. `default`: the namespace of
    elements without a prefix. Raises `XcapError`: 400 for an unbound prefix, 404 for what is no selector."""
    if len(raw) + len(query) > MAX_SELECTOR:
        raise XcapError(404, "No Such Node")
    text, namespaces = _decode(raw.removeprefix("/").removesuffix("/")), _bindings(_decode(query))
    if not text:
        raise XcapError(404, "No Such Node")

    def expand(name: str, unprefixed: str) -> Name:
        prefix, colon, local = name.rpartition(":")
        if not colon:
            return unprefixed, local
        if prefix not in namespaces:
            raise XcapError(400, f"Prefix {prefix} Is Not Bound")
        return namespaces[prefix], local

    steps: list[Step] = []
    at = 0
    while len(steps) < _MAX_STEPS:
        rest = text[at:]
        if steps and rest == "namespace::*":
            return Selector(tuple(steps), bindings=True)
        if steps and (found := _ATTRIBUTE.fullmatch(rest)) is not None:
            name = found.group(1)
            return Selector(tuple(steps), expand(name, ""), name.rpartition(":")[0])
        match = _STEP.match(text, at)
        if match is None:
            break
        position, attribute = match["position"], match["attribute"]
        tested = (expand(attribute, ""), attribute_value(match["value"][1:-1])) if attribute else None
        name = match["name"]
        steps.append(
            Step(None if name == "*" else expand(name, default), int(position) if position else None, tested)
        )
        at = match.end()
        if at == len(text):
            return Selector(tuple(steps))
        if text[at] != "/":
            break
        at += 1
    raise XcapError(404, "No Such Node")


def attribute_value(text: str) -> str:
    """An AttValue (XML 1.0 §2.3) without its quotes, as the value it stands for."""

    def meant(found: re.Match[str]) -> str:
        hexadecimal, decimal, name = found.groups()
        if name:
            return _ENTITIES[name]
        number = int(hexadecimal, 16) if hexadecimal else int(decimal)
        return chr(number) if number < 0x110000 else ""

    return _REFERENCE.sub(meant, re.sub(r"[\t\r\n]", " ", text))


def _bindings(query: str) -> dict[str, str]:
    """The xmlns() parts of an XPointer; others are ignored."""
    bound: dict[str, str] = {}
    for scheme, data in _POINTER.findall(query):
        prefix, equals, namespace = re.sub(r"\^([()^])", r"\1", data).partition("=")
        if scheme == "xmlns" and equals:
            bound[prefix.strip()] = namespace.strip()
    return bound


def _decode(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise XcapError(400, "The URI Is Not UTF-8") from None


def escape_selector(text: str) -> str:
    """A selector as it stands in a URI."""
    return quote(text, safe="/~*@=:;!$&'()+,.-_")
