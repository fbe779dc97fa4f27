"""Lamps (RFC 4235): presence as BLF phones see it, and calls as presence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from presence.model import Person, PresenceDocument, PresenceTuple, Show
from sip.calls import Call, Calls, parse_dialog_info
from sip.documents.dialog_info import CONTENT_TYPE, busy
from tests.sip.house import ALICE, BOB, CAROL, House, open_house
from tests.support.sipclient import Phone
from tests.support.sipwire import SipMessage

NS = "{urn:ietf:params:xml:ns:dialog-info}"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


def lamp(notify: SipMessage) -> tuple[int, str]:
    """Version, and the state of the one dialog."""
    root = ElementTree.fromstring(notify.body)
    assert root.get("state") == "full"
    (dialog,) = root
    return int(root.get("version", "-1")), dialog.findtext(f"{NS}state", "")


def calls(state: str, call: str = "c1", entity: str = str(BOB)) -> bytes:
    return (
        f'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="0" state="full"'
        f' entity="sip:{entity}"><dialog id="{call}" call-id="{call}" local-tag="l" remote-tag="r">'
        f"<state>{state}</state></dialog></dialog-info>"
    ).encode()


async def publish(phone: Phone, body: bytes, *, etag: str = "", expires: int = 3600) -> SipMessage:
    headers = [("Event", "dialog"), ("Expires", str(expires))]
    if etag:
        headers.append(("SIP-If-Match", etag))
    if body:
        headers.append(("Content-Type", CONTENT_TYPE))
    return await phone.request("PUBLISH", f"sip:{BOB}", headers, body)


async def test_a_lamp_follows_presence_in_numbered_documents(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(str(ALICE), event="dialog", Accept=CONTENT_TYPE)
        assert watch.response.status == 200
        assert lamp(await watch.state("active")) == (0, "terminated")
        await house.desk(ALICE, show=Show.DND)
        assert lamp(await watch.state("active")) == (1, "confirmed")
        await house.leave(ALICE)
        assert lamp(await watch.state("active")) == (2, "terminated")


async def test_a_stranger_sees_no_lamp(house: House) -> None:
    await house.desk(ALICE, show=Show.DND)
    async with house.phone(CAROL) as phone:
        watch = await phone.subscribe(str(ALICE), event="dialog", Accept=CONTENT_TYPE)
        assert (await watch.state("pending")).body == b""


async def test_who_is_in_a_call_is_on_the_phone_until_it_ends(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        answer = await publish(phone, calls("confirmed"))
        assert (answer.status, answer["Expires"]) == (200, "600")
        person = (await house.seen(BOB)).person
        assert person == Person(activities=("on-the-phone",))
        await publish(phone, calls("terminated"), etag=answer["SIP-ETag"])
        seen = await house.seen(BOB)
        assert (seen.online, seen.person) == (True, None)


async def test_a_ringing_phone_lights_no_lamp_but_lets_it_flash(house: House) -> None:
    await house.befriend(BOB, ALICE)
    async with house.phone(BOB) as phone, house.phone(ALICE) as watcher:
        await phone.register()
        watch = await watcher.subscribe(str(BOB), event="dialog", Accept=CONTENT_TYPE)
        assert lamp(await watch.state("active")) == (0, "terminated")
        answer = await publish(phone, calls("early"))
        assert (await house.seen(BOB)).person == Person(ringing=True)
        assert lamp(await watch.state("active")) == (1, "early")
        answer = await publish(phone, calls("confirmed"), etag=answer["SIP-ETag"])
        assert lamp(await watch.state("active")) == (2, "confirmed")
        await publish(phone, b"", etag=answer["SIP-ETag"], expires=0)
        assert lamp(await watch.state("active")) == (3, "terminated")


async def test_who_calls_is_on_the_phone_while_it_rings_there(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        await publish(phone, calls("early").replace(b"<dialog id", b"<dialog direction='initiator' id"))
        assert (await house.seen(BOB)).person == Person(activities=("on-the-phone",))


async def test_a_partial_document_leaves_the_other_calls_as_they_were(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        first = await publish(phone, calls("confirmed", "one"))
        partial = calls("confirmed", "two").replace(b"full", b"partial")
        second = await publish(phone, partial, etag=first["SIP-ETag"])
        over = calls("terminated", "two").replace(b"full", b"partial")
        third = await publish(phone, over, etag=second["SIP-ETag"])
        assert (await house.seen(BOB)).person == Person(activities=("on-the-phone",))
        over = calls("terminated", "one").replace(b"full", b"partial")
        await publish(phone, over, etag=third["SIP-ETag"])
        assert (await house.seen(BOB)).person is None


async def test_a_phone_that_forgets_its_tag_leaves_nothing_behind(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        first = await publish(phone, calls("confirmed"))
        await publish(phone, calls("terminated"))
        assert (await house.seen(BOB)).person is None
        assert (await publish(phone, b"", etag=first["SIP-ETag"])).status == 412


async def test_what_comes_after_the_end_of_a_call_lights_no_lamp(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        await publish(phone, calls("terminated"))
        await publish(phone, calls("confirmed"))
        assert (await house.seen(BOB)).person is None
        await publish(phone, calls("confirmed", "another"))
        assert (await house.seen(BOB)).person is not None


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"nonsense", 400), (b"<x/>", 400), (calls("confirmed", entity=str(ALICE)), 400)],
)
async def test_broken_and_foreign_documents_are_refused(house: House, body: bytes, status: int) -> None:
    async with house.phone(BOB) as phone:
        assert (await publish(phone, body)).status == status


def test_a_tombstone_stands_for_the_longest_lease() -> None:
    table = Calls(600)
    over, talking = Call("c", "c", over=True), Call("c", "c", talking=True)
    assert table.heard(BOB, "t", [over], 0) is None
    assert table.heard(BOB, "t", [talking], 599) is None
    assert table.heard(ALICE, "t", [talking], 599) is not None
    assert table.heard(BOB, "t", [talking], 600) is not None


def test_a_call_that_gets_its_tags_later_is_still_the_same() -> None:
    table = Calls(600)
    ringing, talking, over = (
        Call("1", "c l ", ringing=True),
        Call("1", "c l r", talking=True),
        Call("1", "c l r", over=True),
    )
    assert table.heard(BOB, "t", [ringing], 0, full=False) == Person(ringing=True)
    assert table.heard(BOB, "t", [talking], 1, full=False) == Person(activities=("on-the-phone",))
    assert table.heard(BOB, "t", [over], 2, full=False) is None


def test_of_a_document_version_completeness_and_states_are_read() -> None:
    info = parse_dialog_info(calls("early").replace(b'version="0"', b'version="7"'))
    assert (info.entity, info.version, info.full) == (BOB, 7, True)
    assert info.calls == (Call("c1", "c1 l r", ringing=True, call_id="c1"),)


@pytest.mark.parametrize(
    ("shows", "activities", "is_busy"),
    [
        ((), (), False),
        ((None,), (), False),
        ((Show.DND,), (), True),
        ((Show.AWAY,), (), False),
        ((None, Show.DND), (), False),
        ((None,), ("on-the-phone",), True),
        ((), ("on-the-phone",), True),
        ((None,), ("meeting",), False),
    ],
)
def test_free_and_busy(shows: tuple[Show | None, ...], activities: tuple[str, ...], is_busy: bool) -> None:
    tuples = tuple(PresenceTuple(id=str(n), show=show) for n, show in enumerate(shows))
    person = Person(activities=activities) if activities else None
    assert busy(PresenceDocument(address=BOB, version=1, tuples=tuples, person=person)) is is_busy
