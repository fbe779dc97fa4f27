"""What presence is written in, and who gets which (RFC 3856 §6.7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from presence.model import Person, PresenceDocument, PresenceTuple, Show
from sip.documents import Body, choose, media_of, render_of
from sip.headers import MediaType
from sip.pidf import parse_pidf
from tests.sip.house import ALICE, BOB, open_house

PIDF, XPIDF = "application/pidf+xml", "application/xpidf+xml"
LPIDF, CPIM = "text/lpidf", "application/cpim-pidf+xml"


def here(person: Person | None = None, **fields: object) -> PresenceDocument:
    tuples = (PresenceTuple(id="desk", **fields),)  # type: ignore[arg-type]
    return PresenceDocument(address=ALICE, version=1, tuples=tuples, person=person)


NOBODY = PresenceDocument(address=ALICE, version=1)


@pytest.mark.parametrize(
    ("accept", "agent_wants", "chosen"),
    [
        (None, (), PIDF),
        ([PIDF], (), PIDF),
        ([f"{XPIDF}", PIDF], (), PIDF),
        ([XPIDF], (), XPIDF),
        ([f"{XPIDF};q=0.2", CPIM], (), CPIM),
        ([LPIDF, XPIDF], (), LPIDF),
        (["*/*"], (), PIDF),
        (["text/*"], (), LPIDF),
        ([PIDF, XPIDF], (XPIDF,), XPIDF),
        ([PIDF], (XPIDF,), PIDF),
        (["*/*"], (XPIDF,), PIDF),
        (["application/xml"], (), None),
        ([], (), None),
    ],
)
def test_pidf_where_it_is_taken_else_what_the_watcher_likes_best(
    accept: list[str] | None, agent_wants: tuple[str, ...], chosen: str | None
) -> None:
    kinds = None if accept is None else [MediaType.parse(each) for each in accept]
    assert choose(kinds, PIDF, media_of("presence"), agent_wants) == chosen


@pytest.mark.parametrize(
    ("document", "status", "substatus"),
    [
        (NOBODY, "closed", "offline"),
        (here(), "open", "online"),
        (here(show=Show.AWAY), "open", "away"),
        (here(show=Show.DND), "inuse", "busy"),
        (here(idle_since=1.0), "open", "idle"),
        (here(Person(activities=("lunch",))), "open", "outtolunch"),
        (here(Person(activities=("on-the-phone",))), "inuse", "onthephone"),
    ],
)
def test_xpidf_says_it_in_microsofts_words(document: PresenceDocument, status: str, substatus: str) -> None:
    root = fromstring(render_of("presence", XPIDF)(document).data)
    (address,) = root.iter("address")
    found = [(each.get("status"), each.get("substatus")) for each in address]
    assert found == [(status, None), (None, substatus)]


def test_cpim_pidf_is_pidf_in_its_drafts_namespace_and_read_as_well() -> None:
    data = render_of("presence", CPIM)(here(show=Show.AWAY)).data
    assert b'xmlns="urn:ietf:params:xml:ns:cpim-pidf"' in data
    assert parse_pidf(data, 0.0).tuples[0].show is Show.AWAY


def test_lpidf_lists_where_to_reach_somebody() -> None:
    render = render_of("presence", LPIDF)
    assert render(NOBODY).data == b"To: <sip:alice@example.org>\r\n"
    reachable = b"To: <sip:alice@example.org>\r\nContact: <sip:alice@example.org>;q=1\r\n"
    assert render(here()).data == reachable


def test_a_documents_number_is_no_part_of_its_tag() -> None:
    body = Body("a/b", b"<x n=''/>", number_at=6)
    assert body.numbered(12) == b"<x n='12'/>"
    assert body.tag() == Body("a/b", b"<x n=''/>").tag() != Body("a/c", b"<x n=''/>").tag()


async def test_a_watcher_is_notified_in_what_it_takes(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.befriend(ALICE, BOB)
        async with house.phone(BOB) as phone:
            watch = await phone.subscribe(str(ALICE), Accept=XPIDF)
            # the phone of these tests names PIDF, too
            assert (await watch.state("active"))["Content-Type"] == PIDF
            headers = [("Event", "presence"), ("Expires", "60"), ("Contact", phone.contact)]
            refused = await phone.request(
                "SUBSCRIBE", f"sip:{ALICE}", [*headers, ("Accept", "application/xml")]
            )
            assert refused.status == 406
            assert set(refused["Accept"].split(", ")) == {PIDF, XPIDF, LPIDF, CPIM}
            agent: dict[str, Any] = {"User-Agent": "PolycomSoundPointIP-SPIP_501-UA/1.6.7", "Accept": XPIDF}
            watch = await phone.subscribe(str(ALICE), **agent)
            notify = await watch.state("active")
            assert notify["Content-Type"] == XPIDF
            await house.desk(ALICE)
            assert '<msnsubstatus substatus="online"/>' in (await watch.state("active")).text
            await house.stop()
            await house.start()
            assert (await watch.state("active"))["Content-Type"] == XPIDF
