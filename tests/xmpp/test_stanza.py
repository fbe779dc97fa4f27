"""Elements written and read back; nothing a peer puts into one can get out of it."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpp.stanza import CLIENT_NS, LANG, E, Element, parse_fragment, serialise, serialise_children

NAMES = st.sampled_from(["a", "body", "x-y", "_z", "été", "a.b", "W3"])
SPACES = st.sampled_from(["", "=", CLIENT_NS, "urn:x", "urn:with'quote", "urn:<&>", "http://example.org/a}b"])
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=20) | st.sampled_from(
    ["", "<", "&", "]]>", "\n", "\t", "a\r\nb", "&amp;", "'\"", "<!-- -->", "</body>", "\u00a0", "😀"]
)
KEYS = NAMES | st.builds("{{{}}}{}".format, st.sampled_from(["urn:a", "urn:'b'"]), NAMES) | st.just(LANG)


def usable(text: str) -> str:
    """Without the two noncharacters XML cannot carry."""
    return text.replace("\ufffe", "").replace("\uffff", "")


def elements() -> st.SearchStrategy[Element]:
    attrs = st.dictionaries(KEYS, TEXT.map(usable), max_size=4)
    leaf = st.builds(Element, NAMES, SPACES, attrs)
    return st.recursive(
        leaf,
        lambda below: st.builds(
            Element, NAMES, SPACES, attrs, st.lists(below | TEXT.map(usable), max_size=4)
        ),
        max_leaves=12,
    )


def readable(element: Element) -> bool:
    """expat refuses namespaces with our separator in them, and so do we (CVE-2022-25236)."""
    return "}" not in element.ns and all(readable(child) for child in element.elements)


@given(elements().filter(readable))
def test_what_is_written_is_read_back_the_same(element: Element) -> None:
    assert parse_fragment(serialise_children([element])) == [element]


@given(elements().filter(readable))
def test_any_other_parser_agrees(element: Element) -> None:
    parsed = ElementTree.fromstring(serialise(element))
    assert parsed.tag == (f"{{{element.ns}}}{element.name}" if element.ns else element.name)
    assert dict(parsed.attrib) == element.attrs
    assert len(list(parsed)) == len(element.elements)


@given(elements().filter(readable), elements().filter(readable))
def test_the_parents_namespace_is_only_declared_where_it_differs(element: Element, parent: Element) -> None:
    within = Element(parent.name, parent.ns, {}, [element])
    assert parse_fragment(serialise(within).encode()) == [within]
    assert serialise(E("body", CLIENT_NS), CLIENT_NS) == "<body/>"


@pytest.mark.parametrize("ns", ["=", "", "None", "urn:x"])
def test_no_namespace_is_taken_for_the_parents(ns: str) -> None:
    serialise(E("body", CLIENT_NS), CLIENT_NS)  # remembered as one that says no namespace
    message = E("message", CLIENT_NS, {}, E("body", ns, {}, "smuggled"))
    assert parse_fragment(serialise_children([message])) == [message]


def test_a_message_looks_as_people_write_it() -> None:
    message = E(
        "message",
        CLIENT_NS,
        {"to": "bob@example.org", LANG: "en"},
        E("body", CLIENT_NS, {}, "1 < 2 & 3"),
        E("active", "http://jabber.org/protocol/chatstates"),
    )
    assert serialise(message, CLIENT_NS) == (
        "<message to='bob@example.org' xml:lang='en'><body>1 &lt; 2 &amp; 3</body>"
        "<active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    )


def test_two_prefixed_attributes_get_two_prefixes() -> None:
    element = E("a", "", {"{urn:one}x": "1", "{urn:two}x": "2", "x": "3"})
    assert parse_fragment(serialise_children([element])) == [element]


@pytest.mark.parametrize(
    "forged",
    [
        E("a b", "urn:x"),
        E("a><evil/", "urn:x"),
        E("x:a", "urn:x"),
        E("", "urn:x"),
        E("-a", "urn:x"),
        E("a", "urn:x", {"x y": "1"}),
        E("a", "urn:x", {"x='1' y": "1"}),
        E("a", "urn:x", {"x:y": "1"}),
        E("a", "urn:x", {"{urn:x}": "1"}),
        E("a", "urn:x", {"{}a": "1"}),
        E("a", "urn:x", {"{urn:x}a b": "1"}),
        E("a", "urn:x", {"": "1"}),
        E("a", "http://www.w3.org/2000/xmlns/"),
        E("a", "http://www.w3.org/XML/1998/namespace"),
        E("a", "urn:x", {"{http://www.w3.org/2000/xmlns/}a": "urn:y"}),
    ],
)
def test_a_name_that_is_none_is_never_written(forged: Element) -> None:
    with pytest.raises(ValueError, match="nam"):
        serialise(forged)


@pytest.mark.parametrize("evil", ["urn:x'><evil xmlns='", 'urn:x"/>', "urn:x&quot;", "<>"])
def test_a_namespace_cannot_break_out(evil: str) -> None:
    outer = E("message", CLIENT_NS, {}, E("x", evil, {f"{{{evil}}}k": evil}, evil))
    (read,) = parse_fragment(serialise_children([outer]))
    assert read == outer
    assert len(read.elements) == 1


def test_characters_xml_cannot_carry_become_replacement_characters() -> None:
    element = E("body", CLIENT_NS, {"id": "\x00\ud800"}, "a\x08b\ufffe\uffff\udfff")
    (read,) = parse_fragment(serialise(element).encode())
    assert read.text == "a\ufffdb\ufffd\ufffd\ufffd"
    assert read.get("id") == "\ufffd\ufffd"


def test_white_space_in_attributes_survives() -> None:
    (read,) = parse_fragment(serialise_children([E("a", "", {"x": "1\t2\n3\r4"}, "5\r6")]))
    assert read.get("x") == "1\t2\n3\r4"
    assert read.text == "5\r6"


@pytest.mark.parametrize(
    "payload",
    [
        b"<a>",
        b"</r><r>",
        b"</r>",
        b"<a/></r><r/>",
        b"<!-- c -->",
        b"<?pi x?>",
        b"<?xml version='1.0'?>",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
        b"<a>&b;</a>",
        b"<xml:a/>",
        b"<p:a/>",
        b"<a b='1' b='2'/>",
        b"<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
        b"<a></b>",
        b"\xff",
        b"<a/",
        b"<![CDATA[",
        b"<a>" * 100 + b"</a>" * 100,
        b"<a" + b"a" * 600 + b"/>",
    ],
)
def test_fragments_that_are_not_plain_xml_are_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="not a fragment"):
        parse_fragment(payload)


def test_a_fragment_may_be_empty_and_have_text_around_its_elements() -> None:
    assert parse_fragment(b"") == []
    assert parse_fragment(b" <a/> x <b/>") == [E("a", ""), E("b", "")]


def test_children_are_found_in_the_elements_own_namespace() -> None:
    inner = E("body", "http://www.w3.org/1999/xhtml", {}, "html")
    plain = E("body", CLIENT_NS, {}, "plain")
    message = E("message", CLIENT_NS, {}, inner, plain, "text")
    assert message.find("body") is plain
    assert message.find("body", "http://www.w3.org/1999/xhtml") is inner
    assert message.findall("body") == [plain]
    assert message.find("subject") is None
    assert message.text == "text"


def test_a_copy_shares_nothing() -> None:
    message = E("message", CLIENT_NS, {"to": "a"}, E("body", CLIENT_NS, {}, "x"))
    copy = message.copy()
    copy.attrs["to"] = "b"
    copy.elements[0].append("y")
    assert message == E("message", CLIENT_NS, {"to": "a"}, E("body", CLIENT_NS, {}, "x"))


def test_children_are_built_in_place() -> None:
    iq = E("iq", CLIENT_NS)
    iq.child("query", "jabber:iq:roster").child("item", attrs={"jid": "b@c"}).child("group", text="Friends")
    assert serialise(iq, CLIENT_NS) == (
        "<iq><query xmlns='jabber:iq:roster'><item jid='b@c'><group>Friends</group></item></query></iq>"
    )
