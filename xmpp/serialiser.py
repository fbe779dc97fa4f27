"""Writing elements as XML.

What comes in from one stream is never copied out as bytes: it is parsed into `Element`s and written anew
here, every character escaped and every namespace declared where it differs from the parent's, so that no
payload can break out of its stanza.
"""

from __future__ import annotations

from collections.abc import Iterable

from xmpp.element import XML_NS, XMLNS_NS, Element

_MAX_CACHED = 2048
_tags: dict[tuple[str, str | None], tuple[str, str]] = {}
"(name, namespace, or None for the parent's) → opening tag, unended, and closing tag. Bounded."


def serialise(element: Element, parent_ns: str = "") -> str:
    """The element as XML inside a parent whose default namespace is `parent_ns`.

    Characters XML cannot carry become U+FFFD. Raises `ValueError` for a name that is none.
    """
    out: list[str] = []
    _write(element, parent_ns, out)
    return "".join(out)


def serialise_children(elements: Iterable[Element]) -> bytes:
    """Elements as an opaque payload that `parse_fragment` reads back."""
    out: list[str] = []
    for element in elements:
        _write(element, "", out)
    return "".join(out).encode()


def _write(element: Element, parent_ns: str, out: list[str]) -> None:
    ns = element.ns
    try:
        opening, closing = _tags[element.name, None if ns == parent_ns else ns]
    except KeyError:
        opening, closing = _tag(element.name, ns, declare=ns != parent_ns)
    if element.attrs:
        prefixes = 0
        for key, value in element.attrs.items():
            if not value.isprintable() or "'" in value or "&" in value or "<" in value:
                value = escape_attribute(value)
            if key.isalpha() and key.isascii():
                opening += f" {key}='{value}'"
            else:
                opening += _attribute(key, value, prefixes)
                prefixes += 1
    children = element.children
    if not children:
        out.append(opening + "/>")
        return
    if len(children) == 1 and isinstance(only := children[0], str):
        # most leaves: one run of text
        if not only.isprintable() or "&" in only or "<" in only or ">" in only:
            only = escape_text(only)
        out.append(f"{opening}>{only}{closing}")
        return
    out.append(opening + ">")
    for child in children:
        if isinstance(child, Element):
            _write(child, ns, out)
        else:
            out.append(escape_text(child))
    out.append(closing)


def _tag(name: str, ns: str, *, declare: bool) -> tuple[str, str]:
    if not is_ncname(name):
        raise ValueError(f"not an element name: {name[:40]!r}")
    if ns in (XML_NS, XMLNS_NS):  # neither may become a default namespace (Namespaces in XML §3)
        raise ValueError("no elements live in the xml and xmlns namespaces")
    opening = f"<{name} xmlns='{escape_attribute(ns)}'" if declare else f"<{name}"
    pair = opening, f"</{name}>"
    if len(_tags) < _MAX_CACHED and len(name) + len(ns) <= 128:
        _tags[name, ns if declare else None] = pair
    return pair


def _attribute(key: str, escaped: str, number: int) -> str:
    """An attribute that is not a plain ASCII word, with the declaration its prefix needs."""
    if key.startswith("{"):
        ns, _, name = key[1:].rpartition("}")
        if not is_ncname(name) or ns in ("", XMLNS_NS):
            raise ValueError(f"not an attribute name: {key[:40]!r}")
        if ns == XML_NS:
            return f" xml:{name}='{escaped}'"
        return f" xmlns:n{number}='{escape_attribute(ns)}' n{number}:{name}='{escaped}'"
    if not is_ncname(key):
        raise ValueError(f"not an attribute name: {key[:40]!r}")
    return f" {key}='{escaped}'"


def escape_text(text: str) -> str:
    """Character data as XML content."""
    if text.isprintable() and not ("&" in text or "<" in text or ">" in text):
        return text  # as nearly all of it
    if not text.isprintable():
        text = text.translate(_UNFIT)
    if "&" in text:
        text = text.replace("&", "&amp;")
    # a bare CR would be read back as a line feed (XML 1.0 §2.11)
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def escape_attribute(value: str) -> str:
    """An attribute's value, to stand between apostrophes; white space is kept (XML 1.0 §3.3.3)."""
    if value.isprintable() and not ("&" in value or "<" in value or ">" in value or "'" in value):
        return value
    if not value.isprintable():
        value = value.translate(_UNFIT)
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("'", "&apos;")
    return value.replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")


# Characters XML 1.0 §2.2 excludes. `str.isprintable` is False for each of them: the usual path is short.
_UNFIT = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "\ufffd")


def is_ncname(name: str) -> bool:
    """NCName of Namespaces in XML 1.0, that is XML 1.0 §2.3 Name without the colon."""
    if name.isascii():
        return name[:1] not in ("-", ".") and name.replace("-", "_").replace(".", "_").isidentifier()
    return _starts_name(name[0]) and all(_in_name(c) for c in name)


def _starts_name(c: str) -> bool:
    return c == "_" or (c.isascii() and c.isalpha()) or any(low <= c <= high for low, high in _START_RANGES)


def _in_name(c: str) -> bool:
    return (
        _starts_name(c)
        or c in "-.\u00b7\u203f\u2040"
        or (c.isascii() and c.isdigit())
        or "\u0300" <= c <= "\u036f"
    )


_START_RANGES = (
    ("\u00c0", "\u00d6"),
    ("\u00d8", "\u00f6"),
    ("\u00f8", "\u02ff"),
    ("\u0370", "\u037d"),
    ("\u037f", "\u1fff"),
    ("\u200c", "\u200d"),
    ("\u2070", "\u218f"),
    ("\u2c00", "\u2fef"),
    ("\u3001", "\ud7ff"),
    ("\uf900", "\ufdcf"),
    ("\ufdf0", "\ufffd"),
    ("\U00010000", "\U000effff"),
)
