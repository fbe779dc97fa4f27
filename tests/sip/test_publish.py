"""RFC 3903: the table of §4.1, and the refusals of §6 as a phone hears them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.model import Text
from sip.errors import ProtocolError
from sip.publish import Operation, operation
from tests.sip.house import BOB, House, open_house
from tests.support.pidf import pidf


@pytest.mark.parametrize(
    ("body", "tag", "expires", "meant"),
    [
        (True, False, 60, Operation.INITIAL),
        (False, True, 60, Operation.REFRESH),
        (True, True, 60, Operation.MODIFY),
        (False, True, 0, Operation.REMOVE),
        (True, True, 0, Operation.REMOVE),
    ],
)
def test_table_1(body: bool, tag: bool, expires: int, meant: Operation) -> None:
    assert operation(body=body, tag=tag, expires=expires) is meant


def test_neither_body_nor_tag_is_400() -> None:
    with pytest.raises(ProtocolError) as refused:
        operation(body=False, tag=False, expires=60)
    assert refused.value.status == 400


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, min_expires=60) as opened:
        yield opened


ME = "bob@example.org"


async def notes(house: House) -> list[str]:
    return [note.text for each in (await house.seen(BOB)).tuples for note in each.notes]


async def test_publish_modify_refresh_remove(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        first = await phone.publish(pidf(ME, note="one"))
        assert (first.status, first["Expires"]) == (200, "600")
        assert await notes(house) == ["one"]
        second = await phone.publish(pidf(ME, note="two"), etag=first["SIP-ETag"])
        third = await phone.publish(etag=second["SIP-ETag"], expires=120)
        assert (third.status, third["Expires"]) == (200, "120")
        assert await notes(house) == ["two"]
        tags = [response["SIP-ETag"] for response in (first, second, third)]
        assert len(set(tags)) == 3
        assert (await phone.publish(etag=tags[0])).status == 412
        assert await notes(house) == ["two"]
        assert (await phone.publish(etag=tags[2], expires=0)).status == 200
        assert await notes(house) == []
        assert (await house.seen(BOB)).online
        assert (await phone.publish(etag=tags[2])).status == 412


async def test_no_expires_leaves_the_time_to_the_server(house: House) -> None:
    async with house.phone(BOB) as phone:
        headers = [("Event", "presence"), ("Content-Type", "application/pidf+xml")]
        response = await phone.request("PUBLISH", f"sip:{ME}", headers, pidf(ME).encode())
        assert (response.status, response["Expires"]) == (200, "3600")


async def test_a_too_short_time_is_423(house: House) -> None:
    async with house.phone(BOB) as phone:
        response = await phone.publish(pidf(ME), expires=30)
        assert (response.status, response["Min-Expires"]) == (423, "60")


@pytest.mark.parametrize(
    ("headers", "body", "status", "named"),
    [
        ([("Event", "no-such"), ("Content-Type", "application/pidf+xml")], b"x", 489, "Allow-Events"),
        ([("Content-Type", "application/pidf+xml")], b"x", 489, "Allow-Events"),
        ([("Event", "presence"), ("Content-Type", "text/plain")], b"x", 415, "Accept"),
        ([("Event", "presence")], b"x", 415, "Accept"),
        (
            [("Event", "presence"), ("Content-Type", "application/pidf+xml"), ("Content-Encoding", "gzip")],
            b"x",
            415,
            "Accept-Encoding",
        ),
        ([("Event", "presence"), ("Content-Type", "application/pidf+xml")], b"<x>", 400, "CSeq"),
        ([("Event", "presence")], b"", 400, "CSeq"),
        ([("Event", "presence"), ("SIP-If-Match", "x" * 80)], b"", 412, "CSeq"),
    ],
)
async def test_refusals(
    house: House, headers: list[tuple[str, str]], body: bytes, status: int, named: str
) -> None:
    async with house.phone(BOB) as phone:
        response = await phone.request("PUBLISH", f"sip:{ME}", headers, body)
        assert response.status == status
        assert response[named]


async def test_a_document_about_someone_else_and_someone_elses_address_are_refused(house: House) -> None:
    async with house.phone(BOB) as phone:
        assert (await phone.publish(pidf("carol@example.org"))).status == 400
        assert (await phone.publish(pidf("carol@example.org"), resource="carol@example.org")).status == 403
        assert (await phone.publish(pidf(ME), resource="bob@elsewhere.example")).status == 404


async def test_a_publication_ends_with_the_registration_it_speaks_for(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        await phone.publish(pidf(ME, note="first"))
        await phone.publish(pidf(ME, note="twin"))
        await phone.unregister()
        assert (await house.seen(BOB)).tuples == ()


async def test_a_publication_that_came_before_its_registration_ends_with_it_too(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.publish(pidf(ME, note="early"))
        assert await notes(house) == ["early"]
        await phone.register()
        async with house.phone(BOB) as second:
            await second.register()
            for _ in range(100):
                (only,) = [
                    s for s in (await house.other.snapshots([BOB]))[0].sources if s.id.startswith("sip-pub")
                ]
                if only.tied_to:
                    break
                await second.request("OPTIONS", "sip:example.org")
            await phone.unregister()
            assert await notes(house) == []


async def test_a_new_document_wins_over_the_closed_one_of_the_last_login(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        await phone.publish(pidf(ME, basic="closed", id="bs35r9f"))
        assert not (await house.seen(BOB)).online
        await phone.publish(pidf(ME, note="available", id="bs35r9f"))
        document = await house.seen(BOB)
        assert document.online
        assert document.tuples[0].notes == (Text("available"),)


async def test_there_is_room_for_so_many_publications(tmp_path: Path) -> None:
    async with open_house(tmp_path, max_publications=2) as house, house.phone(BOB) as phone:
        assert [(await phone.publish(pidf(ME))).status for _ in range(3)] == [200, 200, 403]


async def test_without_content_length_over_udp_a_body_is_what_is_there(house: House) -> None:
    async with house.phone(BOB) as phone:
        first = await phone.publish(pidf(ME, note="x"))
        headers = [("Event", "presence"), ("Expires", "0"), ("SIP-If-Match", first["SIP-ETag"])]
        assert (await phone.request("PUBLISH", f"sip:{ME}", headers)).status == 200
