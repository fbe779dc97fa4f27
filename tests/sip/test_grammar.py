from __future__ import annotations

import pytest

from sip.grammar import is_call_id, language


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("de", "de"),
        (" en-GB , fr", "en-GB"),
        ("zh-Hant-TW-x-private", "zh-Hant-TW-x-private"),
        ("", ""),
        ("not_one", ""),
        ("de;q=0.5", ""),
        ("ninechars", ""),
        ("-".join(["en"] * 30), ""),
        ("dé", ""),
    ],
)
def test_a_language_is_the_first_tag_or_nothing(text: str, tag: str) -> None:
    assert language(text) == tag


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a84b4c76e66710", True),
        ("f81d4fae-7dec-11d0-a765-00a0c91e6bf6@foo.bar.com", True),
        ("{thread}/1?<x>", True),
        ("", False),
        ("two words", False),
        ("a@b@c", False),
        ("comma,", False),
        ("line\r\nbreak", False),
        ("ümlaut", False),
        ("x" * 257, False),
    ],
)
def test_what_may_stand_as_a_call_id(text: str, good: bool) -> None:
    assert is_call_id(text) is good
