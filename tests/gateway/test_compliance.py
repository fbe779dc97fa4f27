"""gateway/compliance.py, and that docs/compliance.md is up to date."""

from __future__ import annotations

from gateway.compliance import ROOT, citations, gaps, page


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "compliance.md").read_text("utf-8") == page(), (
        "run: python -m gateway.compliance docs/compliance.md"
    )


def test_citations_name_their_sections() -> None:
    text = "(RFC 1111 §4.2.2), RFC 2222 appendix A; XEP-3333 §5, RFC 4444 §1 and §2.1. RFC 5555, §4"
    assert list(citations(text.replace("RFC 5555, §4", "RFC 5555."))) == [
        (("RFC", 1111), "4.2.2"),
        (("RFC", 2222), "appendix A"),
        (("XEP", 3333), "5"),
        (("RFC", 4444), "1"),
        (("RFC", 4444), "2.1"),
        (("RFC", 5555), ""),
    ]


def test_a_gap_ends_with_its_paragraph_or_its_comment() -> None:
    docstring = '"""What it does.\n\nGAP RFC 1111 §2: no this,\nand no that.\nGAP other: nothing.\n"""\n'
    comment = "    # GAP XEP-2222: not here\n    # nor there\n    code()\n"
    assert list(gaps(docstring + comment)) == [
        (("RFC", 1111), "RFC 1111 §2: no this, and no that."),
        (None, "other: nothing."),
        (("XEP", 2222), "XEP-2222: not here nor there"),
    ]
