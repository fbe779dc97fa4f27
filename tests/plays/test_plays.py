"""Each play, performed on the shared gateway; and what makes a play."""

from __future__ import annotations

import asyncio
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from tests.plays.play import BadPlay, Company, fits, plays, read
from tests.support.stage import Stage

pytestmark = pytest.mark.journey


@pytest.mark.parametrize("path", plays(), ids=lambda path: path.stem)
async def test_play(stage: Stage, path: Path) -> None:
    play = read(await asyncio.to_thread(path.read_text, "utf-8"))
    await Company(stage).perform(play)


@pytest.mark.parametrize(
    ("wanted", "given", "kept"),
    [
        ("<a b='1'/>", "<a b='1' c='2'><d/></a>", {}),
        ("<a b='1'/>", "<a b='2'/>", None),
        ("<a b='{any}'/>", "<a/>", None),
        ("<a b='{none}'/>", "<a/>", {}),
        ("<a b='{none}'/>", "<a b=''/>", None),
        ("<a b='{keep x}'><c>{keep y}</c></a>", "<a b='1'><d/><c>2</c></a>", {"x": "1", "y": "2"}),
        ("<a><c/><c/></a>", "<a><c/></a>", None),
        ("<a xmlns='n'/>", "<a/>", None),
        ("<a>hi</a>", "<a>ho</a>", None),
    ],
)
def test_what_is_expected_fits_what_has_at_least_that(
    wanted: str, given: str, kept: dict[str, str] | None
) -> None:
    assert fits(fromstring(wanted), fromstring(given)) == kept


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "a title"),
        ("# t\n[client] alice\n", "a title"),
        ("# t\n[client] alice\nbob connects\n", "line 3: who is bob"),
    ],
)
def test_what_is_no_play_is_refused(text: str, told: str) -> None:
    with pytest.raises(BadPlay, match=told):
        read(text)


async def test_a_play_that_expects_what_does_not_happen_fails(stage: Stage) -> None:
    text = (
        "# t\n[client] alice\nalice connects\nalice sends:\n <presence/>\nalice receives:\n"
        " <presence from='{alice/desk}' type='unavailable'/>\n"
    )
    play = read(text)
    with pytest.raises(AssertionError, match="was not sent"):
        await Company(stage, patience=1.0).perform(play)


async def test_a_play_that_leaves_something_untold_fails_where_it_says_idle(stage: Stage) -> None:
    question = "<iq type='get' id='q'><query xmlns='jabber:iq:version'/></iq>"
    text = f"# t\n[client] alice\nalice connects\nalice sends:\n {question}\nalice is idle\n"
    with pytest.raises(AssertionError, match="more than the play tells"):
        await Company(stage).perform(read(text))
