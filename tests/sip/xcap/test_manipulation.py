"""Nodes of documents (RFC 4825 §6.3, §6.4, §8.2), with the examples of the RFC."""

from __future__ import annotations

import time
from contextlib import suppress
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.xcap.conflicts import Conflicting, XcapError
from sip.xcap.document import Document, parse_document
from sip.xcap.manipulation import ATTRIBUTE, BINDINGS, ELEMENT, delete, fetch, put
from sip.xcap.selector import parse_selector

INFO = b"""<?xml version="1.0"?>
<watcherinfo xmlns="urn:ietf:params:xml:ns:watcherinfo"
             version="0" state="full">
  <watcher-list resource="sip:professor@example.net"
                package="presence">
    <watcher status="active"
             id="8ajksjda7s"
             duration-subscribed="509"
             event="approved">sip:userA@example.net</watcher>
    <watcher status="pending"
             id="hh8juja87s997-ass7"
             display-name="Mr. Subscriber"
             event="subscribe">sip:userB@example.org</watcher>
  </watcher-list>
</watcherinfo>"""
NAMESPACES = b"""<?xml version="1.0"?>
<foo xmlns="urn:test:default-namespace">
  <ns1:bar xmlns:ns1="urn:test:namespace1-uri"
           xmlns="urn:test:namespace1-uri">
    <baz/>
    <ns2:baz xmlns:ns2="urn:test:namespace2-uri"/>
  </ns1:bar>
  <ns3:hi xmlns:ns3="urn:test:namespace3-uri">
    <there/>
  </ns3:hi>
</foo>"""
ROOT = b"""<?xml version="1.0"?>
<root>
 <el1 att="first"/>
 <el1 att="second"/>
 <!-- comment -->
 <el2 att="first"/>
</root>"""


def got(document: bytes, selector: str, query: str = "", default: str = "") -> tuple[bytes, str]:
    return fetch(Document(document), parse_selector(selector, query, default))


def placed(document: bytes, selector: str, body: str) -> bytes:
    return put(Document(document), parse_selector(selector, "", ""), body.encode())[0].data


def test_an_element_is_chosen_by_an_attribute_and_comes_as_it_stands() -> None:
    found, kind = got(
        INFO,
        "watcherinfo/watcher-list/watcher%5B@id=%228ajksjda7s%22%5D",
        default="urn:ietf:params:xml:ns:watcherinfo",
    )
    assert kind == ELEMENT
    assert found == (
        b'<watcher status="active"\n             id="8ajksjda7s"\n             duration-subscribed="509"\n'
        b'             event="approved">sip:userA@example.net</watcher>'
    )


def test_a_long_query_is_read_in_one_go() -> None:
    begun = time.process_time()
    for query in ("a" * 65_000, " " * 65_000, "a" * 8000, " " * 8000, "a(" * 4000, "a(" + "b " * 3990):
        with suppress(XcapError):
            parse_selector("a", query, "")
    assert time.process_time() - begun < 0.5
    assert parse_selector("p:a", "x(y)xmlns(p=urn:z)", "").steps[0].name == ("urn:z", "a")


@pytest.mark.parametrize(
    ("selector", "query", "found"),
    [
        ("foo/a:bar/b:baz", "xmlns(a=urn:test:namespace1-uri)xmlns(b=urn:test:namespace1-uri)", b"<baz/>"),
        (
            "foo/a:bar/b:baz",
            "xmlns(a=urn:test:namespace1-uri)xmlns(b=urn:test:namespace2-uri)",
            b'<ns2:baz xmlns:ns2="urn:test:namespace2-uri"/>',
        ),
        (
            "d:foo/a:bar/b:baz",
            "xmlns(a=urn:test:namespace1-uri)%20other(x)%20xmlns(b=urn:test:namespace2-uri)"
            "xmlns(d=urn:test:default-namespace)",
            b'<ns2:baz xmlns:ns2="urn:test:namespace2-uri"/>',
        ),
    ],
)
def test_prefixes_are_those_of_the_query_not_of_the_document(selector: str, query: str, found: bytes) -> None:
    assert got(NAMESPACES, selector, query, "urn:test:default-namespace") == (found, ELEMENT)


def test_the_bindings_of_an_element() -> None:
    query = "xmlns(df=urn:test:default-namespace)xmlns(df2=urn:test:namespace1-uri)"
    assert got(NAMESPACES, "df:foo/df2:bar/df2:baz/namespace::*", query) == (
        b'<baz xmlns="urn:test:namespace1-uri" xmlns:ns1="urn:test:namespace1-uri"/>',
        BINDINGS,
    )


def test_an_unbound_prefix_is_400() -> None:
    with pytest.raises(XcapError) as refused:
        parse_selector("a:foo", "", "")
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "selector",
    [
        "",
        "//x",
        "root[",
        "root[@a]",
        "root/text()",
        "root[@a=x]",
        "root/@a/b",
        "root[@a='1'][2]",
        "@x",
        "root[x]",
    ],
)
def test_what_the_grammar_does_not_know_names_nothing(selector: str) -> None:
    with pytest.raises(XcapError) as refused:
        parse_selector(selector, "", "")
    assert refused.value.status == 404


@pytest.mark.parametrize(
    "selector",
    [
        "root/el1",  # two of them
        "root/el1[3]",
        "root/el1[0]",
        "root/*[@att='first']",
        "root/el1[1][@att='second']",
        "root/el9",
        "root/el1[1]/@none",
        "el1",
    ],
)
def test_no_match_and_several_matches_are_404(selector: str) -> None:
    with pytest.raises(XcapError) as refused:
        got(ROOT, selector)
    assert refused.value.status == 404


def test_an_attribute_comes_with_its_quotes() -> None:
    assert got(ROOT, "root/el1[2]/@att") == (b'"second"', ATTRIBUTE)


def test_a_slash_in_a_value_is_no_separator() -> None:
    document = b"<r><e u='sip:a/b@x'/></r>"
    assert got(document, "r/e%5B@u=%22sip:a/b@x%22%5D")[0] == b"<e u='sip:a/b@x'/>"
    assert got(document, "r/e%5B@u=%22sip:a%2Fb@x%22%5D")[0] == b"<e u='sip:a/b@x'/>"


def test_references_in_a_value_are_what_they_stand_for() -> None:
    for value in ("a&amp;b&lt;", "a&b<", "a&#38;b&#x3c;"):
        assert got(b'<r><e u="a&amp;b&lt;"/></r>', f'r/e[@u="{value}"]')[0] == b'<e u="a&amp;b&lt;"/>'
    assert got(b'<r><e u="&quot;a&amp;b&quot;"/></r>', "r/e[@u='\"a&amp;b\"']")[0] == (
        b'<e u="&quot;a&amp;b&quot;"/>'
    )


@pytest.mark.parametrize(
    ("selector", "body", "inside"),
    [
        # RFC 4825 §8.2.3
        ('root/el1[@att="third"]', '<el1 att="third"/>', '<el1 att="second"/>|\n <!-- comment -->'),
        ('root/el1[3][@att="third"]', '<el1 att="third"/>', '<el1 att="second"/>|\n <!-- comment -->'),
        ('root/*[3][@att="third"]', '<el1 att="third"/>', '<el1 att="second"/>|\n <!-- comment -->'),
        ("root/el3", '<el3 att="first"/>', ' <el2 att="first"/>\n|</root>'),
        ('root/el2[@att="2"]', '<el2 att="2"/>', '<el2 att="first"/>|\n</root>'),
        ('root/el2[2][@att="2"]', '<el2 att="2"/>', '<el2 att="first"/>|\n</root>'),
        ('root/*[2][@att="2"]', '<el2 att="2"/>', '<el1 att="first"/>|\n <el1 att="second"/>'),
        ('root/el2[1][@att="2"]', '<el2 att="2"/>', ' |<el2 att="first"/>\n'),
        ('root/*[1][@att="2"]', '<el2 att="2"/>', '<root>\n |<el1 att="first"/>'),
        ('root/*[@att="2"]', '<el2 att="2"/>', '<el2 att="first"/>|\n</root>'),
    ],
)
def test_a_new_element_goes_where_the_rfc_wants_it(selector: str, body: str, inside: str) -> None:
    before, _, after = inside.partition("|")
    assert ROOT.decode().count(before + after) == 1
    assert placed(ROOT, selector, body).decode() == ROOT.decode().replace(
        before + after, before + body + after
    )


def test_an_empty_element_tag_is_opened_for_its_first_child() -> None:
    assert placed(b'<r><l n="a" /></r>', "r/l/e", "<e/>") == b'<r><l n="a"><e/></l></r>'


def test_a_match_is_replaced_with_all_it_declares() -> None:
    new = '<el1 att="first" xmlns:x="urn:x" >\n<x:y/></el1>'
    assert placed(ROOT, 'root/el1[@att="first"]', new).decode() == ROOT.decode().replace(
        '<el1 att="first"/>', new
    )


@pytest.mark.parametrize(
    ("selector", "body"),
    [
        ('root/el1[@att="third"]', '<el1 att="fourth"/>'),
        ('root/el1[5][@att="third"]', '<el1 att="third"/>'),
        ('root/el1[@att="first"]', '<el1 att="changed"/>'),
        ("root/el1", "<el1/>"),
        ('root/*[1][@att="z"]', "<el1/>"),
        ("root/el3", "<el4/>"),
        ("toor", "<toor/>"),
    ],
)
def test_what_would_not_be_found_again_cannot_be_inserted(selector: str, body: str) -> None:
    with pytest.raises(Conflicting) as refused:
        placed(ROOT, selector, body)
    assert refused.value.condition == "cannot-insert"


def test_a_missing_parent_is_told_with_the_closest_ancestor() -> None:
    with pytest.raises(Conflicting) as refused:
        placed(ROOT, "root/el1[2]/a/b", "<b/>")
    assert refused.value.condition == "no-parent"
    assert b"<ancestor>~~/*/*%5B2%5D</ancestor>" in refused.value.body


@pytest.mark.parametrize("body", ["", "text", "<a/><b/>", "<a>", "<!-- c --><a/>", "<p:a/>", "<a/></f><f>"])
def test_anything_but_one_element_is_no_fragment(body: str) -> None:
    with pytest.raises(Conflicting) as refused:
        placed(ROOT, "root/a", body)
    assert refused.value.condition == "not-xml-frag"


def test_a_fragment_may_use_the_prefixes_of_its_place() -> None:
    document = b'<a:r xmlns:a="urn:a"><a:l/></a:r>'
    selector = parse_selector("r/l/e", "", "urn:a")
    assert put(Document(document), selector, b"<a:e/>")[0].data == (
        b'<a:r xmlns:a="urn:a"><a:l><a:e/></a:l></a:r>'
    )


@pytest.mark.parametrize(
    ("selector", "body", "after"),
    [
        ("r/e/@a", '"2"', b"<r><e a=\"2\" b='x'/></r>"),
        ("r/e/@b", "'y'", b"<r><e a=\"1\" b='y'/></r>"),
        ("r/e/@c", '"new"', b'<r><e a="1" b=\'x\' c="new"/></r>'),
        ("r/e/@c", "bare", b'<r><e a="1" b=\'x\' c="bare"/></r>'),
        ('r/e[@a="1"]/@c', '"&lt;"', b'<r><e a="1" b=\'x\' c="&lt;"/></r>'),
    ],
)
def test_attributes_are_set_and_added(selector: str, body: str, after: bytes) -> None:
    assert placed(b"<r><e a=\"1\" b='x'/></r>", selector, body) == after


@pytest.mark.parametrize("body", ['"<"', '"a&b"', '"', 'a"b'])
def test_what_is_no_attribute_value(body: str) -> None:
    with pytest.raises(Conflicting) as refused:
        placed(ROOT, "root/el2/@x", body)
    assert refused.value.condition == "not-xml-att-value"


def test_an_attribute_one_is_chosen_by_cannot_be_changed() -> None:
    with pytest.raises(Conflicting) as refused:
        placed(ROOT, 'root/el2[@att="first"]/@att', '"second"')
    assert refused.value.condition == "cannot-insert"


def removed(document: bytes, selector: str) -> bytes:
    return delete(Document(document), parse_selector(selector, "", "")).data


def test_white_space_around_what_is_removed_stays() -> None:
    assert removed(ROOT, 'root/el1[@att="first"]').decode() == ROOT.decode().replace('<el1 att="first"/>', "")
    assert removed(ROOT, "root/el2/@att").decode() == ROOT.decode().replace('<el2 att="first"/>', "<el2/>")


def test_the_last_may_go_by_position_an_earlier_one_may_not() -> None:
    assert b"second" not in removed(ROOT, "root/el1[2]")
    with pytest.raises(Conflicting) as refused:
        removed(ROOT, "root/el1[1]")
    assert refused.value.condition == "cannot-delete"
    assert b"second" in removed(ROOT, "root/el1[1][@att='first']")


def test_bindings_can_only_be_read() -> None:
    selector = parse_selector("root/namespace::*", "", "")
    for attempt in (lambda: put(Document(ROOT), selector, b"x"), lambda: delete(Document(ROOT), selector)):
        with pytest.raises(XcapError) as refused:
            attempt()
        assert (refused.value.status, refused.value.headers) == (405, (("Allow", "GET"),))


@pytest.mark.parametrize(
    ("body", "condition"),
    [
        (b"<a>", "not-well-formed"),
        (b"", "not-well-formed"),
        (b"<a></b>", "not-well-formed"),
        (b"<!DOCTYPE a><a/>", "not-well-formed"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "not-well-formed"),
        (b"<a>" * 40 + b"</a>" * 40, "not-well-formed"),
        (b"<a>\xff</a>", "not-utf-8"),
        ('<?xml version="1.0" encoding="UTF-16"?><a/>'.encode("utf-16"), "not-utf-8"),
        (b'<?xml version="1.0" encoding="iso-8859-1"?><a/>', "not-utf-8"),
    ],
)
def test_documents_that_are_not_taken(body: bytes, condition: str) -> None:
    with pytest.raises(Conflicting) as refused:
        parse_document(body)
    assert refused.value.condition == condition


# --- whatever is put comes back --------------------------------------------------------------------------

NAMES = st.from_regex(r"[a-z]{1,3}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)


@st.composite
def elements(draw: st.DrawFn, depth: int = 3) -> str:
    name = draw(NAMES)
    attributes = draw(st.dictionaries(NAMES.filter(lambda key: key != "new"), TEXTS, max_size=2))
    written = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    if not depth or draw(st.booleans()):
        return f"<{name}{written}{draw(st.sampled_from(['', ' ']))}/>"
    inner = draw(st.lists(st.one_of(elements(depth - 1), TEXTS.map(escape)), max_size=3))
    return f"<{name}{written}>{''.join(inner)}</{name}>"


@given(st.lists(elements(), max_size=4), elements(), st.sampled_from(["", " ", "\n <!-- c -->\n"]))
def test_what_is_put_is_what_is_fetched_and_removing_it_leaves_what_was(
    others: list[str], new: str, between: str
) -> None:
    document = Document(f"<r>{between.join(others)}</r>".encode())
    name = Document(new.encode()).root.local
    selector = parse_selector(f"r/{name}[@new='{{x}}']", "", "")
    new = new.replace(f"<{name}", f"<{name} new='{{x}}'", 1)
    after, created = put(document, selector, new.encode())
    assert created
    assert fetch(after, selector) == (new.encode(), ELEMENT)
    assert put(after, selector, new.encode())[0].data == after.data
    left = delete(after, selector)
    assert left.data == document.data or b"<r/>" in document.data


@given(st.text(max_size=60), st.text(max_size=20))
def test_no_selector_is_anything_but_understood_or_refused(text: str, query: str) -> None:
    with suppress(XcapError):
        assert parse_selector(text, query, "urn:x").steps


@given(st.binary(max_size=200))
def test_no_body_is_anything_but_a_document_or_refused(body: bytes) -> None:
    with suppress(Conflicting):
        parsed = parse_document(body)
        assert parsed.source(parsed.root)
