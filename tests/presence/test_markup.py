"""presence/markup.py: what of formatted text is handed on."""

from __future__ import annotations

import time
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence.markup import MAX_DEPTH, MAX_MARKUP, tidy


@pytest.mark.parametrize(
    ("html", "kept"),
    [
        ("<b>now</b> &amp; <i>here</i>", "<strong>now</strong> &amp; <em>here</em>"),
        ("<html><head><title>t</title></head><body><em>x</em></body></html>", "<em>x</em>"),
        ('<a href="https://example.org/?a=1&b=2" onclick="x()">go</a>',
         '<a href="https://example.org/?a=1&amp;b=2">go</a>'),
        ('<a href="javascript:alert(1)">go</a>', "<a>go</a>"),
        ('<a href=" JAVASCRIPT:alert(1)">go</a>', "<a>go</a>"),
        ("<em>a<script>alert(1)</script>b</em>", "<em>ab</em>"),
        ('<strong style="position:fixed">a</strong>', "<strong>a</strong>"),
        ('<em>a</em><img src="https://tracker.example/x.png">', "<em>a</em>"),
        ("<ul><li>one<li>two</ul>", "<ul><li>one<li>two</li></li></ul>"),
        ("<em>never closed", "<em>never closed</em>"),
        ("</em>closed only<em>x</em>", "closed only<em>x</em>"),
        ("<em>a</strong>b</em>", "<em>ab</em>"),
        ("a<br>b<br/><em>c</em>", "a<br/>b<br/><em>c</em>"),
        ("<em>\0\x0bx</em>", "<em>x</em>"),
        ("<em>q</em><![x]>b", ""),
    ],
)  # fmt: skip
def test_only_what_is_safe_stays_and_is_balanced(html: str, kept: str) -> None:
    assert tidy(html) == kept


@pytest.mark.parametrize("html", ["", "just text", "<p>one</p><div>two</div>", "a<br>b", "1 < 2 & 3"])
def test_what_plain_text_says_as_well_is_no_markup(html: str) -> None:
    assert tidy(html) == ""


def test_what_is_too_long_or_too_deep_is_plain_text_only() -> None:
    assert tidy(f"<em>{'x' * MAX_MARKUP}</em>") == ""
    assert tidy("<em>" * (MAX_DEPTH + 1) + "x") == ""
    assert tidy("<em>" * MAX_DEPTH + "x") != ""


@pytest.mark.parametrize("piece", ["<a ", "<!--", "<!--x>", "</a ", "<a b='", "<script></s>"])
def test_tags_that_never_end_are_read_in_one_go(piece: str) -> None:
    begun = time.process_time()
    tidy((piece * 60_000)[:60_000])
    assert time.process_time() - begun < 2


def test_comments_say_nothing_and_what_is_no_tag_is_text() -> None:
    assert tidy("a<!-- > -->b<em>c</em><!-->1 < 2<!-- <a") == "ab<em>c</em>1 &lt; 2&lt;!-- &lt;a"


@given(st.text(alphabet="<>/=\"'& abemp\0\n\u2028ülistrong#;!-["))
def test_whatever_comes_the_result_is_well_formed(html: str) -> None:
    ElementTree.fromstring(f"<body>{tidy('<em>!</em>' + html)}</body>")
